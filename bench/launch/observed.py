"""What the disk and SLURM say of a plan at one moment. Reads only: nothing is created, renamed or deleted; no torch."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.launch import controller, records
from bench.launch.controller import Job
from bench.launch.records import Array, Submission
from bench.plan import Plan
from bench.store import Store, StoreError

# States of a job whose task has processes; in the others of controller.LIVE it waits.
EXECUTING = ("RUNNING", "COMPLETING", "SIGNALING")
# Clocks of nodes may differ this much; a requeued job starts again after SLURM held it for longer.
CLOCKS_S = 60.0
# run_stage's first line in a stage's log.
_START = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \w+ [0-9a-f]{16} on ", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """An element of an array. `job` is None where the queue has it no more, or SLURM gave no answer.

    `running` are the keys that its task says it computes now, on `host`.
    """

    submission: Submission
    array: Array
    index: int
    job: Job | None = None
    running: frozenset[str] = frozenset()
    host: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        return self.array.keys[self.index]

    @property
    def id(self) -> str:
        return self.job.id if self.job else self.array.id(self.index)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slurm:
    """Submissions over a root, oldest first, the elements of their unsettled arrays, and the queue at `time`.

    `jobs` is None where SLURM gave no answer; `problem` says why.
    """

    submissions: tuple[Submission, ...]
    elements: tuple[Element, ...]
    jobs: Mapping[str, Job] | None
    problem: str
    time: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is known of a plan; mappings are by key. `asked` is the time of SLURM's answer, if it `answered`.

    `cancelled` are the keys that were cancelled and not submitted since; `local` says who computes here without SLURM.
    """

    asked: float
    answered: bool = True
    done: frozenset[str] = frozenset()
    failures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    progress: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    elements: Mapping[str, Sequence[Element]] = field(default_factory=dict)
    cancelled: frozenset[str] = frozenset()
    local: Mapping[str, Any] | None = None


def ask(root: Path, *, patience_s: float = 0.0, before: Slurm | None = None, always: bool = False) -> Slurm:
    """The submissions over a root and one squeue; unless `always`, none where nothing may be queued.

    Its failure is part of the answer. With `before` only the submissions are read, and SLURM's last answer is kept.
    """
    found = records.submissions(root)
    arrays = [(submission, array) for submission in found for array in submission.arrays()]
    jobs: Mapping[str, Job] | None = {}
    problem, asked = "", time.time()
    if before is not None:
        jobs, problem, asked = before.jobs, before.problem, before.time
    elif arrays or always:
        try:
            # Of those who may have something queued: squeue refuses users who are gone.
            users = {array.user for _, array in arrays} | {controller.user()}
            jobs = controller.jobs(users, patience_s=patience_s)
        except controller.SlurmError as error:
            jobs, problem = None, str(error)
    elements = tuple(_elements(arrays, jobs or {}, asked))
    return Slurm(submissions=tuple(found), elements=elements, jobs=jobs, problem=problem, time=asked)


def look(planned: Plan, store: Store, slurm: Slurm) -> Seen:
    """What the disk says, beside what SLURM said before. Raises StoreError where the root cannot be read."""
    elements: dict[str, list[Element]] = defaultdict(list)
    for element in slurm.elements:
        for key in element.keys:
            if key in planned.stages:
                elements[key].append(element)
    progress = {
        key: _json(store.scratch(key) / "progress.json") for key in listed(store.root / "scratch", planned.stages)
    }
    failures = {key: store.failure(key) for key in listed(store.root / "failures", planned.stages)}
    # The store last: a stage that ends meanwhile is done, not lost.
    done = store.keys() & planned.stages.keys()
    return Seen(
        asked=slurm.time,
        answered=slurm.jobs is not None,
        done=frozenset(done),
        failures={key: record for key, record in failures.items() if record is not None},
        progress={key: record for key, record in progress.items() if {"epoch", "epochs", "time"} <= record.keys()},
        elements=elements,
        cancelled=_cancelled(planned, slurm),
        local=local_run(store.root),
    )


def elapsed(text: str) -> float:
    """Seconds of squeue's [days-][hours:]minutes:seconds; 0 where it says something else."""
    if not re.fullmatch(r"(\d+-)?(\d+:){1,2}\d+", text):
        return 0.0
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return 86400.0 * int(days or 0) + seconds


def local_run(root: Path) -> dict[str, Any] | None:
    """Who runs over the root without SLURM (pid, host, grid, since, started), or None."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), (root / "local.lock").open() as file:
        found = json.loads(file.read())
        started = time.mktime(time.strptime(found["since"], "%Y-%m-%d %H:%M:%S"))
        if found["host"] == socket.gethostname() and not Path(f"/proc/{int(found['pid'])}").exists():
            return None
        try:
            # Its process may be another's by now, or be on another host. Nobody wants the lock of one that is gone.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return {**found, "started": started}
    return None


def attempts(log: Path) -> tuple[int, float | None]:
    """How often a stage was started, as far as the end of its log goes back, and when last."""
    starts = _START.findall(tail(log, 65536))
    if not starts:
        return 0, None
    return len(starts), time.mktime(time.strptime(starts[-1].decode(), "%Y-%m-%d %H:%M:%S"))


def tail(path: Path, size: int) -> bytes:
    """The last bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read()
    except OSError:
        return b""


def _elements(arrays: Sequence[tuple[Submission, Array]], jobs: Mapping[str, Job], asked: float) -> Iterator[Element]:
    """Every element of the arrays, with its job where squeue lists it."""
    listed = {(array.name, index): job for array, index, job in records.queued([array for _, array in arrays], jobs)}
    for submission, array in arrays:
        for index in range(len(array.keys)):
            element = Element(submission=submission, array=array, index=index, job=listed.get((array.name, index)))
            yield _with_task(element, asked)


def _with_task(element: Element, asked: float) -> Element:
    """The element with what its task wrote of itself, where it runs and wrote it in its present run."""
    job = element.job
    if job is None or job.state not in EXECUTING:
        return element
    found = _json(element.array.folder / f"running-{element.index}.json")
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if found["job"] == job.id and float(found["time"]) > asked - elapsed(job.elapsed) - CLOCKS_S:
            return replace(element, running=frozenset(found["running"]), host=str(found["host"]))
    return element


def _cancelled(planned: Plan, slurm: Slurm) -> frozenset[str]:
    submitted: dict[Path, set[str]] = defaultdict(set)
    for element in slurm.elements:
        submitted[element.submission.folder].update(element.keys)
    found: set[str] = set()
    for submission in slurm.submissions:
        if submission.grid == planned.grid.name:
            found = (found - submitted[submission.folder]) | submission.cancelled()
    return frozenset(found)


def listed(folder: Path, keys: Container[str]) -> list[str]:
    """Those of the keys that <folder>/<2 hex>/ has something of: a listing per shard, not a look per key."""
    found: list[str] = []
    try:
        for shard in os.scandir(folder):
            if shard.is_dir():
                found.extend(key for name in os.listdir(shard) if (key := name.partition(".")[0]) in keys)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise StoreError(f"{folder} cannot be read ({error.strerror}); check its permissions") from None
    return found


def _json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file, empty where there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
