"""One table of all that a grid planned: a row per cell and metric, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.stems import networks
from analysis.wording import base
from bench.catalog import METRICS, PRUNERS
from bench.results import ResultRow
from bench.spec import AXES

Item = TypeVar("Item")
DONE = "done"
# What makes two rows different: nothing says which of two rows with the same values counts.
IDENTITY = ("grid", *AXES, "metric", "selection")
# An entry is a cell with its seed left out; `round` goes with the sparsity.
ENTRY = ("grid", *(axis for axis in AXES if axis != "seed"), "round", "metric", "selection")
# A curve is the entries of one pruner at all its sparsities.
CURVE = tuple(name for name in ENTRY if name not in ("sparsity", "round"))
# What a ticket shares with the dense network that it is measured against.
DENSE_REFERENCE = tuple(name for name in CURVE if name not in ("pruner", "granularity"))
# What a network is, whatever it is transferred to.
METHOD = ("architecture", "pretraining", "source", "pruner", "granularity")
# Sums of the same values in another order differ in the last digits; that must not make or break a tie.
DECIMALS = 12
HIGHER_IS_BETTER = {name: higher for entry in METRICS.values() for name, higher in entry.reports.items()}
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
_WHOLE = ("seed", "pretraining_seed")
_COUNTS = ("round", "kept", "prunable", "macs", "dense_macs", "n_examples")
_MEASURED = ("sparsity", "fraction", "value", "achieved_sparsity", "seconds", "device_hours", "ticket_hours")
NUMBERS = (*_WHOLE, *_COUNTS, *_MEASURED)
# What is measured of a pre-trained network, not of a ticket that was transferred: such values are of no leaderboard.
_OF_PRETRAINED = tuple(name for entry in METRICS.values() if "transfer" not in entry.reads for name in entry.reports)


def frame(rows: Sequence[ResultRow], *, grid: str) -> pd.DataFrame:
    """The columns COLUMNS, in an order that depends on the cells alone.

    Words are their labels. `value` is NaN wherever the status is not `done`, and finite where it is.
    Raises ValueError if two rows are of the same cell, metric and selection, or two metrics of a name differ in
    direction.
    """
    cells = [row.cell for row in rows]
    columns: dict[str, object] = {axis: [str(getattr(cell, axis)) for cell in cells] for axis in NAMED}
    for name in (*_WHOLE, "sparsity", "fraction", "round"):
        columns[name] = [getattr(cell, name) for cell in cells]
    for name in COLUMNS:
        if name not in columns and name != "grid":
            columns[name] = [getattr(row, name) for row in rows]
    columns["grid"] = grid
    table = typed(pd.DataFrame(columns, columns=list(COLUMNS), index=range(len(rows))))
    unusable = (table["status"] == DONE) & ~np.isfinite(table["value"])
    table.loc[unusable, "reason"] = "the evaluation has no finite value of " + table.loc[unusable, "metric"]
    table.loc[unusable, "status"] = "corrupt"
    table["value"] = table["value"].where(table["status"] == DONE)
    check(table)
    return ordered(table)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Every column with its type: text, float64, int64, Int64 for counts that may be unknown, bool."""
    types: dict[str, str] = dict.fromkeys(COLUMNS, "str")
    types |= dict.fromkeys(_WHOLE, "int64") | dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_MEASURED, "float64")
    return table.astype(types | {"higher_is_better": "bool"})


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(list(IDENTITY), ignore_index=True)


def of_tickets(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of transferred networks; without what describes the pre-trained one, such as the domain gap."""
    describing = [name for name in table["metric"].unique() if base(name) in _OF_PRETRAINED]
    return table[~table["metric"].isin(describing)].reset_index(drop=True)


def methods(table: pd.DataFrame) -> pd.Series[str]:
    """What a row's network is called: the axes of METHOD that vary, or pre-training and pruner if none does.

    A network whose stem goes with the data set has one name on all of them.
    """
    table = table.assign(architecture=networks(table))
    first, *more = [axis for axis in METHOD if table[axis].nunique() > 1] or ["pretraining", "pruner"]
    return reduce(lambda name, axis: name + ", " + table[axis], more, table[first])


def draws_masks(pruner: pd.Series[str]) -> pd.Series[bool]:
    """Whether the pruner's masks are random: no tickets, but what tickets are compared with."""
    known = {label: PRUNERS.get(base(label)) for label in pruner.unique()}
    return pruner.map({label: found is not None and found.random for label, found in known.items()}).astype(bool)


def check(table: pd.DataFrame) -> None:
    """Raises ValueError for two rows of one identity, and for a metric with two directions."""
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


def spread(items: list[Item], most: int) -> list[Item]:
    """At most that many of the items, evenly from the first to the last."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]
