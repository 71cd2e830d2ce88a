"""Is what robust pre-training gains related to the distance of a data set from the source? An association, no more.

The gap is observed, not assigned: data sets that lie far away also differ in size, resolution and number of classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.frame import draws_masks, of_tickets
from analysis.pretrainings import is_self_supervised
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.paired import paired_t
from analysis.statistics.regression import FEWEST, line, spearman
from analysis.wording import bases, count

GAP = "frechet_distance"
NATURAL = ("supervised", "torchvision")
# Neither natural nor robust; nor is what was trained without labels.
NO_PRETRAINING = "random"

_LEVELS = ("grid", "architecture", "source", "natural", "robust")
_SETTING = ("transfer", "objective", "fraction", "metric", "selection")
KEYS = (*_LEVELS, "pruner", "sparsity", *_SETTING, "gap_metric")
_MEANING = {
    **dict.fromkeys(KEYS, ""),
    "natural": "pre-training that the gain is against, and whose features the gap is measured in unless it says others",
    "robust": "pre-training compared with it",
    "pruner": "blank: over all tickets",
    "sparsity": "blank: over all sparsities",
    "gap_metric": "what measures the gap; biased by the number of images: compare at equal numbers",
}
GAP_POINTS_COLUMNS = {
    **_MEANING,
    "dataset": "",
    "gap": "distance of the data set from the source",
    "gain": "robust - natural on matched cells, mean over seeds, in the metric's unit",
    "gain_low": f"lower limit of its {CONFIDENCE:.0%} t interval over seeds",
    "gain_high": "upper limit",
    "n": "seeds in which every matched cell has a value at both levels",
    "note": "why numbers are blank",
}
GAP_REGRESSION_COLUMNS = {
    **_MEANING,
    "n_datasets": "data sets with gap and gain: one observation each",
    "slope": "of gain on gap, least squares: units of the metric per unit of the gap",
    "slope_low": f"lower limit of its {CONFIDENCE:.0%} t interval, n_datasets - 2 degrees of freedom",
    "slope_high": "upper limit",
    "intercept": "gain at gap 0, in the metric's unit",
    "p": "two-sided p of slope 0",
    "spearman": "rank correlation of gain and gap",
    "p_spearman": "its two-sided permutation p",
    "slope_without_min": "smallest slope when one data set is left out",
    "slope_without_max": "largest slope when one data set is left out",
    "note": "why numbers are blank",
}


def gap_points(table: pd.DataFrame) -> pd.DataFrame:
    """A row per data set and comparison of a `frame` that has rows of a `frechet_distance`: columns GAP_POINTS_COLUMNS.

    For every robust level beside a natural one: by pruner and sparsity (dense networks at 0), by pruner over its
    sparsities, and over all tickets but random masks. A gain over several cells averages those planned at both levels,
    and a seed counts only where all of them have values, so that every seed and level averages over the same cells.
    Empty without a gap, or without a natural and another level.
    """
    return _points(_pairs(of_tickets(table)), _gaps(table))


def gap_regression(points: pd.DataFrame) -> pd.DataFrame:
    """A row per comparison of `gap_points`, over its data sets: columns GAP_REGRESSION_COLUMNS."""
    points = points.sort_values([*KEYS, "dataset"], kind="stable", ignore_index=True)
    starts = np.flatnonzero(~points.duplicated(list(KEYS)))
    parts = [_regression(points[start:stop]) for start, stop in itertools.pairwise([*starts.tolist(), len(points)])]
    fits = pd.DataFrame(parts, columns=[name for name in GAP_REGRESSION_COLUMNS if name not in KEYS])
    keys = points.iloc[starts][list(KEYS)].reset_index(drop=True)
    return keys.join(fits.astype(dict.fromkeys(fits, "float64") | {"n_datasets": "int64", "note": "str"}))


def _gaps(table: pd.DataFrame) -> pd.DataFrame:
    """Gap by grid, architecture, source, pre-training, data set and measure; every evaluation counts once."""
    rows = table[(bases(table["metric"]) == GAP) & bases(table["pretraining"]).isin(NATURAL)]
    by = ["grid", "architecture", "source", "pretraining", "dataset", "metric"]
    # NaN where one pre-training seed lacks its gap: its mean would be another network's.
    rows = rows.groupby([*by, "pretraining_seed"])["value"].mean().groupby(by).agg(["mean", "count", "size"])
    gap = rows["mean"].where(rows["count"] == rows["size"]).rename("gap").reset_index()
    return gap.rename(columns={"pretraining": "natural", "metric": "gap_metric"})


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """A row per cell, metric and selection that is planned at a natural and at a robust level; `gain` may be NaN."""
    name = bases(table["pretraining"])
    cell = ["grid", "architecture", "source", "pruner", "granularity", "sparsity", "dataset", *_SETTING]
    cell += ["seed", "pretraining_seed"]
    natural = table.loc[name.isin(NATURAL), [*cell, "pretraining", "value"]]
    others = ~name.isin((*NATURAL, NO_PRETRAINING)) & ~table["pretraining"].map(is_self_supervised).astype(bool)
    robust = table.loc[others, [*cell, "pretraining", "value"]]
    pairs = natural.rename(columns={"pretraining": "natural"}).merge(
        robust.rename(columns={"pretraining": "robust"}), on=cell, suffixes=("_natural", "_robust")
    )
    return pairs.assign(gain=pairs["value_robust"] - pairs["value_natural"])


def _pooled(pairs: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The pairs, labelled by what their gain is a mean over."""
    tickets = pairs[pairs["pruner"] != "dense"]
    yield pairs
    yield tickets.assign(sparsity=np.nan)
    yield tickets[~draws_masks(tickets["pruner"])].assign(sparsity=np.nan, pruner="")


def _points(pairs: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    labelled = pd.concat(list(_pooled(pairs)), ignore_index=True)
    by = [*_LEVELS, "pruner", "sparsity", *_SETTING, "dataset"]
    seeds = labelled.groupby([*by, "seed"], dropna=False)["gain"].agg(["mean", "count", "size"]).reset_index()
    seeds["gain"] = seeds["mean"].where(seeds["count"] == seeds["size"])
    group = seeds.groupby(by, dropna=False, sort=True)
    points = group.size().rename("planned").reset_index()
    gains = np.full((len(points), int(points["planned"].max()) if len(points) else 0), np.nan)
    gains[group.ngroup(), group.cumcount()] = seeds["gain"]
    found = paired_t(gains)
    points = points.assign(gain=found.mean, gain_low=found.low, gain_high=found.high, n=found.n)
    # A data set without its gap stays, with a note.
    features = ["grid", "architecture", "source", "natural", "gap_metric"]
    points = points.merge(gaps[features].drop_duplicates(), on=features[:-1]).merge(
        gaps, on=[*features, "dataset"], how="left"
    )
    points["note"] = _point_notes(points)
    points = points.sort_values([*KEYS, "dataset"], kind="stable", ignore_index=True)
    return points[list(GAP_POINTS_COLUMNS)]


def _point_notes(points: pd.DataFrame) -> pd.Series[str]:
    note = pd.Series("", index=points.index, dtype="str")
    note[points["n"] < points["planned"]] = "a seed lacks a value at one of the levels"
    note[points["gain_low"].isna()] = "no interval: fewer than two seeds, or the same gain for all"
    note[points["n"] == 0] = "no seed has all values at both levels"
    note[points["gap"].isna()] = "the gap is not measured"
    return note


def _regression(points: pd.DataFrame) -> tuple[object, ...]:
    """Columns of GAP_REGRESSION_COLUMNS behind the keys."""
    gap, gain = points["gap"].to_numpy(), points["gain"].to_numpy()
    fit, rank = line(gap, gain), spearman(gap, gain)
    known = np.isfinite(gap) & np.isfinite(gain)
    absent = points.loc[~known, "dataset"].tolist()
    notes = [f"without {', '.join(absent)}: gap or gain is not known"] if absent else []
    if fit.n < FEWEST:
        notes.append(f"{count(fit.n, 'data set')}: a line with an interval needs {FEWEST}")
    elif np.ptp(gap[known]) == 0 or np.ptp(gain[known]) == 0:
        notes.append(f"the {'gap' if np.ptp(gap[known]) == 0 else 'gain'} is the same for all data sets")
    return (
        fit.n, fit.slope, fit.slope_low, fit.slope_high, fit.intercept, fit.p, rank.correlation, rank.p,
        fit.slope_without_min, fit.slope_without_max, "; ".join(notes),
    )  # fmt: skip
