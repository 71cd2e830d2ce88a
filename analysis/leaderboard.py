"""Leaderboards: one entry per configuration, averaged over its seeds and ranked among the complete ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frame import DENSE_REFERENCE, DONE, ENTRY
from analysis.statistics.intervals import t_interval

# Entries of one setting answer the same question at the same price, so that their ranks mean tickets only.
SETTING = ("transfer", "objective", "selection", "fraction", "sparsity")
COLUMNS = (
    "rank",
    "rank_in_setting",
    *ENTRY,
    "achieved_sparsity",
    "n",
    "n_planned",
    "complete",
    "mean",
    "sd",
    "ci_low",
    "ci_high",
    "dense_mean",
    "diff_mean",
    "higher_is_better",
    "keys",
)
# Sums of the same values in another order differ in the last digits; that must not break a tie.
_TIE_DECIMALS = 12


def leaderboard(table: pd.DataFrame) -> pd.DataFrame:
    """The entries of a `frame`, all data sets and metrics: columns COLUMNS, best first in each data set and metric.

    sd has ddof 1; ci_low and ci_high are the 95 % Student t interval over seeds. An entry with fewer seeds than planned
    shows what it has, but has no rank and no difference. `diff_mean` is mean - dense_mean in the metric's own
    unit (negative is better where lower is better); both are NaN unless the dense reference is complete.
    """
    board = _moments(table)
    board["complete"] = board["n"] == board["n_planned"]
    board["ci_low"], board["ci_high"] = t_interval(board["mean"], board["sd"], board["n"])
    board = _with_dense(board)
    score = board["mean"].round(_TIE_DECIMALS).where(board["complete"])
    score = score.where(~board["higher_is_better"], -score)
    for name, within in (("rank", ()), ("rank_in_setting", SETTING)):
        groups = score.groupby([board[column] for column in ("dataset", "metric", *within)])
        board[name] = groups.rank(method="min").astype("Int64")
    # Entries arrive in the order of their axes and the sort is stable: ties stay in that order.
    board = board.sort_values(["dataset", "metric", "rank"], kind="stable", na_position="last", ignore_index=True)
    return board[list(COLUMNS)]


def _moments(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby(list(ENTRY), sort=True, dropna=False)
    board = groups.agg(
        n_planned=("status", "size"),
        n=("value", "count"),
        mean=("value", "mean"),
        sd=("value", "std"),
        achieved_sparsity=("achieved_sparsity", "mean"),
        higher_is_better=("higher_is_better", "first"),
    )
    board["keys"] = _joined_keys(table, groups.ngroup().to_numpy(), len(board))
    return board.reset_index()


def _joined_keys(table: pd.DataFrame, entry: np.ndarray, n_entries: int) -> list[str]:
    """Keys of the finished evaluations of each entry, in the order of the seeds."""
    keys: list[list[str]] = [[] for _ in range(n_entries)]
    done = (table["status"] == DONE).to_numpy()
    for index, key in zip(entry[done].tolist(), table["key"][done].tolist(), strict=True):
        keys[index].append(key)
    return [" ".join(items) for items in keys]


def _with_dense(board: pd.DataFrame) -> pd.DataFrame:
    dense = board.loc[(board["pruner"] == "dense") & board["complete"], [*DENSE_REFERENCE, "mean"]]
    dense = dense.rename(columns={"mean": "dense_mean"})
    board = board.merge(dense, on=list(DENSE_REFERENCE), how="left", validate="many_to_one")
    board["diff_mean"] = (board["mean"] - board["dense_mean"]).where(board["complete"])
    return board
