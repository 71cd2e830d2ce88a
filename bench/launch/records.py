"""What was submitted, on disk beside the store: advisory, so that work in the queue is recognised.

<root>/slurm/<grid>-<time>-<8 hex>/       a submission: what one person asked for, and its continuations
    submission.json                       who, when, which grid, profile and code
    grid.yaml profile.yaml                as they were
    000/array.json                        an array: unique job name, job id once known, keys of every element
    000/elements.jsonl                    the stages of every element, a line each, read by its task
    000/*                                 submitit's files and logs
    settled.json                          arrays of which nothing is left to learn
    cancelled.json                        keys that were cancelled: continuations leave them alone
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.launch import controller
from bench.launch.controller import Job
from bench.store import disk_errors, write_json

FORMAT = 1
# The kind of the array of a continuation job.
CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Array:
    """An array of a submission. `job` is None until sbatch has answered; `keys` by element."""

    folder: Path
    name: str
    kind: str
    job: str | None
    user: str
    keys: tuple[tuple[str, ...], ...]

    def id(self, element: int) -> str:
        """SLURM's name of an element: "123_4", or "123" where the array has one element only."""
        return f"{self.job}_{element}" if len(self.keys) > 1 else str(self.job)


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission's folder and its submission.json."""

    folder: Path
    about: Mapping[str, Any]

    @property
    def grid(self) -> str:
        return str(self.about["grid"])

    def cancelled(self) -> set[str]:
        """Keys that `bench.cancel --only` took out of this submission."""
        return set(read_json(self.folder / "cancelled.json", []))

    def cancel(self, keys: set[str]) -> None:
        with disk_errors(self.folder):
            write_json(self.folder / "cancelled.json", sorted(keys | self.cancelled()))

    def arrays(self) -> list[Array]:
        """The arrays that are not settled, in the order of submission."""
        settled = set(read_json(self.folder / "settled.json", []))
        return [
            array
            for path in sorted(self.folder.glob("*/array.json"), key=lambda path: int(path.parent.name))
            if path.parent.name not in settled and (array := read_array(path)) is not None
        ]

    def settle(self, names: Sequence[str]) -> None:
        """Note that the arrays in these folders have ended and their losses are recorded."""
        if names:
            with disk_errors(self.folder):
                write_json(self.folder / "settled.json", sorted({*names, *read_json(self.folder / "settled.json", [])}))

    def new_folder(self) -> Path:
        """The folder of the next array."""
        taken = [int(name) for name in os.listdir(self.folder) if name.isdigit()]
        folder = self.folder / f"{max(taken, default=-1) + 1:03d}"
        with disk_errors(self.folder):
            folder.mkdir()
        return folder


def create(root: Path, grid: str, about: Mapping[str, Any]) -> Submission:
    """A new submission's folder. Raises StoreError where the root cannot be written."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = root / "slurm" / f"{grid}-{stamp}-{secrets.token_hex(4)}"
    record = {
        "format": FORMAT,
        "grid": grid,
        "user": controller.user(),
        "host": socket.gethostname(),
        "time": time.time(),
        **about,
    }
    with disk_errors(root):
        folder.mkdir(parents=True)
        write_json(folder / "submission.json", record)
    return Submission(folder, record)


def forget(submission: Submission) -> None:
    """Remove a submission that submitted nothing."""
    shutil.rmtree(submission.folder, ignore_errors=True)


def read(folder: Path) -> Submission | None:
    """The submission in a folder, or None where there is none that can be read."""
    about = read_json(folder / "submission.json", None)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return None
    return Submission(folder, about)


def submissions(root: Path) -> list[Submission]:
    """Every submission over a root, oldest first."""
    found = [read(path.parent) for path in (root / "slurm").glob("*/submission.json")]
    return sorted((one for one in found if one is not None), key=lambda one: float(one.about["time"]))


def write_array(array: Array) -> None:
    """Record an array: before sbatch without its job id, afterwards with it."""
    record = {
        "name": array.name,
        "kind": array.kind,
        "job": array.job,
        "user": array.user,
        "keys": [list(keys) for keys in array.keys],
    }
    with disk_errors(array.folder):
        write_json(array.folder / "array.json", record)


def read_array(path: Path) -> Array | None:
    found = read_json(path, None)
    try:
        keys = tuple(tuple(map(str, element)) for element in found["keys"])
        return Array(path.parent, found["name"], found["kind"], found["job"], found["user"], keys)
    except (TypeError, KeyError):
        return None


def discard(array: Array) -> None:
    """Forget an array that was never submitted."""
    shutil.rmtree(array.folder, ignore_errors=True)


def queued(arrays: Sequence[Array], jobs: Mapping[str, Job]) -> Iterator[tuple[Array, int, Job]]:
    """The elements that SLURM still has: array, element, job.

    Ids are reused after a controller lost its state, and an array whose submitter died has none: the unique name
    decides.
    """
    by_name: dict[str, list[Job]] = {}
    for job in jobs.values():
        by_name.setdefault(job.name, []).append(job)
    for array in arrays:
        for job in by_name.get(array.name, ()):
            _, _, index = job.id.partition("_")
            element = int(index) if index else 0
            if element < len(array.keys):
                yield array, element, job


def read_json(path: Path, otherwise: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
