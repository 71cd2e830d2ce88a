"""Arrays of a submission: their work and record on disk, what they wait for, and the job that goes on after them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.launch import batch, controller, records
from bench.launch.allocation import Pack
from bench.launch.elements import write_elements
from bench.launch.portions import PlannedArray
from bench.launch.profile import Profile, Resources
from bench.launch.records import CONTINUE, Array, Submission
from bench.plan import Plan
from bench.store import Store, disk_errors


def job_name(submission: Submission, kind: str, folder: Path) -> str:
    """A name that no other array has."""
    return f"{submission.grid}.{kind}.{submission.folder.name.rsplit('-', 1)[-1]}.{folder.name}"


def submit_array(
    submission: Submission,
    array: PlannedArray,
    made: Sequence[tuple[str, PlannedArray]],
    planned: Plan,
    profile: Profile,
    store: Store,
    done: Iterable[str],
) -> str:
    """Write an array's work and submit it; its job id."""
    folder, asked = submission.new_folder(), array.resources
    with disk_errors(folder):
        offsets = write_elements(folder / "elements.jsonl", array.elements, planned.stages, set(done))
    call = Pack(
        folder=str(folder),
        root=str(store.root.resolve()),
        data_root=str(submission.about["data"]),
        device="cuda" if asked.gpus else "cpu",
        concurrent=asked.concurrent,
        disk_wait_s=60 * profile.disk_wait_minutes,
    )
    record = Array(
        folder, job_name(submission, array.kind, folder), array.kind, None, controller.user(), array.elements
    )
    after = [*element_ids(array, made), *array.live]
    return enqueue(submission, record, call, list(enumerate(offsets)), asked, profile, after)


def enqueue(
    submission: Submission,
    record: Array,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    asked: Resources,
    profile: Profile,
    after: Sequence[str],
) -> str:
    """Submit an array and record it; its job id. The record comes first: a submitter may die in between."""
    records.write_array(record)
    code = Path(submission.about["code"])
    wanted = batch.parameters(record.name, asked, profile, after=after, code=code, elements=len(arguments))
    try:
        job = batch.submit(record.folder, call, arguments, wanted, profile)
    except controller.SlurmError:
        records.discard(record)
        raise
    records.write_array(dataclasses.replace(record, job=job))
    return job


def element_ids(array: PlannedArray, made: Sequence[tuple[str, PlannedArray]]) -> list[str]:
    """SLURM's ids of the elements an array waits for; the array's own where it waits for all of another's."""
    wanted: dict[int, list[int]] = {}
    for source, element in array.after:
        wanted.setdefault(source, []).append(element)
    ids = []
    for source, elements in wanted.items():
        job, found = made[source]
        if len(elements) == len(found.elements):
            ids.append(job)
        else:
            ids.extend(f"{job}_{element}" for element in elements)
    return ids


def submit_continuation(
    submission: Submission,
    made: Sequence[tuple[str, PlannedArray]],
    go_on: Callable[[], Any],
    profile: Profile,
    *,
    live: Iterable[str],
    later: bool,
    others: Iterable[str],
) -> str:
    """A small job that looks again when what it waits for has ended: all, or half where more waits to be queued.

    live: ids of elements, queued before, that compute a part of the grid. others: ids of whatever is in the queue.
    """
    awaited = {element for _, array in made for element in array.after}
    before = _jobs(live)
    if later:
        queued = [*before, *(job for job, _ in made)]
        waits = queued[: (len(queued) + 1) // 2]
    else:
        # What others wait for ends before they do.
        ends = [any((i, n) not in awaited for n in range(len(array.elements))) for i, (_, array) in enumerate(made)]
        waits = [*before, *(job for (job, _), end in zip(made, ends, strict=True) if end)]
    # Where the queue is full of other jobs of this user: look again when the oldest has ended.
    waits = waits or _jobs(others)[:1]
    folder = submission.new_folder()
    record = Array(folder, job_name(submission, CONTINUE, folder), CONTINUE, None, controller.user(), ((),))
    return enqueue(submission, record, go_on, [()], profile.continuation, profile, waits)


def _jobs(ids: Iterable[str]) -> list[str]:
    """The jobs of elements, oldest first."""
    return sorted({found.partition("_")[0] for found in ids}, key=int)
