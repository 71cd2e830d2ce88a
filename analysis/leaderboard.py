"""Leaderboards: one entry per configuration, averaged over its seeds and ranked among the complete ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frame import DECIMALS, DENSE_REFERENCE, DONE, ENTRY
from analysis.statistics.bootstrap import mean_intervals
from analysis.statistics.intervals import CONFIDENCE, t_interval
from analysis.statistics.rank_range import rank_range

# Entries of one setting answer the same question at the same price, so that their ranks mean tickets only.
SETTING = ("transfer", "objective", "selection", "fraction", "sparsity")
INTERVALS = ("t", "bootstrap")
LEADERBOARD_COLUMNS = {
    "rank": "place among the complete entries of the data set and metric, 1 is best",
    "rank_in_setting": "place among those of the same transfer, objective, selection, fraction and sparsity",
    "rank_low": f"best place in the setting that pairwise Welch tests leave ({CONFIDENCE:.0%}, Bonferroni)",
    "rank_high": "worst place in the setting that they leave",
    **dict.fromkeys(ENTRY, ""),
    "achieved_sparsity": "fraction of prunable weights at zero, mean over seeds",
    "kept": "prunable weights kept, mean over seeds",
    "prunable": "prunable weights in all",
    "macs": "multiply-accumulates of one image with the kept weights of the prunable layers, mean over seeds",
    "dense_macs": "the same with all weights",
    "n": "seeds with a value",
    "n_planned": "seeds planned",
    "complete": "whether n = n_planned; an entry that is not has no rank and no difference",
    "mean": "mean over seeds, in the metric's unit",
    "sd": "standard deviation over seeds (ddof 1)",
    "ci_low": f"lower limit of the {CONFIDENCE:.0%} interval of the mean (Student t, or the bootstrap where asked for)",
    "ci_high": "upper limit",
    "dense_mean": "mean of the dense network with the same axes otherwise",
    "diff_mean": "mean - dense_mean",
    "diff_low": f"lower limit of the {CONFIDENCE:.0%} t interval of the difference, paired by seed",
    "diff_high": "upper limit",
    "margin": "largest loss against dense that counts as matching, in the metric's unit",
    "p": "one-sided p that the loss is at least the margin (paired t)",
    "label": "superior, matching, inferior or inconclusive against dense; blank where nothing can be inferred",
    "device": "what ran the transfers",
    "device_hours": "hours of one transfer there (GPU-hours; on a CPU core-hours), mean over seeds",
    "ticket_hours": "hours of pre-training and mask search before it, shared with other cells, mean over seeds",
    "higher_is_better": "direction of the metric",
    "flags": "doubts that the evaluations noted",
    "commits": "commits of the code that evaluated",
    "keys": "artifact keys of the evaluations, in the order of the seeds",
}
OVERALL_KEYS = tuple(name for name in ENTRY if name != "dataset")
OVERALL_COLUMNS = {
    "rank": "place of the mean rank among the complete methods of the setting, 1 is best",
    **dict.fromkeys(OVERALL_KEYS, ""),
    "n_datasets": "data sets where every planned seed has a value",
    "n_datasets_planned": "data sets planned",
    "complete": "whether these are equal; a method that is not complete cannot lead",
    "mean": "mean over data sets of the means over seeds, in the metric's unit",
    "diff_mean": "mean over data sets of the difference to dense",
    "mean_rank": "mean over data sets of the place in the setting",
    "mean_rank_low": f"lower limit of its {CONFIDENCE:.0%} Student t interval over data sets, at least 1",
    "mean_rank_high": "upper limit, at most the number of methods",
    "n_methods": "complete methods of the setting",
    "device_hours": "hours of one transfer, mean over data sets",
    "higher_is_better": "direction of the metric",
    "note": "why a number is not there",
}
_OF_MATCHING = ("diff_low", "diff_high", "margin", "p", "label")


def leaderboard(
    table: pd.DataFrame, matching: pd.DataFrame | None = None, *, interval: str = INTERVALS[0]
) -> pd.DataFrame:
    """The entries of a `frame`, all data sets and metrics: LEADERBOARD_COLUMNS, best first in each of these.

    An entry with fewer seeds than planned shows what it has, but has no rank and no difference; these are NaN too
    unless the dense reference is complete. matching: the table of that name, for the columns that it tests. interval:
    of the mean; `bootstrap` is the percentile bootstrap, widened by sqrt(n / (n - 1)), which of few seeds still covers
    less than it says. Raises ValueError for another one.
    """
    if interval not in INTERVALS:
        raise ValueError(f'interval "{interval}" is not known (known: {", ".join(INTERVALS)})')
    groups = table.groupby(list(ENTRY), sort=True, dropna=False)
    entry = groups.ngroup().to_numpy()
    board = _moments(table, groups, entry)
    board["complete"] = board["n"] == board["n_planned"]
    if interval == "t":
        board["ci_low"], board["ci_high"] = t_interval(board["mean"], board["sd"], board["n"])
    else:
        board["ci_low"], board["ci_high"] = mean_intervals(_by_seed(table, groups, entry))
    board = _with_dense(board)
    if matching is None:
        board = board.assign(**dict.fromkeys(_OF_MATCHING[:-1], np.nan), label="")
    else:
        board = board.merge(matching[[*ENTRY, *_OF_MATCHING]], on=list(ENTRY), how="left", validate="one_to_one")
        board["label"] = board["label"].fillna("")
    board = _with_ranks(board)
    # Entries arrive in the order of their axes and the sort is stable: ties stay in that order.
    board = board.sort_values(["dataset", "metric", "rank"], kind="stable", na_position="last", ignore_index=True)
    return board[list(LEADERBOARD_COLUMNS)]


def overall(board: pd.DataFrame) -> pd.DataFrame:
    """One row per method over all data sets of a `leaderboard`: OVERALL_COLUMNS, best first in each setting."""
    found = board.assign(
        # A tie shares its places: the mean of the ranks is then the same whatever else is tied.
        place=_score(board).groupby([board[name] for name in ("dataset", "metric", *SETTING)]).rank(),
        finished=board["complete"].astype(int),
    )
    complete = board["complete"]
    found["mean"], found["diff_mean"] = found["mean"].where(complete), found["diff_mean"].where(complete)
    methods = found.groupby(list(OVERALL_KEYS), sort=True, dropna=False).agg(
        n_datasets_planned=("dataset", "size"),
        n_datasets=("finished", "sum"),
        mean=("mean", "mean"),
        diff_mean=("diff_mean", "mean"),
        mean_rank=("place", "mean"),
        rank_sd=("place", "std"),
        device_hours=("device_hours", "mean"),
        higher_is_better=("higher_is_better", "first"),
    )
    methods = methods.reset_index()
    methods["complete"] = methods["n_datasets"] == methods["n_datasets_planned"]
    within = [methods[name] for name in ("metric", *SETTING)]
    methods["n_methods"] = methods["complete"].groupby(within).transform("sum")
    low, high = t_interval(methods["mean_rank"], methods["rank_sd"], methods["n_datasets"])
    methods["mean_rank_low"] = np.maximum(low, 1.0)
    methods["mean_rank_high"] = np.minimum(high, methods["n_methods"])
    score = methods["mean_rank"].round(DECIMALS).where(methods["complete"])
    methods["rank"] = score.groupby(within).rank(method="min").astype("Int64")
    methods["note"] = np.select(
        [methods["n_datasets"] == 0, methods["n_datasets"] == 1, methods["rank_sd"] == 0],
        ["no data set is complete", "one data set: no interval", "the same place on every data set: no interval"],
        "",
    )
    order = ["metric", *SETTING, "rank"]
    methods = methods.sort_values(order, kind="stable", na_position="last", ignore_index=True)
    return methods[list(OVERALL_COLUMNS)]


def _moments(table: pd.DataFrame, groups: Any, entry: npt.NDArray[np.integer[Any]]) -> pd.DataFrame:
    board: pd.DataFrame = groups.agg(
        n_planned=("status", "size"),
        n=("value", "count"),
        mean=("value", "mean"),
        sd=("value", "std"),
        higher_is_better=("higher_is_better", "first"),
        prunable=("prunable", "first"),
        dense_macs=("dense_macs", "first"),
        **{name: (name, "mean") for name in ("achieved_sparsity", "kept", "macs", "device_hours", "ticket_hours")},
    )
    done = (table["status"] == DONE).to_numpy()
    board["keys"] = _joined(table["key"][done], entry[done], len(board), distinct=False)
    for name, column in (("commits", "commit"), ("flags", "flags"), ("device", "device")):
        board[name] = _joined(table[column], entry, len(board), distinct=True)
    return board.reset_index()


def _by_seed(table: pd.DataFrame, groups: Any, entry: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """The values of every entry beside each other (entries, seeds), NaN where there is none."""
    place = groups.cumcount().to_numpy()
    values = np.full((groups.ngroups, int(place.max(initial=-1)) + 1), np.nan)
    values[entry, place] = table["value"].to_numpy()
    return values


def _joined(
    values: pd.Series[str], entry: npt.NDArray[np.integer[Any]], n_entries: int, *, distinct: bool
) -> list[str]:
    """The texts of each entry in the order of its seeds, or its distinct ones in order."""
    if distinct:
        pairs = pd.DataFrame({"entry": entry, "text": values.to_numpy()}).query("text != ''").drop_duplicates()
        pairs = pairs.sort_values(["entry", "text"])
        entry, values = pairs["entry"].to_numpy(), pairs["text"]
    found: list[list[str]] = [[] for _ in range(n_entries)]
    for index, text in zip(entry.tolist(), values.tolist(), strict=True):
        found[index].append(text)
    return [("; " if distinct else " ").join(texts) for texts in found]


def _with_dense(board: pd.DataFrame) -> pd.DataFrame:
    dense = board.loc[(board["pruner"] == "dense") & board["complete"], [*DENSE_REFERENCE, "mean"]]
    dense = dense.rename(columns={"mean": "dense_mean"})
    board = board.merge(dense, on=list(DENSE_REFERENCE), how="left", validate="many_to_one")
    board["diff_mean"] = (board["mean"] - board["dense_mean"]).where(board["complete"])
    return board


def _score(board: pd.DataFrame) -> pd.Series[float]:
    """What ranks ascending: small is good; NaN for what is not complete."""
    score = board["mean"].round(DECIMALS).where(board["complete"])
    return score.where(~board["higher_is_better"], -score)


def _with_ranks(board: pd.DataFrame) -> pd.DataFrame:
    score = _score(board)
    for name, within in (("rank", ()), ("rank_in_setting", SETTING)):
        groups = score.groupby([board[column] for column in ("dataset", "metric", *within)])
        board[name] = groups.rank(method="min").astype("Int64")
    setting = board.groupby(["dataset", "metric", *SETTING]).ngroup()
    board["rank_low"], board["rank_high"] = rank_range(-score, board["sd"], board["n"], setting)
    return board
