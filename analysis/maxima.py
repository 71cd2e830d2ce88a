"""The maximum matching sparsity of each curve: a lower bound tested at 5 %, and an estimate with its interval.

A level counts only if every denser one does: the last level that happens to pass would pick the noise that points up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frame import CURVE, ENTRY
from analysis.matching import paired, starts_pretrained
from analysis.statistics.crossing import jackknife_crossing, log_density, sparsity_at
from analysis.statistics.equivalence import ALPHA, improvement, non_inferiority
from analysis.statistics.intervals import Floats, pooled_sd

NONE = "none"
RIGHT = "right: matches at the sparsest tested"
LEFT = "left: fails at the densest tested"
# Of the bound: a loss may be as likely as too few seeds.
UNSHOWN = "left: not shown to match at the densest tested"
STOPPED = "stopped: the next level is incomplete"
OPEN_LOW = "interval left: reaches below the densest tested"
OPEN_HIGH = "interval right: reaches beyond the sparsest tested"
OPEN_BOTH = "interval left and right: reaches beyond all levels tested"
# Margins below dense from which a level counts as collapsed: its seeds vary in another way than those of candidates.
COLLAPSED = 10.0
_FAR = f"more than {COLLAPSED:g} margins below dense"
MAXIMA_COLUMNS = {
    **dict.fromkeys(CURVE, "identity of the curve, see the frame"),
    "higher_is_better": "direction of the metric",
    "n_levels": "sparsities at which every planned seed has both the ticket and the dense network",
    "n_seeds": "seeds of each of these, the fewest",
    "sparsest_tested": "sparsest of these",
    "margin": "largest loss that still matches, in the metric's unit",
    "sd_pooled": f"deviation of the paired differences, pooled over levels down to {COLLAPSED:g} margins below dense",
    "df": "its degrees of freedom: 2 (n - 1), as the levels share their seeds; n - 1 where it is of one level",
    "bound": "sparsest level that matches as all denser ones do, each tested at 5 %",
    "bound_censoring": "what ended the sequence: none (a level failed), right, left, or stopped at a missing result",
    "estimate": "sparsity where the isotonic fit of the mean improvement, linear in -log(1 - sparsity), is -margin",
    "estimate_low": "lower limit of its 95 % jackknife-t interval over seeds",
    "estimate_high": "upper limit",
    "censoring": "none, or on which side the estimate or its interval leaves the tested levels",
    "sparsest_by_mean": "papers' rule: sparsest level with a mean at least that of dense, whatever denser ones do",
    "sparsest_by_sd_dense": "the same, at most one standard deviation of dense worse",
    "sparsest_by_sd_ticket": "the same, at most one standard deviation of the ticket worse",
    "sparsest_by_sd_larger": "the same, at most the larger of the two worse",
    "winning_bound": "bound, where the tickets are trained from exactly the pre-trained weights",
    "note": "why a number is missing, and what was left out",
}


def maxima(table: pd.DataFrame, matching_table: pd.DataFrame) -> pd.DataFrame:
    """A row of MAXIMA_COLUMNS for every curve of a `frame` and its `matching` table, sorted by CURVE.

    Sparsities are those asked for, as in the frame. A level that lacks a seed ends the sequence of the bound and is
    left out of the estimate. Raises ValueError if the tables are not of the same entries.
    """
    levels, values = _levels(table, matching_table)
    curve = levels["curve"].to_numpy()
    first = np.flatnonzero(np.diff(curve, prepend=-1))
    curves = levels.loc[first, [*CURVE, "higher_is_better"]].reset_index(drop=True)
    tested = levels[levels["complete"]].groupby("curve")
    for name, numbers in (("n_levels", tested["sparsity"].size()), ("n_seeds", tested["n_pairs"].min())):
        curves[name] = numbers.reindex(curves.index, fill_value=0)
    curves["sparsest_tested"], curves["margin"] = tested["sparsity"].max(), tested["margin"].max()
    pooled = _pool(levels, curves)
    _bound(levels, curves)
    _estimate(levels, curves, values)
    for rule in ("by_mean", "by_sd_dense", "by_sd_ticket", "by_sd_larger"):
        passing = levels["sparsity"].where(levels[rule].fillna(False).astype(bool))
        curves[f"sparsest_{rule}"] = passing.groupby(curve).max()
    curves["winning_bound"] = curves["bound"].where(starts_pretrained(curves["pretraining"], curves["pruner"]))
    curves["note"] = _notes(curves, np.bincount(curve, minlength=len(curves)), pooled)
    return curves[list(MAXIMA_COLUMNS)]


def _levels(table: pd.DataFrame, matching_table: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
    """The entries by curve from dense to sparse, and the improvement of each with each seed (levels, seeds)."""
    pairs = paired(table)
    entry = pairs.groupby(list(ENTRY), sort=True, dropna=False).ngroup().to_numpy()
    # As the pairs are: in the order of ENTRY.
    place = matching_table.groupby(list(ENTRY), sort=True, dropna=False).ngroup().to_numpy()
    matching_table = matching_table.iloc[np.argsort(place)].reset_index(drop=True)
    n_pairs = np.bincount(entry[pairs["difference"].notna()], minlength=entry.max(initial=-1) + 1)
    if not np.array_equal(n_pairs, matching_table["n_pairs"]):
        raise ValueError("maxima: the matching table is not of these rows; compute it from the same frame")
    seeds, column = np.unique(pairs["seed"], return_inverse=True)
    values = np.full((len(matching_table), len(seeds)), np.nan)
    values[entry, column] = improvement(pairs["difference"], pairs["higher_is_better"])
    higher = pairs["higher_is_better"].to_numpy()[np.flatnonzero(np.diff(entry, prepend=-1))]
    levels = matching_table.assign(
        curve=matching_table.groupby(list(CURVE), sort=True, dropna=False).ngroup(),
        higher_is_better=higher,
        improvement=improvement(matching_table["diff_mean"], higher),
        complete=matching_table["by_mean"].notna(),
    )
    order = np.lexsort((levels["round"].astype("float64"), levels["sparsity"], levels["curve"]))
    return levels.iloc[order].reset_index(drop=True), values[order]


def _pool(levels: pd.DataFrame, curves: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Adds sd_pooled and df; returns how many levels of each curve are pooled.

    Levels share their seeds and the dense network, so that df is not the sum of theirs. 2 (n - 1) is a rule of thumb:
    in simulations of 2 to 20 levels of 3 to 10 seeds, a level exactly at the margin passed in 2 to 5.4 % where the
    differences of two levels correlate by 0 to 0.5 (0.5: as noisy as dense), 5 to 7 % at 0.8, up to 8 % at 1.
    """
    curve = levels["curve"].to_numpy()
    near = levels["improvement"] >= -COLLAPSED * levels["margin"]
    # A curve that has collapsed everywhere is still tested at its densest level.
    near |= levels.index.isin(levels.index[levels["complete"]].to_series().groupby(curve[levels["complete"]]).min())
    use = (levels["complete"] & near & levels["sd_diff"].notna()).to_numpy()
    pooled = np.bincount(curve[use], minlength=len(curves))
    sd, n = levels["sd_diff"].where(use), levels["n_pairs"]
    curves["sd_pooled"] = pooled_sd(sd, n, curve, len(curves))
    curves["df"] = ((curves["n_seeds"] - 1.0) * np.minimum(pooled, 2)).where(pooled > 0)
    return pooled


def _bound(levels: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Adds bound and bound_censoring: every level is tested in turn until one fails (fixed sequence)."""
    curve, complete = levels["curve"].to_numpy(), levels["complete"].to_numpy()
    sd, df = curves["sd_pooled"].to_numpy()[curve], curves["df"].to_numpy()[curve]
    p = non_inferiority(levels["improvement"], sd, levels["n_pairs"], levels["margin"], df=df)
    passes = pd.Series(complete & (p < ALPHA)).groupby(curve).cummin().to_numpy()
    curves["bound"] = levels["sparsity"].where(passes).groupby(curve).max()
    n_passed = np.bincount(curve[passes], minlength=len(curves))
    start, size = np.flatnonzero(np.diff(curve, prepend=-1)), np.bincount(curve, minlength=len(curves))
    # The level that ended the sequence; where none did, the last one, which is not asked for.
    ended_by = start + np.minimum(n_passed, size - 1)
    known = (curves["sd_pooled"] > 0) & curves["margin"].notna()
    words = np.select(
        [~known, n_passed == size, ~complete[ended_by], n_passed == 0], ["", RIGHT, STOPPED, UNSHOWN], NONE
    )
    curves["bound_censoring"] = pd.Series(words, dtype="str")


def _estimate(levels: pd.DataFrame, curves: pd.DataFrame, values: Floats) -> None:
    """Adds estimate, its limits and censoring; curves of as many levels are computed at once."""
    complete = levels["complete"].to_numpy()
    x, curve, values = log_density(levels["sparsity"])[complete], levels["curve"].to_numpy()[complete], values[complete]
    found = np.full((3, len(curves)), np.nan)
    size = curves["n_levels"].to_numpy()
    for count in np.unique(size[size > 0]):
        of = np.flatnonzero(size == count)
        rows = np.flatnonzero(size[curve] == count)
        shape = (len(of), count)
        found[:, of] = jackknife_crossing(
            x[rows].reshape(shape), values[rows].reshape(*shape, values.shape[1]), -curves["margin"].to_numpy()[of]
        )
    place, low, high = found
    words = np.select(
        [
            np.isnan(place),
            place == np.inf,
            place == -np.inf,
            (low == -np.inf) & (high == np.inf),
            low == -np.inf,
            high == np.inf,
        ],
        ["", RIGHT, LEFT, OPEN_BOTH, OPEN_LOW, OPEN_HIGH],
        NONE,
    )
    curves["censoring"] = pd.Series(words, dtype="str")
    sparsities = sparsity_at(np.where(np.isfinite(found), found, np.nan))
    curves["estimate"], curves["estimate_low"], curves["estimate_high"] = sparsities


def _notes(curves: pd.DataFrame, planned: npt.NDArray[Any], pooled: npt.NDArray[np.int64]) -> pd.Series[str]:
    n_levels = curves["n_levels"]
    some, enough = n_levels > 0, curves["n_seeds"] > 1
    parts = [
        (~some, "no level has every planned seed of ticket and dense network"),
        (some & curves["margin"].isna(), "no margin is known for " + curves["metric"] + ": state one"),
        (some & ~enough, "one seed: no bound and no interval"),
        (some & enough & (curves["sd_pooled"] == 0), "the differences are the same with every seed: no bound"),
        (
            some & enough & curves["estimate"].notna() & (curves["censoring"] == NONE) & curves["estimate_low"].isna(),
            "without any one seed the crossing is the same: no interval",
        ),
        (
            some & (n_levels < planned),
            (planned - n_levels).astype(str) + " of " + planned.astype(str) + " levels lack a seed and are left out",
        ),
        (
            some & enough & (pooled < n_levels),
            "sd_pooled is of " + pooled.astype(str) + " of " + n_levels.astype(str) + f" levels: the others are {_FAR}",
        ),
    ]
    note = pd.Series("", index=curves.index, dtype="str")
    for applies, text in parts:
        addition = pd.Series(text, index=curves.index, dtype="str")
        note = note.where(~applies, note + np.where(note == "", "", "; ") + addition)
    return note
