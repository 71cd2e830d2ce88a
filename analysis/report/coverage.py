"""What became of the planned results, counted by status and by level of every axis."""

from __future__ import annotations

import pandas as pd

from bench.results import STATUSES
from bench.spec import AXES

_COUNTED = ("grid", *(axis for axis in AXES if axis not in ("seed", "pretraining_seed")), "metric")


def statuses(rows: pd.DataFrame) -> dict[str, int]:
    """Results of each status that occurs, in the order in which they are told."""
    found = rows["status"].value_counts()
    return {status: int(found[status]) for status in STATUSES if status in found}


def levels(rows: pd.DataFrame) -> dict[str, int]:
    """How many levels each axis has."""
    return {axis: rows[axis].nunique() for axis in (*_COUNTED, "seed", "pretraining_seed")}


def by_axis(rows: pd.DataFrame) -> list[tuple[str, str, int, dict[str, int]]]:
    """(axis, level, planned, results by status) of every axis with at least two levels."""
    found = []
    for axis in _COUNTED:
        if rows[axis].nunique() < 2:
            continue
        for level, part in rows.groupby(axis, sort=True):
            text = f"{level:.4g}" if isinstance(level, float) else str(level)
            found.append((axis, text, len(part), statuses(part)))
    return found
