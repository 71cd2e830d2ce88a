"""What SLURM says, through its own commands: one squeue a refresh, limits, cancellation, accounting if there is any."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

# A controller that is busy or restarting answers again soon; these are what it and its clients say meanwhile.
TRANSIENT = (
    "Socket timed out",
    "Unable to contact slurm controller",
    "Connection refused",
    "Connection timed out",
    "Connection reset",
    "Transport endpoint is not connected",
    "Zero Bytes were transmitted or received",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Slurm backup controller in standby mode",
    "Message receive failure",
    "Batch job submission failed: Slurm database",
    "Invalid authentication credential",
    "Protocol authentication error",
)
# A limit on how much may be queued: what is over it is submitted later.
LIMITS = (
    "QOSMaxSubmitJobPerUserLimit",
    "AssocMaxSubmitJobLimit",
    "AssocGrpSubmitJobsLimit",
    "QOSGrpSubmitJobsLimit",
    "QOSMaxSubmitJobPerAccountLimit",
    "Job violates accounting/QOS policy",
    "Job count limit",
    # MaxJobCount, after sbatch has tried for two minutes: it may pass, and is a limit where it does not.
    "Resource temporarily unavailable",
)
# States in which a job may still run, or run again.
LIVE = frozenset(
    (
        "PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING", "REQUEUED", "REQUEUE_HOLD",
        "REQUEUE_FED", "SPECIAL_EXIT", "STAGE_OUT", "SIGNALING", "STOPPED", "RESV_DEL_HOLD", "PREEMPTED",
    )
)  # fmt: skip
PATIENCE_S = 180.0
_SQUEUE = "%A|%F|%K|%T|%r|%M|%N|%j"


class SlurmError(Exception):
    """A SLURM command failed; the message holds the command, its answer, and what to do."""


class LimitReached(SlurmError):
    """The cluster takes no more jobs of this user for now."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, or an element of an array, that squeue lists. `id` is "123" or "123_4"."""

    id: str
    name: str
    state: str
    reason: str
    elapsed: str
    nodes: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the controller allows: elements of an array, and jobs that it keeps track of at once."""

    array_size: int
    job_count: int


def available() -> bool:
    """Is this a machine from which jobs are submitted?"""
    return shutil.which("sbatch") is not None


def user() -> str:
    """The user by whom SLURM knows our jobs; the environment may say another."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def transient(answer: str) -> bool:
    return any(pattern in answer for pattern in TRANSIENT)


def limit(answer: str) -> bool:
    return any(pattern in answer for pattern in LIMITS)


def retried(
    call: Callable[[], str], *, patience_s: float = PATIENCE_S, between: Callable[[str], None] = lambda _: None
) -> str:
    """The answer of a command, tried again with growing pauses while its failure is a passing one.

    `between` is called with the failed answer before each new attempt. Raises SlurmError.
    """
    pause, deadline = 1.0, time.monotonic() + patience_s
    while True:
        try:
            return call()
        except SlurmError as error:
            if not transient(str(error)) or time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            between(str(error))
            pause = min(2 * pause, 30.0)


def command(*arguments: str, timeout_s: float = 60.0) -> str:
    """Output of a SLURM command. Raises SlurmError with what it said."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout_s, env=clean_environment())
    except FileNotFoundError:
        raise SlurmError(f"{arguments[0]} is not on PATH; run this on a login node, or give --cluster local") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{arguments[0]}: Socket timed out (no answer within {timeout_s:.0f} s)") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[:500]
        raise SlurmError(f"`{' '.join(arguments)[:200]}` failed: {said or f'exit code {done.returncode}'}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """The environment without what a surrounding job or a user's defaults would change in a command's answer."""
    kept = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
    dropped = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SALLOC_")
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith(dropped)}


def jobs(users: Iterable[str], *, patience_s: float = PATIENCE_S) -> dict[str, Job]:
    """Every queued or running job of the users, by id: one squeue. Raises SlurmError."""
    names = ",".join(sorted(set(users)))
    found: dict[str, Job] = {}
    # -a: jobs of hidden partitions too. -r: one line for every element of an array.
    query = ("squeue", "-a", "-r", "-h", "-u", names, "-o", _SQUEUE)
    for line in retried(lambda: command(*query), patience_s=patience_s).splitlines():
        job = parse_job(line)
        if job is not None and job.state in LIVE:
            found[job.id] = job
    return found


def parse_job(line: str) -> Job | None:
    """A line of squeue in our format, or None where it is something else."""
    fields = line.strip().split("|", 7)
    if len(fields) != 8:
        return None
    own, array, index, state, reason, elapsed, nodes, name = fields
    return Job(f"{array}_{index}" if index.isdigit() else own, name, state, reason, elapsed, nodes)


def limits() -> Limits:
    """The controller's limits, from `scontrol show config`. Raises SlurmError."""
    text = retried(lambda: command("scontrol", "show", "config"))
    return parse_limits(text)


def parse_limits(text: str) -> Limits:
    """MaxArraySize bounds the index, so one less is safe; SchedulerParameters may ask for still smaller arrays."""

    def number(pattern: str, otherwise: int) -> int:
        found = re.search(pattern, text)
        return int(found.group(1)) if found else otherwise

    size = number(r"MaxArraySize\s*=\s*(\d+)", 1001) - 1
    # max_array_tasks=0 is no limit of its own.
    fewer = number(r"max_array_tasks=(\d+)", 0)
    return Limits(max(1, min(size, fewer) if fewer else size), number(r"MaxJobCount\s*=\s*(\d+)", 10_000))


def gpus() -> bool:
    """Has any partition GPUs? Raises SlurmError."""
    return "gpu" in retried(lambda: command("sinfo", "-h", "-o", "%G"))


def cancel(ids: Sequence[str]) -> list[str]:
    """Cancel jobs; what could not be cancelled, one sentence each. Jobs that are gone are no error."""
    problems = []
    for start in range(0, len(ids), 500):
        try:
            retried(lambda part=ids[start : start + 500]: command("scancel", *part))  # type: ignore[misc]
        except SlurmError as error:
            if "Invalid job id" not in str(error):
                problems.append(str(error))
    return problems


def preempted(job: str) -> bool:
    """Runs the job on only for the time of grace before another takes its place? False where SLURM gives no answer."""
    try:
        said = command("scontrol", "show", "job", job, timeout_s=10)
    except SlurmError:
        return False
    return "JobState=RUNNING" in said and re.search(r"PreemptTime=\d", said) is not None


def accounting(ids: Sequence[str]) -> Mapping[str, str]:
    """State by job id (COMPLETED, FAILED, OUT_OF_MEMORY, NODE_FAIL, ...), as far as accounting knows; else empty.

    It only explains deaths, so that its absence, or a slow data base, is no error and costs seconds at most.
    """
    if not ids or shutil.which("sacct") is None:
        return {}
    parents = sorted({found.split("_")[0] for found in ids})
    try:
        text = command("sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(parents), timeout_s=20)
    except SlurmError:
        return {}
    return parse_accounting(text)


def parse_accounting(text: str) -> dict[str, str]:
    states = {}
    for line in text.splitlines():
        found, _, state = line.partition("|")
        if state.strip():
            # "CANCELLED by 1000"
            states[found.strip()] = state.split()[0]
    return states
