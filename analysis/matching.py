"""Which tickets match the dense network that they were cut from: paired over seeds, with a margin stated beforehand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frame import CURVE, DENSE_REFERENCE, ENTRY
from analysis.margins import NONE_STATED
from analysis.margins import margins as margins_of
from analysis.statistics import equivalence
from analysis.statistics.intervals import EQUAL, Floats, one_sided_limits, t_interval

DENSE = "dense"
MATCHING_COLUMNS = {
    **dict.fromkeys(ENTRY, "identity of the ticket, see the frame"),
    "achieved_sparsity": "fraction of prunable weights at zero, mean over seeds",
    "n_pairs": "seeds with a value of both the ticket and the dense network",
    "mean": "mean of the ticket over these seeds, in the metric's unit",
    "dense_mean": "mean of the dense network over the same seeds",
    "diff_mean": "mean - dense_mean",
    "diff_low": "lower limit of the two-sided 95 % t interval of the difference",
    "diff_high": "upper limit of it",
    "sd_diff": "standard deviation of the paired differences (ddof 1)",
    "margin": "largest loss that still matches, stated beforehand, in the metric's unit",
    "improvement_low": "one-sided 95 % lower limit of the improvement (the difference, better being positive)",
    "p": "one-sided p of the non-inferiority test; at most 0.05: no worse than dense by the margin",
    "p_ladder": "largest p of this and all denser levels of the curve; its claims at 0.05 need no further correction",
    "label": "superior, matching, inferior or inconclusive; blank where nothing can be inferred",
    "smallest_margin": "margin at which the ticket would just match; negative: better than dense by that much",
    "winning": "matching, and trained from exactly the pre-trained weights",
    "by_mean": "papers' rule: mean at least dense_mean",
    "by_sd_dense": "papers' rule: at most one standard deviation of the dense network worse",
    "by_sd_ticket": "papers' rule: at most one standard deviation of the ticket worse",
    "by_sd_larger": "papers' rule: at most the larger of the two worse",
    "note": "why a number is missing",
}
_PAIRED = (*ENTRY, "seed", "value", "higher_is_better", "achieved_sparsity", "n_examples")
_ELSEWHERE = re.compile(
    r"[(,]\s*(?:rewind\s*=\s*(?:never|finetuned|prunable)|rewind_epoch\s*=\s*0*[1-9]|control\s*=\s*(?:reinit|shuffled|perm))"
)


def matching(table: pd.DataFrame, *, margins: Mapping[str, float] = NONE_STATED) -> pd.DataFrame:
    """A row of MATCHING_COLUMNS for every entry of a `frame` that is not dense, sorted by ENTRY.

    The pairs are the seeds. Means, differences and their interval are of the pairs that there are; claims (p, label,
    smallest_margin, winning, by_*) are blank until every planned seed is a pair, or the seeds that fail would choose
    them. margins: by metric, instead of those of `analysis.margins`. Raises ValueError on a margin that is not
    positive.
    """
    entries = _entries(paired(table))
    better = equivalence.improvement(entries["diff_mean"], entries["higher_is_better"])
    sd, n = entries["sd_diff"], entries["n_pairs"]
    entries["diff_low"], entries["diff_high"] = t_interval(entries["diff_mean"], sd, n)
    margin = margins_of(entries["metric"], entries["n_examples"], entries["dense_mean"], margins)
    entries["margin"] = margin.where(n > 0)
    complete = n == entries["n_planned"]
    claimed = n.where(complete, 0)
    entries["improvement_low"], _ = one_sided_limits(better, sd, claimed)
    entries["smallest_margin"] = -entries["improvement_low"]
    entries["p"] = equivalence.non_inferiority(better, sd, claimed, entries["margin"])
    entries["p_ladder"] = _ladder(entries)
    entries["label"] = equivalence.labels(better, sd, claimed, entries["margin"])
    entries["winning"] = matches(entries["label"]) & starts_pretrained(entries["pretraining"], entries["pruner"])
    entries["sd_larger"] = entries[["sd_dense", "sd_ticket"]].max(axis=1, skipna=False)
    for rule in ("mean", "sd_dense", "sd_ticket", "sd_larger"):
        allowed = EQUAL * entries["scale"] + (0.0 if rule == "mean" else entries[rule])
        known = complete & allowed.notna()
        entries[f"by_{rule}"] = pd.Series(better >= -allowed, dtype="boolean").where(known)
    entries["note"] = pd.Series(_notes(entries), dtype="str")
    return entries[list(MATCHING_COLUMNS)]


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """The tickets' rows of a frame by ENTRY and seed, with the `dense` value of the same seed and the `difference`.

    Both are NaN where the dense network has no value; `dense_planned` says whether the frame has it at all.
    """
    setting = table.groupby([*DENSE_REFERENCE, "seed"], sort=False, dropna=False).ngroup().to_numpy()
    value, is_dense = table["value"].to_numpy(), (table["pruner"] == DENSE).to_numpy()
    dense = np.full(setting.max(initial=-1) + 1, np.nan)
    dense[setting[is_dense]] = value[is_dense]
    planned = np.zeros(len(dense), np.bool_)
    planned[setting[is_dense]] = True
    entry = table.groupby(list(ENTRY), sort=True, dropna=False).ngroup().to_numpy()
    order = np.lexsort((table["seed"].to_numpy(), entry))
    order = order[~is_dense[order]]
    tickets = table[list(_PAIRED)].iloc[order].reset_index(drop=True)
    dense = dense[setting[order]]
    return tickets.assign(dense=dense, difference=tickets["value"] - dense, dense_planned=planned[setting[order]])


def matches(label: pd.Series[str]) -> pd.Series[bool]:
    """Whether a label says that the ticket is at least matching; blank where nothing could be inferred."""
    return label.isin(equivalence.MATCHES).astype("boolean").mask(label == equivalence.UNKNOWN)


def starts_pretrained(pretraining: pd.Series[str], pruner: pd.Series[str]) -> pd.Series[bool]:
    """Whether the ticket's training starts from exactly the pre-trained weights, as the labels of its words say.

    Not so without pre-training, after rewinding to a later epoch, to the trained network, in part or never, and with
    controls that change the weights.
    """
    elsewhere = {label: bool(_ELSEWHERE.search(label)) for label in pruner.unique()}
    return (pretraining != "random") & ~pruner.map(elsewhere).astype(bool)


def _entries(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per entry: what it shares, numbers of pairs, and means and deviations over its pairs."""
    groups = pairs.groupby(list(ENTRY), sort=True, dropna=False)
    entry = groups.ngroup().to_numpy()
    entries = groups.agg(
        n_planned=("seed", "size"),
        achieved_sparsity=("achieved_sparsity", "mean"),
        higher_is_better=("higher_is_better", "first"),
        n_examples=("n_examples", "min"),
        dense_planned=("dense_planned", "any"),
    ).reset_index()
    both = pairs["difference"].notna().to_numpy()
    entry, size = entry[both], len(entries)
    n = np.bincount(entry, minlength=size)
    moments = {name: _moments(pairs[name].to_numpy()[both], entry, n) for name in ("value", "dense", "difference")}
    entries["n_pairs"] = n
    entries["mean"], entries["sd_ticket"] = moments["value"]
    entries["dense_mean"], entries["sd_dense"] = moments["dense"]
    entries["diff_mean"], sd = moments["difference"]
    entries["scale"] = np.maximum(entries["mean"].abs(), entries["dense_mean"].abs())
    entries["sd_diff"] = np.where(sd > EQUAL * entries["scale"], sd, 0.0 * sd)
    return entries


def _moments(values: Floats, entry: npt.NDArray[Any], n: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Mean and standard deviation (ddof 1) of the values of each entry; NaN for fewer than one and two of them."""
    mean = np.bincount(entry, values, minlength=len(n)) / np.where(n > 0, n, np.nan)
    squares = np.bincount(entry, (values - mean[entry]) ** 2, minlength=len(n))
    return mean, np.sqrt(squares / np.where(n > 1, n - 1, np.nan))


def _ladder(entries: pd.DataFrame) -> Floats:
    """Running maximum of p along each curve, from dense to sparse; NaN from the first level that has none.

    The order is fixed beforehand and the first failure ends the sequence, so that every claim before it holds at the
    level of one test (fixed-sequence procedure: Maurer, Hothorn and Lehmacher 1995).
    """
    curve = entries.groupby(list(CURVE), sort=False, dropna=False).ngroup().to_numpy()
    level = entries["round"].astype("float64")
    order = np.lexsort((level, entries["sparsity"], curve))
    p, sorted_curve = entries["p"].to_numpy()[order], curve[order]
    largest = pd.Series(np.where(np.isnan(p), np.inf, p)).groupby(sorted_curve).cummax().to_numpy()
    ladder = np.empty(len(entries))
    ladder[order] = np.where(np.isinf(largest), np.nan, largest)
    return ladder


def _notes(entries: pd.DataFrame) -> npt.NDArray[np.str_]:
    n, planned = entries["n_pairs"], entries["n_planned"]
    of = n.astype(str) + " of " + planned.astype(str)
    return np.select(
        [
            ~entries["dense_planned"],
            n < planned,
            n == 1,
            entries["sd_diff"] == 0,
            entries["margin"].isna(),
        ],
        [
            np.array("there is no dense network with the same axes to compare with"),
            of + " planned seeds have both the ticket and the dense network: no claim before all have",
            np.array("one seed: nothing can be inferred"),
            np.array("the difference is the same with every seed: nothing can be inferred"),
            "no margin is known for " + entries["metric"] + ": state one",
        ],
        "",
    )
