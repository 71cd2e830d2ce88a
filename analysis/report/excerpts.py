"""The rows and columns of the main tables that fit on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import wording
from analysis.report.columns import COLUMNS
from analysis.report.views import FILES, Column
from analysis.tables import Tables

TOP = 5
_AVERAGED = ("architecture", "pretraining", "source", "pruner", "granularity", "pretraining_seed", "sparsity")
_LEFT_OUT = {
    "leaderboard": ("n_planned", "rank_in_setting", "rank_low", "rank_high", "kept", "macs", "device_hours", "device"),
    "maxima": ("sparsest_by_mean", "sparsest_by_sd_larger", "bound_censoring", "censoring"),
    "comparisons": (*_AVERAGED, "p_t", "p_wilcoxon", "wins", "ties", "losses", "effect_size", "favours"),
}
_COMMENTS = ("note", "flags")


@dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """The chosen rows of a table; n_rows counts all of them."""

    name: str
    title: str
    rows: pd.DataFrame
    columns: Sequence[Column]
    n_rows: int

    @property
    def file(self) -> str:
        """Where all of them are, below the folder of the analysis."""
        return FILES.get(self.name, f"tables/{self.name}.csv")


def excerpts(tables: Tables) -> list[Excerpt]:
    """Leaderboard, maxima, double-win tickets and comparisons over all tickets, in this order; any may have no rows."""
    return [
        _excerpt("leaderboard", f"Leaderboard: best {TOP} and dense", top(tables.leaderboard, TOP), tables.leaderboard),
        _excerpt("maxima", "Maximum matching sparsity", by_metric(tables.maxima), tables.maxima),
        _excerpt("double_win", "Double-win tickets", tables.double_win, tables.double_win),
        _excerpt("comparisons", "Comparisons over all tickets", overall(tables.comparisons), tables.comparisons),
    ]


def _excerpt(name: str, title: str, rows: pd.DataFrame, table: pd.DataFrame) -> Excerpt:
    left_out = (*_LEFT_OUT.get(name, ()), *_COMMENTS)
    return Excerpt(
        name=name,
        title=title,
        rows=rows,
        columns=[column for column in COLUMNS[name] if column.name not in left_out],
        n_rows=len(table),
    )


def top(board: pd.DataFrame, count: int) -> pd.DataFrame:
    """The first entries of each data set and metric, and the best dense network where it is not among them."""
    boards = board.groupby(["dataset", "metric"], sort=False)
    first = boards.cumcount() < count
    dense = board["pruner"] == "dense"
    best_dense = dense & (dense.groupby([board["dataset"], board["metric"]], sort=False).cumsum() == 1)
    return by_metric(board[first | best_dense])


def by_metric(table: pd.DataFrame) -> pd.DataFrame:
    """The same rows, those of the task's metric first, in their order otherwise."""
    order = {metric: place for place, metric in enumerate(wording.primary_first(table["metric"]))}
    return table.iloc[table["metric"].map(order).astype("int64").to_numpy().argsort(kind="stable")]


def overall(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Rows that average over all tickets, in reading order."""
    return reading_order(comparisons[(comparisons[list(_AVERAGED)] == "").all(axis=1)])


def reading_order(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The same rows: those over most cells first, then pre-training and pruner first, then the task's metric first."""
    fixed = (comparisons[list(_AVERAGED)] != "").sum(axis=1)
    place = pd.DataFrame({"fixed": fixed, "other": ~comparisons["axis"].isin(("pretraining", "pruner"))})
    order = by_metric(comparisons).index
    return comparisons.loc[place.loc[order].sort_values(["fixed", "other"], kind="stable").index]
