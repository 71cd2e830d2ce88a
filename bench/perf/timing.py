"""Cases timed in turn, and their rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def interleaved(cases: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every case, `repeats` values each after one call to warm up.

    The cases take turns, every other time in reverse, so that a drift of the machine falls on all of them.
    """
    for case in cases.values():
        case()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(repeats):
        for name in reversed(list(cases)) if repeat % 2 else cases:
            finished()
            began = time.perf_counter()
            cases[name]()
            finished()
            found[name].append(time.perf_counter() - began)
    return found


def finished() -> None:
    """The device has done all that it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def rows(benchmark: str, unit: str, values: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row for every case: the median, lowest and highest of its values, and the median's ratio to the first case's.

    A case without values is not installed: its numbers are None, and no ratio is to it.
    """
    medians = {case: statistics.median(found) for case, found in values.items() if found}
    first = next(iter(medians.values()))
    return [
        {
            "benchmark": benchmark,
            "case": case,
            "value": medians.get(case),
            "low": min(found, default=None),
            "high": max(found, default=None),
            "unit": unit if found else "not installed",
            "ratio": medians[case] / first if found else None,
        }
        for case, found in values.items()
    ]
