"""The job that goes on with a submission: records what was lost, submits the next portion, retries what it may."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import DelayedSubmission

from bench import grid
from bench.launch import allocation, campaign, records
from bench.launch import profile as profiles
from bench.launch.controller import SlurmError
from bench.launch.lock import Busy
from bench.plan import plan
from bench.store import Store, StoreError

# A controller that is being upgraded is away for minutes.
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Continue:
    """What submitit calls, with the submission's folder."""

    folder: str

    def __call__(self) -> str:
        """Go on once; what was done. Everything it needs lies in the folder."""
        allocation.sweep()
        submission = records.read(Path(self.folder))
        if submission is None:
            raise FileNotFoundError(f"{self.folder}/submission.json cannot be read; submit the grid again")
        said = patiently(submission)
        print(said, flush=True)
        return said

    def checkpoint(self) -> DelayedSubmission:
        return DelayedSubmission(self)


def patiently(submission: records.Submission) -> str:
    """`go_on`, tried again while SLURM or the disk fails: nobody else would go on. Raises as it does, at the end."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return go_on(submission)
        except (SlurmError, StoreError, Busy) as error:
            if time.monotonic() > deadline:
                raise
            print(error, flush=True)
            time.sleep(30)


def go_on(submission: records.Submission) -> str:
    """Submit what is left of a submission; one sentence. Raises SlurmError, StoreError, lock.Busy."""
    about = submission.about
    # Paths in a grid are relative to where it was submitted.
    with contextlib.suppress(OSError):
        os.chdir(about["cwd"])
    root = submission.folder.parents[1]
    chosen = grid.select(grid.read(submission.folder / "grid.yaml", about["overrides"]), about["only"])
    planned, profile = plan(chosen), profiles.read(submission.folder / "profile.yaml")
    with campaign.exclusively(root, f"continuation of {submission.grid}", print) as held:
        found = campaign.advance(
            submission,
            planned,
            profile,
            Store(root),
            person=False,
            go_on=Continue(str(submission.folder)),
            note=print,
            held=held,
        )
    if found.stopped:
        return found.stopped
    tasks = sum(len(array.elements) for _, array in found.arrays)
    alone = f"; {found.left_alone} stages are left alone (bench.status --failed)" if found.left_alone else ""
    if not tasks:
        return ("nothing is left to submit" if not found.continuation else "the rest waits for what is queued") + alone
    return f"submitted {tasks} tasks in {len(found.arrays)} arrays, continuation {found.continuation}{alone}"
