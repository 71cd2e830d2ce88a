"""A grid on SLURM: what is left goes to arrays, as far as the limits allow, and a small job sees to the rest."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.launch import controller, durations, lease, lost, observed, portions, provenance, records, snapshot
from bench.launch import profile as profiles
from bench.launch.arrays import submit_array, submit_continuation
from bench.launch.controller import LimitReached, Limits
from bench.launch.observed import Slurm
from bench.launch.portions import PlannedArray
from bench.launch.profile import Profile
from bench.launch.records import CONTINUE, Submission
from bench.launch.schedule import needed
from bench.plan import Plan
from bench.store import Store, disk_errors, write_json

# A failure that repeats this often, with the same error, is not retried without a person asking.
MAX_ATTEMPTS = 3
# Rounds of a continuation in which no stage was finished, before it gives up.
MAX_FRUITLESS = 3
# A job's state while its processes end, and how long that may take before its work counts as open again.
ENDING, ENDING_S = "COMPLETING", 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What there is to submit now: arrays, and how much of the work is elsewhere."""

    arrays: tuple[PlannedArray, ...]
    total: int
    later: int
    live: Mapping[str, str]
    given_up: frozenset[str]
    done: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """What was submitted: SLURM's id and the elements of every array, and the continuation's id ("": none).

    `left_alone`: stages that failed too often or were cancelled, and all that need them.
    """

    arrays: tuple[tuple[str, PlannedArray], ...]
    continuation: str
    stopped: str = ""
    left_alone: int = 0


def compose(
    planned: Plan, profile: Profile, store: Store, *, slurm: Slurm, limits: Limits, leave: Iterable[str] = ()
) -> Order:
    """What to submit: everything a target needs that is neither done nor queued nor waits for a key in `leave`."""
    done = store.keys() & planned.stages.keys()
    live = {
        key: element.id
        for element in slurm.elements
        if element.job is not None and element.job.state != ENDING
        for key in element.keys
        if key in planned.stages and key not in done
    }
    dropped = set(leave)
    left = []
    for key in needed(planned.stages, planned.targets, done | live.keys()):
        if key in dropped or any(source in dropped for _, source in planned.stages[key].inputs):
            dropped.add(key)
        else:
            left.append(key)
    gpu = {kind: bool(asked.gpus) for kind, asked in profile.resources.items()}
    minutes = durations.minutes(planned.stages, left, store=store, done=done, gpu=gpu)
    arrays = portions.arrange(
        planned.stages, left, profile=profile, minutes=minutes, live=live, array_size=limits.array_size
    )
    # Half of what the controller tracks: finished jobs count until they are purged. One element is the continuation;
    # the one that asks leaves the queue.
    budget = min(profile.max_jobs or limits.job_count, limits.job_count // 2) - len(others(slurm)) - 1
    chosen = portions.within(arrays, budget)
    submitted = sum(len(keys) for array in chosen for keys in array.elements)
    return Order(
        arrays=tuple(chosen),
        total=len(left),
        later=len(left) - submitted,
        live=live,
        given_up=frozenset(dropped),
        done=frozenset(done),
    )


def advance(
    submission: Submission,
    planned: Plan,
    profile: Profile,
    store: Store,
    *,
    person: bool,
    go_on: Callable[[], Any],
    note: Callable[[str], None],
    held: Callable[[], bool] = lambda: True,
) -> Submitted:
    """Record what ended without a word, then submit what can be submitted. Call it with the lease of the root.

    `go_on` is what the continuation job calls.
    A continuation (`person` False) leaves alone what was cancelled and what fails the same way again and again.
    Raises SlurmError, StoreError.
    """
    slurm = ask(store.root)
    for key in lost.settle(slurm, store, planned.stages):
        failure = store.failure(key) or {}
        note(f"{planned.stages[key].kind} {key}: {failure.get('error')} (attempt {failure.get('attempts')})")
    leave: set[str] = set()
    if not person:
        leave = submission.cancelled() | lost.exhausted(store, planned.stages, MAX_ATTEMPTS)
    order = compose(planned, profile, store, slurm=slurm, limits=controller.limits(), leave=leave)
    if order.arrays and not order.live and (stopped := fruitless(submission, reached(store, order))):
        return Submitted(arrays=(), continuation="", stopped=stopped)
    made: list[tuple[str, PlannedArray]] = []
    later, stopped = bool(order.later), ""
    for array in order.arrays:
        if not held():
            stopped = "another submit took over; the rest is its business"
            break
        try:
            job, taken = submit_as_much(submission, array, made, planned, profile, store, order.done)
        except LimitReached as error:
            if not made and not others(slurm):
                # Nothing of this user is queued: waiting would change nothing.
                raise
            note(f"the cluster takes no more jobs for now ({error}); the rest follows when some have ended")
            later = True
            break
        made.append((job, taken))
        if taken is not array:
            note(f"the cluster takes {len(taken.elements)} of {len(array.elements)} tasks of an array for now")
            later = True
            break
    if made:
        note_round(submission, reached(store, order))
    continuation = ""
    if made or ((later or order.live) and not seen_to(slurm, submission)):
        try:
            continuation = submit_continuation(
                submission, made, go_on, profile, live=order.live.values(), later=later, others=others(slurm)
            )
        except LimitReached as error:
            if not made:
                raise
            stopped = f"no room for a job that sees to the rest ({error}); set max_jobs, and submit again after these"
    return Submitted(arrays=tuple(made), continuation=continuation, stopped=stopped, left_alone=len(order.given_up))


def submit_as_much(
    submission: Submission,
    array: PlannedArray,
    made: Sequence[tuple[str, PlannedArray]],
    planned: Plan,
    profile: Profile,
    store: Store,
    done: Iterable[str],
) -> tuple[str, PlannedArray]:
    """Submit an array, or the half, quarter, ... of it that fits under a limit which only its refusal shows."""
    taken = array
    while True:
        try:
            return submit_array(submission, taken, made, planned, profile, store, done), taken
        except LimitReached as error:
            if len(taken.elements) == 1 or controller.transient(str(error)):
                raise
            taken = dataclasses.replace(taken, elements=taken.elements[: len(taken.elements) // 2])


def ask(root: Path) -> Slurm:
    """What SLURM has of this root. Raises SlurmError where it gives no answer: guessing could submit work twice."""
    deadline = time.monotonic() + ENDING_S
    while True:
        slurm = observed.ask(root, patience_s=controller.PATIENCE_S, always=True)
        if slurm.jobs is None:
            raise controller.SlurmError(f"{slurm.problem}; nothing is submitted without an answer of SLURM")
        # A task that is ending may be about to publish; one that hangs so is not waited for for ever.
        ending = any(element.job is not None and element.job.state == ENDING for element in slurm.elements)
        if not ending or time.monotonic() > deadline:
            return slurm
        time.sleep(1.0)


def seen_to(slurm: Slurm, submission: Submission) -> bool:
    """Will a queued continuation, other than the one that asks, look after these cells?"""
    cells = ("grid", "overrides", "only")
    return any(
        element.array.kind == CONTINUE
        and element.job is not None
        and element.job.id != provenance.job()
        and all(element.submission.about.get(name) == submission.about.get(name) for name in cells)
        for element in slurm.elements
    )


def others(slurm: Slurm) -> list[str]:
    """Ids of what is queued, without the job that asks."""
    return [job for job in slurm.jobs or {} if job != provenance.job()]


def reached(store: Store, order: Order) -> list[float]:
    """How far the grid is: stages done, and epochs of those that are under way."""
    planned = {key for array in order.arrays for keys in array.elements for key in keys}
    found = (store.scratch(key) / "progress.json" for key in observed.listed(store.root / "scratch", planned))
    return [len(order.done), sum(float(records.read_json(path, {}).get("epoch", 0)) for path in found)]


def fruitless(submission: Submission, now: list[float]) -> str:
    """Why to stop, where nothing came of the last submissions; "" where something did."""
    recent = records.read_json(submission.folder / "rounds.json", [])[-MAX_FRUITLESS:]
    if len(recent) < MAX_FRUITLESS or any(one["reached"] != now for one in recent):
        return ""
    return f"nothing came further in {MAX_FRUITLESS} rounds; look at bench.status --failed, then submit again"


def note_round(submission: Submission, now: list[float]) -> None:
    """Note that tasks were submitted when the grid was so far."""
    path = submission.folder / "rounds.json"
    with disk_errors(submission.folder):
        write_json(path, [*records.read_json(path, []), {"time": time.time(), "reached": now}])


def begin(
    root: Path,
    planned: Plan,
    profile: Profile,
    *,
    grid_file: Path,
    overrides: Sequence[str],
    only: Sequence[str],
    data: Path,
) -> Submission:
    """A submission's folder with copies of grid and profile and the snapshot of the code. Raises StoreError."""
    code = snapshot.take(root)
    submission = records.create(
        root.resolve(),
        planned.grid.name,
        {
            "grid_file": str(grid_file),
            "overrides": list(overrides),
            "only": list(only),
            "data": str(data.resolve()),
            "cwd": str(Path.cwd()),
            "code": str(code),
        },
    )
    with disk_errors(root):
        (submission.folder / "grid.yaml").write_bytes(grid_file.read_bytes())
        (submission.folder / "profile.yaml").write_text(profiles.as_yaml(profile), encoding="utf-8")
    return submission


def exclusively(root: Path, what: str, note: Callable[[str], None]) -> Any:
    """The lease under which submissions over a root are made, one at a time."""
    return lease.hold(root / "slurm" / "lease", what, on_wait=note)
