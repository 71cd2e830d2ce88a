"""Paired comparisons between the levels of an axis, on cells that differ in nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import matched
from analysis.frame import draws_masks
from analysis.margins import NONE_STATED
from analysis.matched import SETTING, SETTING_AXES, Settings, Sides, difference, row_mean
from analysis.statistics.bayes import FEWEST, STABLE_FROM, bayesian_signed_rank
from analysis.statistics.equivalence import ALPHA
from analysis.statistics.paired import (
    hodges_lehmann,
    paired_t,
    rank_biserial,
    smallest_p,
    wilcoxon,
    win_tie_loss,
)
from analysis.statistics.power import minimum_detectable_effect
from analysis.statistics.ranks import holm

COMPARED = ("architecture", "pretraining", "source", "pruner", "granularity", "transfer", "objective", "fraction")
COMPARISONS_COLUMNS: dict[str, str] = {
    "axis": "what differs between the two sides",
    "level_a": "reference level of the axis",
    "level_b": "level that is compared with it",
    "unit": "what is paired and counted: seed (of one data set) or dataset (seeds averaged)",
    "grid": "grid of the cells",
    "metric": "what is measured",
    "selection": "which of the transfer's networks",
    **{axis: f"{axis} of the cells; blank: compared, or averaged over the matched cells" for axis in SETTING_AXES},
    "higher_is_better": "direction of the metric",
    "n": "pairs: units with both sides done",
    "mean_a": "mean of level a over the pairs, in the metric's unit",
    "mean_b": "mean of level b over the pairs, in the metric's unit",
    "diff_mean": "mean of b - a, in the metric's unit (where lower is better, negative favours b)",
    "diff_low": "lower limit of the two-sided 95 % t interval of diff_mean",
    "diff_high": "upper limit of the two-sided 95 % t interval of diff_mean",
    "sd_diff": "standard deviation (ddof 1) of the pairs' differences, in the metric's unit",
    "effect_size": "d_z = diff_mean / sd_diff",
    "hodges_lehmann": "Hodges-Lehmann estimate of b - a, in the metric's unit",
    "hl_low": "lower limit of its 95 % interval (exact signed-rank), in the metric's unit",
    "hl_high": "upper limit of its 95 % interval (exact signed-rank), in the metric's unit",
    "rank_biserial": "matched-pairs rank-biserial correlation of b - a, in [-1, 1]",
    "p_t": "two-sided p of the paired t test",
    "p_wilcoxon": "two-sided p of the Wilcoxon signed-rank test; over data sets only",
    "p_holm": "p after Holm's correction in the family: of p_t over seeds, of p_wilcoxon over data sets",
    "family": "tests that are corrected together: one axis, metric, selection and kind of row",
    "family_size": "tests in the family",
    "wins": "pairs in which b is better by more than the margin",
    "ties": "pairs that differ by no more than the margin",
    "losses": "pairs in which a is better by more than the margin",
    "prob_improvement": "chance that b is better, ties half: over seeds the share of pairs; over data sets the mean of "
    "each one's share of all pairs of seeds (Agarwal et al. 2021)",
    "bayes_a": "Bayesian signed-rank over data sets (prior strength 0.5 at 0): probability that a is better by more "
    "than the margin",
    "bayes_equal": "probability that neither is better by more than the margin (the region of practical equivalence)",
    "bayes_b": "probability that b is better by more than the margin",
    "margin": "margin in the metric's unit, mean over the pairs' settings",
    "mde": "smallest difference that a paired t test of n pairs finds at 80 % power and level 0.05 / family_size, in "
    "the metric's unit; blank over data sets where the Wilcoxon test cannot reach that level",
    "favours": "the better level where p_holm is below 0.05, else blank",
    "note": "what is blank and why, what was left out",
}
_SORTED_BY = [*list(COMPARISONS_COLUMNS)[:7], *SETTING_AXES]
# Rows, a text with blanks, and the numbers that fill them.
_Sentence: TypeAlias = "tuple[npt.NDArray[np.bool_], str, tuple[npt.NDArray[Any], ...]]"
_PER_DATASET = ("grid", "metric", "selection", "dataset", "transfer", "objective", "fraction")


def comparisons(
    table: pd.DataFrame, *, margins: Mapping[str, float] = NONE_STATED, axes: Sequence[str] | None = None
) -> pd.DataFrame:
    """Every pair of levels of every axis that share matched cells of a `frame`: columns COMPARISONS_COLUMNS.

    Three kinds of rows. One setting, all axes fixed, over seeds; the dense networks too. One data set and way to
    transfer, over seeds: tickets only, each seed the mean of the matched cells that are done at all the seeds used.
    All data sets of one way to transfer, each the mean over its seeds. The last two also by pruner and by sparsity;
    averages over pruners leave random masks out.
    Raises ValueError on an axis that is not in COMPARED, and on two results of one cell.
    """
    unknown = sorted(set(axes or ()) - set(COMPARED))
    if unknown:
        raise ValueError(
            f"axes of a comparison: {', '.join(unknown)} cannot be compared (known: {', '.join(COMPARED)})"
        )
    found = matched.settings(table, margins=margins)
    parts = [part for axis in (COMPARED if axes is None else axes) for part in _of_axis(found, axis)]
    if not parts:
        return pd.DataFrame(columns=list(COMPARISONS_COLUMNS))
    result = pd.concat(parts, ignore_index=True)
    p = result["p_t"].where(result["unit"] == "seed", result["p_wilcoxon"])
    result["p_holm"], result["family_size"] = holm(p, result["family"].factorize()[0])
    size, lowest = result["family_size"].to_numpy(), smallest_p(result["n"])
    level = ALPHA / np.maximum(size, 1)
    hopeless = result["p_wilcoxon"].notna().to_numpy() & (lowest >= level)
    possible = (result["sd_diff"] > 0) & ~hopeless
    result["mde"] = result["sd_diff"].where(possible) * minimum_detectable_effect(result["n"], alpha=level)
    text = "Wilcoxon p cannot be below {:.3g} with {:d} data sets, and the first of {:d} tests needs {:.2g}: no mde"
    numbers = (lowest, result["n"].to_numpy(), size, level)
    result["note"] = _noted(result["note"].to_numpy(object), [(hopeless, text, numbers)])
    centre = result["diff_mean"].where(result["unit"] == "seed", result["rank_biserial"])
    better = np.where((centre > 0) == result["higher_is_better"], result["level_b"], result["level_a"])
    result["favours"] = np.where(result["p_holm"] < ALPHA, better, "")
    return result.sort_values(_SORTED_BY, ignore_index=True)[list(COMPARISONS_COLUMNS)]


def _of_axis(found: Settings, axis: str) -> Iterator[pd.DataFrame]:
    a, b = matched.matched(found, axis)
    if not len(a):
        return
    yield _statistics(matched.of_settings(found, axis, a, b), axis, "seed", "setting")
    dense = (found.keys["pruner"] == "dense").to_numpy()
    baseline = draws_masks(found.keys["pruner"]).to_numpy()
    tickets = ~dense[a] & ~dense[b]
    for by in ((), ("pruner",), ("sparsity",)):
        own = "pruner" in (axis, *by)
        chosen = tickets if own else tickets & ~baseline[a] & ~baseline[b]
        if axis not in by and chosen.any():
            each = matched.of_settings(found, axis, a[chosen], b[chosen])
            kind = " by ".join(("data set", *by))
            seeds = matched.averaged(each, [name for name in (*_PER_DATASET, *by) if name != axis])
            yield _statistics(seeds, axis, "seed", kind)
            yield _statistics(matched.over_datasets(seeds), axis, "dataset", f"all {kind.replace('set', 'sets', 1)}")


def _statistics(sides: Sides, axis: str, unit: str, kind: str) -> pd.DataFrame:
    """The columns of one kind of rows that do not depend on other rows."""
    diff = difference(sides.a, sides.b)
    improvement = np.where(sides.higher_is_better, 1.0, -1.0)[:, None] * diff
    t, blank = paired_t(diff), np.full(len(diff), np.nan)
    columns: dict[str, object] = dict.fromkeys(SETTING, "")
    columns |= {str(name): sides.keys[name].astype("str") for name in sides.keys}
    columns |= {"axis": axis, "unit": unit, "higher_is_better": sides.higher_is_better, "n": t.n}
    columns |= {"mean_a": row_mean(sides.a), "mean_b": row_mean(sides.b), "margin": sides.margin}
    columns |= {"diff_mean": t.mean, "diff_low": t.low, "diff_high": t.high, "sd_diff": t.sd, "p_t": t.p}
    columns |= {"effect_size": t.effect_size, "rank_biserial": rank_biserial(diff)}
    columns["prob_improvement"] = np.where(t.n > 1, sides.chance, np.nan)
    columns |= dict(zip(("hodges_lehmann", "hl_low", "hl_high"), hodges_lehmann(diff), strict=True))
    counted = (t.n > 0) & np.isfinite(sides.margin)
    for name, count in zip(("wins", "ties", "losses"), win_tie_loss(improvement, sides.margin), strict=True):
        columns[name] = pd.Series(count, dtype="Int64").where(counted)
    over_datasets = unit == "dataset"
    columns["p_wilcoxon"] = wilcoxon(diff) if over_datasets else blank
    posterior = bayesian_signed_rank(improvement, sides.margin) if over_datasets else (blank,) * 3
    columns |= dict(zip(("bayes_a", "bayes_equal", "bayes_b"), posterior, strict=True))
    result = pd.DataFrame(columns)
    family = result["grid"] + ", " + axis + ", " + result["metric"] + ", " + result["selection"] + ", " + kind
    result["family"] = family.str.replace(", , ", ", ", regex=False)
    result["note"] = _notes(result, sides, unit)
    return result


def _notes(result: pd.DataFrame, sides: Sides, unit: str) -> npt.NDArray[np.object_]:
    word = {"seed": "seed", "dataset": "data set"}[unit]
    n, over_datasets = result["n"].to_numpy(), unit == "dataset"
    planned = sides.planned.sum(axis=1)
    lacking = (n > 0) & np.isnan(result["margin"].to_numpy())
    sentences: list[_Sentence] = [
        (n == 0, "no matched cell is done on both sides at the same seeds", ()),
        (n == 1, f"one {word}: nothing can be inferred", ()),
        ((n > 1) & (result["sd_diff"] == 0).to_numpy(), f"the same difference in every {word}: no t test", ()),
        ((n > 0) & (n < planned), f"{{:d}} of {{:d}} planned {word}s", (n, planned)),
        (
            (n > 0) & (sides.left_out > 0),
            "{:.0f} of {:.0f} matched cells left out: not done at every seed used",
            (sides.left_out, sides.cells),
        ),
        (lacking, "no margin is known for this metric", ()),
    ]
    if over_datasets:
        none = (n > 1) & np.isnan(result["p_wilcoxon"].to_numpy())
        sentences += [
            (none, "no difference in any data set: no Wilcoxon test", ()),
            ((n > 0) & (n < FEWEST), f"Bayesian test needs {FEWEST} data sets", ()),
            (~lacking & (n >= FEWEST) & (n < STABLE_FROM), f"Bayesian test unstable below {STABLE_FROM} data sets", ()),
        ]
    sentences.append(((n > 1) & (smallest_p(n) >= ALPHA), "no Hodges-Lehmann interval below 6 pairs", ()))
    return _noted(np.full(len(result), "", object), sentences)


def _noted(note: npt.NDArray[np.object_], sentences: Sequence[_Sentence]) -> npt.NDArray[np.object_]:
    """The notes with every sentence added where it holds, its blanks filled with the numbers of the row."""
    note = note.copy()
    for where, text, numbers in sentences:
        rows = np.flatnonzero(where)
        filled = [text.format(*values) for values in zip(*(items[rows] for items in numbers), strict=True)]
        note[rows] += np.where(note[rows] == "", "", "; ") + np.array(filled or [text], object)
    return note
