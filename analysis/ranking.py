"""Methods ranked over data sets: omnibus test, mean ranks with critical-difference groups, and every pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from analysis.frame import DECIMALS, methods
from analysis.margins import NONE_STATED
from analysis.matched import Bools, Settings, difference, row_mean, settings
from analysis.statistics.equivalence import ALPHA
from analysis.statistics.intervals import Floats, t_interval
from analysis.statistics.paired import smallest_p, wilcoxon, win_tie_loss
from analysis.statistics.ranks import critical_difference_groups, friedman, holm

_TRANSFERRED = ("grid", "metric", "selection", "transfer", "objective", "fraction")
_KEYS: dict[str, str] = {
    "grid": "grid of the cells",
    "metric": "what is measured",
    "selection": "which of the transfer's networks",
    "transfer": "way to transfer",
    "objective": "objective of the transfer",
    "fraction": "share of the labels",
    "sparsity": "sparsity of the tickets; the dense networks of the setting are methods too",
}
OMNIBUS_COLUMNS: dict[str, str] = {
    **_KEYS,
    "methods": "methods ranked, joined with ;",
    "n_methods": "number of them",
    "n_datasets": "data sets on which every method is complete (all planned seeds done)",
    "dropped": "data sets on which one is not, joined with ;",
    "chi2": "Friedman's chi2, corrected for ties",
    "p_chi2": "its p",
    "f": "F of Iman and Davenport",
    "df1": "its first degrees of freedom",
    "df2": "its second degrees of freedom",
    "p": "p of f: do the methods differ?",
    "note": "what is blank and why, what was left out",
}
RANKS_COLUMNS: dict[str, str] = {
    **_KEYS,
    "method": "what varies of architecture, pre-training, source, pruner and granularity",
    "mean_rank": "mean over data sets of the rank among the methods, 1 is best, ties share their mean rank",
    "rank_low": "lower limit of its 95 % t interval over data sets, clipped to [1, methods]",
    "rank_high": "upper limit of its 95 % t interval over data sets, clipped to [1, methods]",
    "group": "critical-difference groups: methods that share a letter are not told apart by Wilcoxon-Holm at 0.05",
    "n_datasets": "data sets ranked",
    "note": "what is blank and why",
}
RANK_PAIRS_COLUMNS: dict[str, str] = {
    **_KEYS,
    "method_a": "one method",
    "method_b": "another",
    "n": "data sets on which both are complete",
    "diff_mean": "mean over data sets of b - a, in the metric's unit (where lower is better, negative favours b)",
    "wins": "data sets on which b is better by more than the margin",
    "ties": "data sets on which they differ by no more than the margin",
    "losses": "data sets on which a is better by more than the margin",
    "p": "two-sided p of the Wilcoxon signed-rank test over data sets",
    "p_holm": "p after Holm's correction for all pairs of the setting",
    "note": "what is blank and why",
}


class Ranking(NamedTuple):
    omnibus: pd.DataFrame
    ranks: pd.DataFrame
    rank_pairs: pd.DataFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """Means over seeds of one setting, (data sets, methods), NaN where a method is not complete; margin as them."""

    keys: dict[str, Any]
    methods: list[str]
    datasets: list[str]
    scores: Floats
    margin: Floats
    higher_is_better: bool


def ranking(table: pd.DataFrame, *, margins: Mapping[str, float] = NONE_STATED) -> Ranking:
    """Ranks of the methods of every setting of a `frame`, with the columns OMNIBUS_, RANKS_ and RANK_PAIRS_COLUMNS.

    The unit is the data set: seeds, and pre-training seeds, are averaged first. A setting's methods are its tickets of
    one sparsity and its dense networks; dense networks alone are a setting where nothing was pruned. Ranks and omnibus
    use the data sets on which all methods are complete, without the methods that are complete on none; a pair uses the
    data sets on which both are. Raises ValueError on two results of one cell.
    """
    omnibus: list[dict[str, Any]] = []
    ranks: list[pd.DataFrame] = []
    pairs: list[pd.DataFrame] = []
    for block in _blocks(settings(table, margins=margins)):
        compared = _pairs(block)
        omnibus.append(_omnibus(block, compared))
        ranks.append(_ranks(block, compared))
        pairs.append(compared)
    types = dict.fromkeys(("n_methods", "n_datasets"), "int64") | dict.fromkeys(("df1", "df2"), "Int64")
    return Ranking(
        pd.DataFrame(omnibus, columns=list(OMNIBUS_COLUMNS)).astype(types),
        _joined(ranks, RANKS_COLUMNS, "method"),
        _joined(pairs, RANK_PAIRS_COLUMNS, "method_a", "method_b"),
    )


def _joined(parts: list[pd.DataFrame], columns: dict[str, str], *names: str) -> pd.DataFrame:
    filled = [part for part in parts if len(part)]
    table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(columns))
    return table.sort_values([*_KEYS, *names], ignore_index=True)[list(columns)]


def _blocks(found: Settings) -> Iterator[_Block]:
    keys = found.keys
    done = (np.isfinite(found.values) == found.planned).all(axis=1)
    entries = keys.assign(score=np.where(done, row_mean(found.values), np.nan), method=methods(keys))
    groups = entries.groupby([*_TRANSFERRED, "sparsity", "method", "dataset"], sort=True)
    means = groups.agg(
        score=("score", "mean"),
        known=("score", "count"),
        planned=("score", "size"),
        margin=("margin", "mean"),
        higher=("higher_is_better", "first"),
    ).reset_index()
    means["score"] = means["score"].where(means["known"] == means["planned"]).round(DECIMALS)
    for words, setting in means.groupby(list(_TRANSFERRED), sort=True):
        levels = np.unique(setting["sparsity"])
        for sparsity in (levels[levels > 0] if levels[-1] > 0 else levels).tolist():
            of_level = setting[setting["sparsity"].isin([0.0, sparsity])]
            yield _block(dict(zip(_KEYS, (*words, sparsity), strict=True)), of_level)


def _block(keys: dict[str, Any], level: pd.DataFrame) -> _Block:
    methods, column = np.unique(level["method"].to_numpy(str), return_inverse=True)
    datasets, row = np.unique(level["dataset"].to_numpy(str), return_inverse=True)
    scores, margin = np.full((2, len(datasets), len(methods)), np.nan)
    scores[row, column], margin[row, column] = level["score"], level["margin"]
    return _Block(
        keys=keys,
        methods=methods.tolist(),
        datasets=datasets.tolist(),
        scores=scores,
        margin=margin,
        higher_is_better=bool(level["higher"].iloc[0]),
    )


def _pairs(block: _Block) -> pd.DataFrame:
    a, b = np.triu_indices(len(block.methods), 1)
    diff = difference(block.scores[:, a], block.scores[:, b]).T
    known = np.isfinite(diff)
    n, p = known.sum(axis=1), wilcoxon(diff)
    margin = row_mean(np.where(known, (block.margin[:, a] + block.margin[:, b]).T / 2, np.nan))
    names = np.array(block.methods, object)
    table = pd.DataFrame(
        {**block.keys, "method_a": names[a], "method_b": names[b], "n": n, "diff_mean": row_mean(diff)}
    )
    improvement = diff if block.higher_is_better else -diff
    for name, count in zip(("wins", "ties", "losses"), win_tie_loss(improvement, margin), strict=True):
        table[name] = pd.Series(count, dtype="Int64").where((n > 0) & np.isfinite(margin))
    table["p"], (table["p_holm"], _) = p, holm(p)
    reasons = {
        "no data set has both": n == 0,
        "one data set: no test": n == 1,
        "no difference in any data set: no test": (n > 1) & np.isnan(p),
        "no margin is known for this metric": (n > 0) & np.isnan(margin),
    }
    few = np.isfinite(p) & (smallest_p(n) >= ALPHA)
    for size in np.unique(n[few]).tolist():
        reasons[f"Wilcoxon p cannot be below {smallest_p(size):.3g} with {size} data sets"] = few & (n == size)
    notes = ["; ".join(text for text, where in reasons.items() if where[i]) for i in range(len(n))]
    return table.assign(note=notes)


def _whole(block: _Block) -> tuple[Bools, Bools, Floats]:
    """Which methods are complete on some data set, on which data sets all of these are, and their scores there."""
    known = np.isfinite(block.scores)
    methods = np.asarray(known.any(axis=0))
    datasets = np.asarray(known[:, methods].all(axis=1) & known.any())
    return methods, datasets, block.scores[np.ix_(datasets, methods)]


def _omnibus(block: _Block, pairs: pd.DataFrame) -> dict[str, Any]:
    methods, datasets, scores = _whole(block)
    n, k = scores.shape
    absent = _listed(block.methods, ~methods)
    notes = [f"complete on no data set: {absent}"] if absent else []
    result: dict[str, Any] = {**block.keys, "methods": _listed(block.methods, methods), "n_methods": k}
    result |= {"n_datasets": n, "dropped": _listed(block.datasets, ~datasets)}
    if k < 3 or n < 2:
        notes.append(f"Friedman's test needs 3 methods and 2 data sets, here are {k} and {n}")
    else:
        result |= friedman(scores)._asdict()
        if np.isnan(result["chi2"]):
            notes.append("all methods are equal on every data set")
        elif np.isnan(result["f"]):
            notes.append("every data set ranks the methods alike: F is infinite, see p_chi2")
    tested = pairs.loc[pairs["p"].notna(), "n"]
    lowest = smallest_p(tested.max()) * len(tested)
    if len(tested) and lowest >= ALPHA:
        reach = f"with {tested.max()} data sets and {len(tested)} pairs, p after Holm is at least"
        notes.append(f"no pair can be told apart: {reach} {min(float(lowest), 1):.3g}")
    return {**result, "note": "; ".join(notes)}


def _listed(names: list[str], chosen: Bools) -> str:
    return "; ".join(name for name, this in zip(names, chosen, strict=True) if this)


def _ranks(block: _Block, pairs: pd.DataFrame) -> pd.DataFrame:
    """`pairs` in the order of `_pairs`."""
    methods, _, scores = _whole(block)
    n, k = scores.shape
    table = pd.DataFrame({**block.keys, "method": block.methods, "n_datasets": n, "group": ""})
    table[["mean_rank", "rank_low", "rank_high"]] = np.nan
    if n < 2 or k < 2:
        return table.assign(note=f"ranks need 2 methods and 2 data sets, here are {k} and {n}")
    ranks = rankdata(-scores if block.higher_is_better else scores, axis=1)
    mean = ranks.mean(axis=0)
    low, high = t_interval(mean, ranks.std(axis=0, ddof=1), n)
    p = np.full((len(methods), len(methods)), np.nan)
    p[np.triu_indices(len(methods), 1)] = pairs["p_holm"]
    best = np.flatnonzero(methods)[np.argsort(mean, kind="stable")]
    table.loc[best, "group"] = critical_difference_groups(np.fmax(p, p.T)[np.ix_(best, best)])
    table.loc[methods, ["mean_rank", "rank_low", "rank_high"]] = np.stack(
        [mean, low.clip(1, k), high.clip(1, k)], axis=1
    )
    table["note"] = np.where(table["rank_low"].isna(), "the same rank on every data set: no interval", "")
    table.loc[~methods, "note"] = "complete on no data set"
    return table
