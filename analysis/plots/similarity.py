"""Figures: how much of their masks tickets share that start from other weights, against sparsity."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.axes import sparsity_axis
from analysis.plots.looks import SPARE_COLOURS
from analysis.plots.style import Drawing

FIGURE = ("grid", "architecture", "granularity", "source")
PANEL = ("pruner", "dataset")
_PAIR = ("pretraining_a", "pretraining_b")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", *SPARE_COLOURS)
_MARKERS = "osD^vPX<>h"
_PANELS_PER_ROW, _MOST_PANELS = 3, 12


def similarities(table: pd.DataFrame) -> list[Drawing]:
    """One for every network of a `similarity` table with a number: a panel for each pruner and set, a line a pair."""
    return [
        Drawing(kind="similarity", setting=setting, draw=partial(figure, found))
        for setting, found in table.dropna(subset=["iou"]).groupby(list(FIGURE), sort=True, dropna=False)
    ]


@style.settings()
def figure(table: pd.DataFrame) -> Figure:
    """Mean over seeds with their range; dashed what independent masks of the same densities would share."""
    panels = list(table.groupby(list(PANEL), sort=True, dropna=False))
    shown = panels[:_MOST_PANELS]
    across = min(len(shown), _PANELS_PER_ROW)
    down = -(-len(shown) // across)
    drawn = Figure(figsize=(max(2.7 * across + 0.6, 3.9), 2.1 * down), layout="constrained")
    grid = drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    pairs = sorted(set(table[list(_PAIR)].itertuples(index=False, name=None)))
    looks = {pair: (_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, pair in enumerate(pairs)}
    lines: dict[tuple[str, str], Line2D] = {}
    for axes, ((pruner, dataset), found) in zip(grid.flat, shown, strict=False):
        sparsity_axis(axes, table["sparsity"])
        axes.tick_params(axis="x", labelsize=style.NOTE)
        axes.set_xlabel("sparsity")
        lines |= _panel(axes, found, looks)
        axes.set_title(
            style.wrap(f"{pruner}{f' on {dataset}' if dataset else ''}", 30), loc="left", fontsize=style.NOTE
        )
        axes.set_ylim(0, 1.03)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("intersection\nover union")
    first = table.iloc[0]
    counts = table.groupby([*PANEL, *_PAIR, "sparsity"], dropna=False)["iou"].size()
    notes = [f"share of the weights that both masks keep among those that one keeps, mean of {style.counted(counts)}"]
    if counts.max() > 1:
        notes.append("bands: least to largest")
    notes.append("dashed: expected of independent masks of the same densities by layer")
    if len(panels) > len(shown):
        notes.append(f"the first {len(shown)} of {len(panels)} pruners and sets; the table has all")
    title = f"similarity of masks between pre-trainings\n{first['architecture']}, {first['granularity']}"
    return style.finish(
        drawn, title=title, note="; ".join(notes), handles=[lines[pair] for pair in pairs if pair in lines]
    )


def _panel(
    axes: Axes, found: pd.DataFrame, looks: dict[tuple[str, str], tuple[str, str]]
) -> dict[tuple[str, str], Line2D]:
    drawn = {}
    for (a, b), pair in found.groupby(list(_PAIR), sort=True):
        colour, marker = looks[str(a), str(b)]
        by_level = pair.groupby("sparsity", sort=True)
        limits, expected = by_level["iou"].agg(["mean", "min", "max"]), by_level["expected_iou"].mean()
        x = 1 - limits.index.to_numpy(np.float64)
        axes.fill_between(x, limits["min"], limits["max"], color=colour, alpha=0.15, linewidth=0)
        axes.plot(x, expected, color=colour, linewidth=0.8, linestyle=(0, (4, 2)))
        (line,) = axes.plot(
            x, limits["mean"], color=colour, marker=marker, markersize=4, linewidth=1.2, mec="white", mew=0.4
        )
        line.set_label(f"{style.wrap(a, 40)} and {style.wrap(b, 40)}")
        drawn[str(a), str(b)] = line
    return drawn
