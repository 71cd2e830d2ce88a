"""Stages whose task ended without a word: found by their logs, explained by SLURM where it says why, recorded once."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import defaultdict
from collections.abc import Container, Mapping
from typing import Any

from bench.launch import controller, observed
from bench.launch.observed import Element, Slurm
from bench.launch.task import ENDED
from bench.spec import Stage
from bench.store import Store

# Why a task ended: accounting's state, or what slurmstepd and srun write into the task's own log. None: not a failure.
CAUSES: Mapping[str, str | None] = {
    "OUT_OF_MEMORY": "host memory",
    "TIMEOUT": "time-out",
    "DEADLINE": "time-out",
    "NODE_FAIL": "node",
    "BOOT_FAIL": "node",
    "CANCELLED": None,
    "PREEMPTED": None,
}
SIGNS: Mapping[str, str | None] = {
    "oom_kill": "host memory",
    "oom-kill": "host memory",
    "DUE TO TIME LIMIT": "time-out",
    "DUE TO NODE FAILURE": "node",
    "DUE TO PREEMPTION": None,
}
_START = re.compile(r"^\S+ \S+ \w+ [0-9a-f]{16} on (\S+) job (\S+)", re.MULTILINE)


def settle(slurm: Slurm, store: Store, stages: Mapping[str, Stage]) -> list[str]:
    """Record what the arrays that left the queue lost, and note them as settled; keys that were lost.

    Only stages of this plan can be recorded; arrays that also hold others are settled by who submitted them. Call it
    with the lease of the root, and with an answer of SLURM.
    """
    alike: dict[str, list[Element]] = defaultdict(list)
    for element in slurm.elements:
        alike[element.array.name].append(element)
    over = [elements for elements in alike.values() if all(element.job is None for element in elements)]
    done = store.keys()
    gone = [
        (element, key)
        for elements in over
        for element in elements
        for key in element.keys
        if key not in done and key in stages and element.array.job is not None
    ]
    begun = [(element, key, host) for element, key in gone if (host := _begun(store, key, element.id)) is not None]
    states = controller.accounting([element.id for element, _, _ in begun])
    lost = []
    for element, key, host in begun:
        cause = why(element, states.get(element.id, ""))
        if cause is not None and key not in element.submission.cancelled():
            _record(store, stages[key], element, cause, host)
            lost.append(key)
    for elements in over:
        if all(key in stages for element in elements for key in element.keys):
            elements[0].submission.settle([elements[0].array.folder.name])
    return lost


def why(element: Element, state: str) -> str | None:
    """Class of cause of a task's end, or None where it was no failure; "lost" where nothing says."""
    if state in CAUSES:
        return CAUSES[state]
    text = observed.tail(element.array.folder / f"{element.id}_0_log.out", 8192).decode(errors="replace")
    # The log of a requeued task holds the ends of its earlier runs too.
    latest = max(SIGNS, key=text.rfind)
    return SIGNS[latest] if latest in text else "lost"


def _begun(store: Store, key: str, job: str) -> str | None:
    """Host on which the job computed the stage when it ended; None where it did not, or stopped it in good order."""
    text = observed.tail(store.log(key), 16384).decode(errors="replace")
    starts = list(_START.finditer(text))
    if not starts or starts[-1].group(2) != job or ENDED in text[starts[-1].end() :]:
        return None
    failure = store.failure(key)
    if failure is not None and failure.get("job") == job:
        return None
    return starts[-1].group(1)


def _record(store: Store, stage: Stage, element: Element, cause: str, host: str) -> None:
    """A failure that counts anew when the stage has come further than the last time."""
    reached: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        reached = json.loads((store.scratch(stage.key) / "progress.json").read_bytes())
    where = f" after epoch {reached['epoch']:g} of {reached['epochs']}" if "epoch" in reached else ""
    error = {
        "time-out": f"its task reached the time limit without a checkpoint{where}",
        "host memory": f"its task was killed for its memory{where}; give more memory_gb",
        "node": f"its node failed{where}",
    }.get(cause, f"its task ended without a word{where}")
    store.fail(stage, {"error": error, "cause": cause, "host": host, "job": element.id, "time": time.time()})


def exhausted(store: Store, keys: Container[str], attempts: int) -> set[str]:
    """Keys that failed this often with one and the same error."""
    failures = ((key, store.failure(key)) for key in observed.listed(store.root / "failures", keys))
    return {key for key, failure in failures if failure is not None and failure["attempts"] >= attempts}
