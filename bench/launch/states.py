"""What every stage of a plan is doing now, joined from what was observed. Pure bookkeeping; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.launch.controller import Job
from bench.launch.observed import EXECUTING, Element, Seen, elapsed
from bench.launch.schedule import needed
from bench.plan import Plan
from bench.spec import Stage

STATES = ("done", "running", "queued", "waiting", "failed", "blocked", "cancelled", "unknown", "missing")
# squeue counts whole seconds, and clocks differ a little.
ROUNDING_S = 5.0
# What a training reports of itself; all else in its progress is measured on the validation split.
TRAINED = ("epoch", "epochs", "loss", "lr", "time")


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What a stage is doing.

    done       published, or read by nothing that is left to compute
    running    a task that SLURM runs, or a local run, computes it now
    queued     its task may start it next; `reason` is SLURM's
    waiting    in the queue, behind stages it reads
    failed     its last attempt failed and none is queued
    blocked    a stage it needs (`ancestor`) failed
    cancelled  by bench.cancel, and not submitted since
    unknown    submitted, and nobody can say what became of it
    missing    not there and not submitted
    """

    name: str
    reason: str = ""
    job: str = ""
    node: str = ""
    progress: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None
    ancestor: str = ""


def join(planned: Plan, seen: Seen) -> dict[str, State]:
    """The state of every stage of the plan, inputs first."""
    wanted = set(needed(planned.stages, planned.targets, set(seen.done)))
    states: dict[str, State] = {}
    for key, stage in planned.stages.items():
        if key in seen.done:
            states[key] = State(name="done")
        elif key not in wanted:
            states[key] = State(name="done", reason="no longer needed: everything that reads it is done")
        else:
            states[key] = _running(key, seen) or _unfinished(stage, seen, states)
    return states


def _running(key: str, seen: Seen) -> State | None:
    progress, failure, local = seen.progress.get(key), seen.failures.get(key), seen.local
    for element in seen.elements.get(key, ()):
        if key in element.running:
            return State(name="running", job=element.id, node=element.host, progress=progress, failure=failure)
    # A local run leaves nothing but the progress files of its longer stages.
    if local is None or progress is None or progress["time"] < max(local["started"], _time(failure)):
        return None
    return State(name="running", reason="local run", node=str(local["host"]), progress=progress, failure=failure)


def _unfinished(stage: Stage, seen: Seen, states: Mapping[str, State]) -> State:
    failure, elements = seen.failures.get(stage.key), seen.elements.get(stage.key, ())
    jobs = [element.job for element in elements if element.job and not _failed_in(element.job, failure, seen.asked)]
    if failure is not None and not jobs:
        return State(name="failed", reason=str(failure.get("error", "")), failure=failure)
    for role, source in stage.inputs:
        if states[source].name in ("failed", "blocked"):
            ancestor = states[source].ancestor or source
            return State(name="blocked", reason=f"{role} {source} is {states[source].name}", ancestor=ancestor)
    # A task that ends starts no more stages, but a requeued one looks the same.
    if stage.key in seen.cancelled and all(job.state == "COMPLETING" for job in jobs):
        return State(name="cancelled")
    if jobs:
        return _queued(stage, jobs, states, failure)
    return _lost(elements[-1], seen, stage.key) if elements else State(name="missing")


def _failed_in(job: Job, failure: Mapping[str, Any] | None, asked: float) -> bool:
    """Did the stage fail in the job's present run? A job that has yet to start will try it again."""
    if failure is None or job.state not in EXECUTING:
        return False
    return _time(failure) >= asked - elapsed(job.elapsed) - ROUNDING_S


def _queued(stage: Stage, jobs: Sequence[Job], states: Mapping[str, State], failure: Mapping[str, Any] | None) -> State:
    job = min(jobs, key=lambda one: (one.state not in EXECUTING, one.reason == "Dependency"))
    executing = job.state in EXECUTING
    node = job.nodes if executing else ""
    for role, source in stage.inputs:
        if states[source].name != "done":
            reason = f"{role} {source} is {states[source].name}"
            return State(name="waiting", reason=reason, job=job.id, node=node, failure=failure)
    if executing:
        return State(name="queued", reason="next in a running task", job=job.id, node=node, failure=failure)
    reason = job.reason if job.state == "PENDING" else job.state
    name = "waiting" if reason == "Dependency" else "queued"
    # "None" is squeue's word before the scheduler has looked at a job.
    return State(name=name, reason="" if reason == "None" else reason, job=job.id, failure=failure)


def _lost(element: Element, seen: Seen, key: str) -> State:
    if not seen.answered:
        reason = "SLURM gave no answer"
    elif element.array.job is None:
        reason = "it is not known whether its submission succeeded"
    else:
        reason = "its task left the queue with neither a result nor a failure"
    return State(name="unknown", reason=reason, job=element.id, progress=seen.progress.get(key))


def _time(failure: Mapping[str, Any] | None) -> float:
    return float(failure.get("time", 0.0)) if failure is not None else 0.0


def measured(progress: Mapping[str, Any]) -> dict[str, float]:
    """What a training measured on the validation split, by the names of its history."""
    return {name: float(value) for name, value in progress.items() if name not in TRAINED}
