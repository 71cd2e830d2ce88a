"""Figures: the double-win plane, robust against standard accuracy of dense networks and their tickets."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.frame import ENTRY, draws_masks
from analysis.plots import style
from analysis.plots.looks import Look, looks_of, methods
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE
from analysis.wording import is_accuracy, is_secondary

STANDARD = "accuracy"
FIGURE = (
    "grid",
    "dataset",
    "transfer",
    "fraction",
    "selection",
    "architecture",
    "source",
    "pretraining_seed",
    "robust_metric",
)
_MEASURED = ("n", "complete", "mean", "ci_low", "ci_high", "margin")


def planes(board: pd.DataFrame) -> list[Drawing]:
    """One for every setting of a `leaderboard` in which a network has a standard and a robust accuracy.

    The objectives of the transfer are panels. A region where a ticket wins twice needs a dense network and margins.
    """
    points = _paired(board)
    return [
        Drawing(kind="plane", setting=setting, draw=partial(figure, found))
        for setting, found in points.groupby(list(FIGURE), sort=True)
    ]


def _paired(board: pd.DataFrame) -> pd.DataFrame:
    """Both accuracies of a network in one row, with suffixes _sa and _ra; a row per robust metric."""
    keys = [name for name in ENTRY if name != "metric"]
    accuracy = board["metric"].map(lambda metric: is_accuracy(metric) and not is_secondary(metric)).astype(bool)
    known = board[(board["n"] > 0) & accuracy].assign(margin=board.get("margin", np.nan))
    standard = known.loc[known["metric"] == STANDARD, [*keys, *_MEASURED]]
    robust = known.loc[known["metric"] != STANDARD, [*keys, "metric", *_MEASURED]]
    robust = robust.rename(columns={"metric": "robust_metric"})
    return standard.merge(robust, on=keys, suffixes=("_sa", "_ra"), validate="one_to_many")


@style.settings()
def figure(points: pd.DataFrame) -> Figure:
    """A panel per objective; arrows lead from the dense network along the sparsities to the sparsest ticket."""
    points = points.assign(method=methods(points)).sort_values(["objective", "method", "sparsity"])
    looks = looks_of(points["method"])
    objectives = sorted(points["objective"].unique(), key=lambda name: (name != "standard", name))
    drawn = Figure(figsize=(3.0 * len(objectives) + 0.9, 3.0), layout="constrained")
    panels = drawn.subplots(1, len(objectives), squeeze=False, sharex=True, sharey=True)[0]
    first = points.iloc[0]
    # Limits come first: the regions end at the border.
    _limits(panels[0], points)
    for axes, objective in zip(panels, objectives, strict=True):
        _panel(axes, points[points["objective"] == objective], looks)
        axes.set_title(f"{objective} objective", loc="left", fontsize=style.LABEL)
        axes.set_xlabel("standard accuracy (→ better)")
    panels[0].set_ylabel(style.wrap(style.direction(first["robust_metric"], True), 40))
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.dashes, markersize=5, label=method)
        for method, look in looks.items()
    ]
    words = style.conditions(first.drop("objective"))
    title = f"{first['dataset']}: robust against standard accuracy\n{first['architecture']}, {words}"
    return style.finish(drawn, title=title, note=_note(points, panels[0]), handles=handles)


def _panel(axes: Axes, points: pd.DataFrame, looks: dict[str, Look]) -> None:
    for row in points.to_dict("records"):
        look, filled = looks[row["method"]], bool(row["complete_sa"] and row["complete_ra"])
        axes.hlines(row["mean_ra"], row["ci_low_sa"], row["ci_high_sa"], color=look.colour, alpha=0.3, linewidth=0.8)
        axes.vlines(row["mean_sa"], row["ci_low_ra"], row["ci_high_ra"], color=look.colour, alpha=0.3, linewidth=0.8)
        axes.plot(
            row["mean_sa"],
            row["mean_ra"],
            look.marker,
            color=look.colour,
            markersize=8 if row["pruner"] == "dense" else 5,
            markerfacecolor=look.colour if filled else "white",
            markeredgecolor="white" if filled else look.colour,
            markeredgewidth=0.5 if filled else 1,
            zorder=3,
        )
    dense = points[points["pruner"] == "dense"].set_index("pretraining")
    for row in dense.reset_index().to_dict("records"):
        _win_region(axes, row, points[points["pretraining"] == row["pretraining"]], looks[row["method"]].colour)
    for method, ladder in points[points["pruner"] != "dense"].groupby("method", sort=True):
        path = ladder[["mean_sa", "mean_ra"]].to_numpy(dtype=np.float64)
        pretraining = ladder["pretraining"].iloc[0]
        if pretraining in dense.index:
            start = dense.loc[[pretraining], ["mean_sa", "mean_ra"]].to_numpy(dtype=np.float64)
            path = np.concatenate([start, path])
        look = looks[str(method)]
        for tail, head in itertools.pairwise(map(tuple, path.tolist())):
            arrow = {"arrowstyle": "-|>", "color": look.colour, "linestyle": look.dashes, "linewidth": 1, "alpha": 0.8}
            axes.annotate("", head, tail, arrowprops={**arrow, "shrinkA": 3, "shrinkB": 3, "mutation_scale": 7})


def _win_region(axes: Axes, dense: Mapping[Hashable, Any], tickets: pd.DataFrame, colour: str) -> None:
    """The corner in which both accuracies are at most a margin below the dense network's."""
    margin_sa, margin_ra = tickets["margin_sa"].max(), tickets["margin_ra"].max()
    if not (margin_sa > 0 and margin_ra > 0):
        return
    x, y = dense["mean_sa"] - margin_sa, dense["mean_ra"] - margin_ra
    right, top = axes.get_xlim()[1], axes.get_ylim()[1]
    axes.fill([x, right, right, x], [y, y, top, top], color=colour, alpha=0.1, linewidth=0)
    axes.plot([x, x, right], [top, y, y], color=colour, linewidth=0.8, linestyle=(0, (4, 2)))


def _limits(axes: Axes, points: pd.DataFrame) -> None:
    """Every mean and the margins are inside, and random tickets if there are no others: they collapse early.

    The wide intervals of few seeds may leave the panel.
    """
    chance = draws_masks(points["pruner"])
    shown = points[~chance] if (~chance & (points["pruner"] != "dense")).any() else points
    for suffix, limit in (("_sa", axes.set_xlim), ("_ra", axes.set_ylim)):
        values = shown[f"mean{suffix}"]
        margin = shown[f"margin{suffix}"].max()
        pad = max(0.08 * (values.max() - values.min()), 1.5 * margin if margin > 0 else 0.0, 5e-3)
        limit(values.min() - pad, values.max() + pad)


def _note(points: pd.DataFrame, axes: Axes) -> str:
    counts = pd.concat([points["n_sa"], points["n_ra"]])
    pruned = points.loc[points["pruner"] != "dense", "sparsity"]
    notes = [f"means of {style.counted(counts)} with {CONFIDENCE:.0%} Student t intervals (thin)"]
    if len(pruned):
        levels = sorted(f"{level:.3g}" for level in pruned.unique())
        words = ", ".join(levels) if len(levels) < 6 else f"{levels[0]} to {levels[-1]}"
        notes.append(f"arrows: from dense to the sparsest ticket, sparsities {words}")
    if points[["margin_sa", "margin_ra"]].notna().all(axis=1).any():
        notes.append(
            "shaded: at most a margin below the dense network of the colour in both (a double win needs a test)"
        )
    if not (points["complete_sa"] & points["complete_ra"]).all():
        notes.append("hollow: fewer seeds than planned")
    inside = points["mean_sa"].between(*axes.get_xlim()) & points["mean_ra"].between(*axes.get_ylim())
    if not inside.all():
        notes.append(f"{(~inside).sum()} of {len(points)} networks, random tickets, lie outside")
    return "; ".join(notes)
