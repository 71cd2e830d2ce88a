"""One array to sbatch, through submitit: the script, the submission, and what a passing failure of SLURM means."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import _make_sbatch_string

from bench.launch import controller, snapshot
from bench.launch.controller import LimitReached, SlurmError
from bench.launch.profile import Profile, Resources

# submitit counts time-outs and gives up at a number of its own; a stage may need any number of them.
ANY_NUMBER = 10**9


def parameters(
    name: str, asked: Resources, profile: Profile, *, after: Sequence[str], code: Path, elements: int
) -> dict[str, Any]:
    """Parameters of submitit's SlurmExecutor. `after`: ids of jobs or elements that must have ended."""
    found: dict[str, Any] = {
        "job_name": name,
        "time": asked.minutes,
        "nodes": asked.nodes,
        "ntasks_per_node": asked.tasks_per_node,
        "cpus_per_task": asked.cpus,
        "signal_delay_s": profile.signal_delay_s,
        "stderr_to_stdout": True,
        "array_parallelism": asked.max_parallel or elements,
        "setup": [
            *profile.setup,
            # The snapshot before everything else: the folder a job starts in may be the checkout.
            f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONSAFEPATH=1',
        ],
        # srun takes no --cpus-per-task from its job since SLURM 22.05.
        "srun_args": [f"--cpus-per-task={asked.cpus}"],
        "additional_parameters": {"requeue": True, **dict(asked.sbatch)},
        "wckey": None,
    }
    for field in ("partition", "account", "qos", "constraint"):
        if (value := getattr(asked, field)) is not None:
            found[field] = value
    if asked.memory_gb is not None:
        found["mem"] = f"{round(asked.memory_gb * 1024)}M"
    if asked.gpus:
        found["gpus_per_node"] = f"{asked.gpu_type}:{asked.gpus}" if asked.gpu_type else asked.gpus
    if asked.processes > 1:
        # A process that died would leave the others waiting for it.
        found["srun_args"].append("--kill-on-bad-exit=1")
    if profile.mail_type:
        found["mail_type"] = ",".join(profile.mail_type)
        if profile.mail_user:
            found["mail_user"] = profile.mail_user
    if after:
        # afterany, not afterok: SLURM's word on success is not the truth (a purged failure counts as fulfilled, one
        # failed stage would cancel all readers of its task); a task whose input is missing ends at once and says so.
        found["dependency"] = "afterany:" + ":".join(after)
        found["additional_parameters"]["kill-on-invalid-dep"] = "yes"
    return found


def script(folder: Path, asked: dict[str, Any], profile: Profile, *, elements: int) -> str:
    """The text that sbatch would get."""
    python = profile.python or shlex.quote(sys.executable)
    command = f"{python} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    count = elements if elements > 1 else None
    return str(_make_sbatch_string(command=command, folder=folder, map_count=count, **asked))


def submit(
    folder: Path,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    asked: dict[str, Any],
    profile: Profile,
) -> str:
    """Submit an array with an element per tuple of arguments; its job id.

    A passing failure is tried again after looking for the job by its unique name: a controller that answered too late
    may have taken it. Raises LimitReached where the cluster takes no more jobs for now, else SlurmError.
    """

    def attempt() -> str:
        try:
            with _environment():
                executor = submitit.SlurmExecutor(folder, max_num_timeout=ANY_NUMBER, python=profile.python)
                executor.update_parameters(**asked)
                jobs = (
                    [executor.submit(call, *arguments[0])]
                    if len(arguments) == 1
                    else executor.map_array(call, *zip(*arguments, strict=True))
                )
        except (FailedJobError, FailedSubmissionError, subprocess.SubprocessError, RuntimeError, OSError) as error:
            said = re.sub(r"\s+", " ", str(error)).removeprefix("sbatch: ")
            raise SlurmError(f"sbatch: {said[-600:]}") from None
        return str(jobs[0].job_id).partition("_")[0]

    def between(_answer: str) -> None:
        # Its tasks would find no work: submitit names their files only after a good answer.
        found = controller.jobs([controller.user()]).values()
        controller.cancel(sorted({job.id.partition("_")[0] for job in found if job.name == asked["job_name"]}))
        for left in folder.glob("*.pkl"):
            left.unlink()

    try:
        return controller.retried(attempt, between=between)
    except SlurmError as error:
        if controller.limit(str(error)):
            raise LimitReached(str(error)) from None
        raise


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """The block without SLURM's variables of a surrounding job, and without the user's sbatch defaults."""
    kept, clean = dict(os.environ), controller.clean_environment()
    try:
        os.environ.clear()
        os.environ.update(clean)
        for name in list(os.environ):
            if name.startswith("SUBMITIT_"):
                del os.environ[name]
        # The script puts its own snapshot there; from job to job the list would grow.
        paths = [path for path in clean.get("PYTHONPATH", "").split(":") if path and Path(path) != snapshot.running()]
        os.environ["PYTHONPATH"] = ":".join(paths)
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
