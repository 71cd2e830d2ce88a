"""One table of all that a grid planned: a row per cell and metric, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.results import ResultRow
from bench.spec import AXES

DONE = "done"
# What makes two rows different: nothing says which of two rows with the same values counts.
IDENTITY = ("grid", *AXES, "metric", "selection")
# An entry is a cell with its seed left out; `round` goes with the sparsity.
ENTRY = ("grid", *(axis for axis in AXES if axis != "seed"), "round", "metric", "selection")
# A curve is the entries of one pruner at all its sparsities.
CURVE = tuple(name for name in ENTRY if name not in ("sparsity", "round"))
# What a ticket shares with the dense network that it is measured against.
DENSE_REFERENCE = tuple(name for name in CURVE if name not in ("pruner", "granularity"))
# The axes whose values are words or names; the others are numbers.
NAMED = tuple(axis for axis in AXES if axis not in ("sparsity", "fraction", "seed", "pretraining_seed"))
COLUMNS = (
    "grid",
    *AXES,
    "round",
    "metric",
    "selection",
    "value",
    "higher_is_better",
    "status",
    "reason",
    "achieved_sparsity",
    "kept",
    "prunable",
    "macs",
    "dense_macs",
    "n_examples",
    "flags",
    "key",
    "ticket",
    "commit",
    "seconds",
    "device",
    "device_hours",
    "ticket_hours",
)
_COUNTS = ("round", "kept", "prunable", "macs", "dense_macs", "n_examples")
_MEASURED = ("value", "achieved_sparsity", "seconds", "device_hours", "ticket_hours")


def frame(rows: Sequence[ResultRow], *, grid: str) -> pd.DataFrame:
    """The columns COLUMNS, in an order that depends on the cells alone.

    Words are their labels. `value` is NaN wherever the status is not `done`, and finite where it is.
    Raises ValueError if two rows are of the same cell, metric and selection, or two metrics of a name differ in
    direction.
    """
    cells = [row.cell for row in rows]
    columns: dict[str, object] = {axis: [str(getattr(cell, axis)) for cell in cells] for axis in NAMED}
    for axis in ("sparsity", "fraction"):
        columns[axis] = np.array([getattr(cell, axis) for cell in cells], dtype=np.float64)
    for axis in ("seed", "pretraining_seed"):
        columns[axis] = np.array([getattr(cell, axis) for cell in cells], dtype=np.int64)
    columns["round"] = [cell.round for cell in cells]
    for name in COLUMNS:
        if name not in columns and name != "grid":
            columns[name] = [getattr(row, name) for row in rows]
    columns["grid"] = grid
    table = pd.DataFrame(columns, columns=list(COLUMNS), index=range(len(rows)))
    table = table.astype(
        dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_MEASURED, "float64") | {"higher_is_better": "bool"}
    )
    unusable = (table["status"] == DONE) & ~np.isfinite(table["value"])
    table.loc[unusable, "reason"] = "the evaluation has no finite value of " + table.loc[unusable, "metric"]
    table.loc[unusable, "status"] = "corrupt"
    table["value"] = table["value"].where(table["status"] == DONE)
    table = table.sort_values(list(IDENTITY), ignore_index=True)
    _check(table)
    return table


def _check(table: pd.DataFrame) -> None:
    identity = list(IDENTITY)
    again = table.duplicated(identity)
    if again.any():
        row = table[again].iloc[0]
        cell = ", ".join(f"{name} {row[name]}" for name in identity)
        raise ValueError(
            f"two results of one cell, metric and selection ({cell}): nothing says which of the two counts"
        )
    directions = table.groupby("metric")["higher_is_better"].nunique()
    for metric in directions.index[directions > 1]:
        raise ValueError(f"metric {metric} is said to be better when higher and when lower")


def missing(table: pd.DataFrame) -> pd.DataFrame:
    """Every planned cell and metric that has no value, and why."""
    columns = ["grid", *AXES, "round", "metric", "selection", "status", "reason", "key", "ticket"]
    return table.loc[table["status"] != DONE, columns].reset_index(drop=True)
