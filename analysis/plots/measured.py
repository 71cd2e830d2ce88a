"""Figures: measured curves beside the published ones of the same words."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.axes import sparsity_axis
from analysis.plots.looks import COLOURS, SPARE_COLOURS, assign
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE, Floats, t_interval
from analysis.wording import transfer

FIGURE = ("study", "dataset", "metric", "architecture", "granularity", "transfer", "objective", "fraction")
_PANELS_PER_ROW = 3
_GREYED = 0.45


def measured(published: pd.DataFrame) -> list[Drawing]:
    """One for every study, data set and metric of `published` that has a curve with a measured value.

    Differences and sparsities of single points are in the table alone.
    """
    curves = published[(published["unit"] == "fraction") & published["sparsity"].notna()]
    found = []
    for setting, part in curves.groupby(list(FIGURE), sort=True, dropna=False):
        longest = part.groupby("item", sort=False)["sparsity"].nunique().max()
        if part["measured_mean"].notna().any() and longest > 1:
            found.append(Drawing(kind="published", setting=setting, draw=partial(figure, part)))
    return found


@style.settings()
def figure(part: pd.DataFrame) -> Figure:
    """A panel for each published pruner: hollow and dashed what a study reports, filled what was measured."""
    part = part.assign(panel=_pruner_of_item(part))
    panels = sorted(part["panel"].unique())
    across = min(len(panels), _PANELS_PER_ROW)
    down = -(-len(panels) // across)
    drawn = Figure(figsize=(max(2.6 * across + 0.7, 3.9), 2.4 * down), layout="constrained")
    grid = drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    colours = assign(part["pretraining"].unique(), COLOURS, SPARE_COLOURS)
    lines: dict[str, Line2D] = {}
    for axes, pruner in zip(grid.flat, panels, strict=False):
        sparsity_axis(axes, part["sparsity"])
        axes.tick_params(axis="x", labelsize=style.NOTE)
        axes.set_xlabel("sparsity")
        axes.set_title(style.wrap(pruner, 40), loc="left", fontsize=style.LABEL)
        for pretraining, curves in part[part["panel"] == pruner].groupby("pretraining", sort=True):
            lines |= _lines(axes, curves, str(pretraining), colours[str(pretraining)])
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    first = part.iloc[0]
    for axes in grid[:, 0]:
        axes.set_ylabel(str(first["metric"]))
    has = part["measured_mean"].notna()
    notes = [
        f"hollow, dashed: {first['study']}, with the error of reading it out",
        f"filled: measured, mean of {style.counted(part.loc[has, 'measured_n'].astype(int))} with its "
        f"{CONFIDENCE:.0%} t interval where there is one",
        f"{int(part['inside'].eq(True).sum())} of {int(part['inside'].notna().sum())} measured values lie within the "
        "uncertainty of the difference",
        "what sets the protocols apart is in the table's remarks",
    ]
    title = f"{first['dataset']}: {first['metric']}, published and measured"
    title += f"\n{first['architecture']}, {transfer(first)}"
    return style.finish(drawn, title=title, note="; ".join(notes), handles=[lines[name] for name in sorted(lines)])


def _pruner_of_item(part: pd.DataFrame) -> pd.Series[str]:
    """The pruner of the published curve that a row is of: its dense end too belongs to it."""
    pruned = part[part["pruner"] != "dense"].drop_duplicates("item").set_index("item")["pruner"]
    return part["item"].map(pruned).fillna("dense").astype("str")


def _lines(axes: Axes, curves: pd.DataFrame, pretraining: str, colour: str) -> dict[str, Line2D]:
    """Both curves, by the legend's label."""
    drawn: dict[str, Line2D] = {}
    theirs = curves.drop_duplicates("sparsity").sort_values("sparsity")
    x, value, error = (theirs[name].to_numpy(np.float64) for name in ("sparsity", "value", "read_out_error"))
    axes.fill_between(1 - x, value - error, value + error, color=colour, alpha=0.12, linewidth=0)
    (line,) = axes.plot(
        1 - x, value, color=colour, linestyle=(0, (3, 2)), marker="o", markersize=3.5, mfc="white", linewidth=0.9
    )
    drawn[f"{pretraining}, published"] = line
    for _, ours in curves.dropna(subset=["measured_mean"]).groupby(["grid", "pretraining_seed", "selection"]):
        ours = ours.sort_values("sparsity")
        at, mean = 1 - ours["sparsity"].to_numpy(np.float64), ours["measured_mean"].to_numpy(np.float64)
        half = _half(ours)
        axes.vlines(at, mean - half, mean + half, color=colour, alpha=_GREYED, linewidth=2)
        (drawn[f"{pretraining}, measured"],) = axes.plot(
            at, mean, color=colour, marker="o", markersize=4.5, linewidth=1.4, mec="white", mew=0.4
        )
    for label, line in drawn.items():
        line.set_label(label)
    return drawn


def _half(ours: pd.DataFrame) -> Floats:
    """Half the interval of every measured mean; NaN where there is none."""
    low, high = t_interval(*(ours[name].astype("float64") for name in ("measured_mean", "measured_sd", "measured_n")))
    return (high - low) / 2
