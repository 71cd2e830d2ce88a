"""Figures: accuracy against the strength of a perturbation, of noise on the weights and of swaps in the mask."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.frame import spread
from analysis.plots import style
from analysis.plots.looks import Look, looks_of, methods
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE

FIGURE = (
    "grid", "dataset", "architecture", "source", "pretraining_seed", "transfer", "objective", "fraction", "selection",
    "options",
)  # fmt: skip
_WORDS = {
    "weight_noise": "noise (sd of the layer's weights)",
    "mask_swap": "share of the mask swapped",
}
# Columns of panels at most: the dense network's, and tickets from dense to sparse.
_LEVELS = 4
# Size of the letters of rates, which lie close on a log axis.
_RATE = 6.0


def sensitivities(table: pd.DataFrame) -> list[Drawing]:
    """One for every setting of a `sensitivity` table with a number: panels are perturbations and sparsities."""
    return [
        Drawing(kind="sensitivity", setting=setting, draw=partial(figure, found))
        for setting, found in table.dropna(subset=["mean"]).groupby(list(FIGURE), sort=True, dropna=False)
    ]


@style.settings()
def figure(table: pd.DataFrame) -> Figure:
    """A line for each network, from its clean accuracy at the left over the rates; bands are intervals over seeds."""
    levels = spread(sorted(table["sparsity"].unique()), _LEVELS)
    rows = [name for name in _WORDS if (table["perturbation"] == name).any()]
    table = table.assign(method=methods(table))
    looks = looks_of(table["method"])
    drawn = Figure(figsize=(max(2.0 * len(levels) + 0.7, 3.9), 1.9 * len(rows)), layout="constrained")
    grid = drawn.subplots(len(rows), len(levels), squeeze=False, sharex=True, sharey=True)
    lines: dict[str, Line2D] = {}
    _limits(grid[0, 0], table[table["sparsity"].isin(levels)])
    for (i, j), axes in np.ndenumerate(grid):
        part = table[(table["perturbation"] == rows[i]) & (table["sparsity"] == levels[j])]
        # A dense network has no mask to swap.
        if rows[i] == "mask_swap" and levels[j] == 0:
            axes.set_axis_off()
            continue
        lines |= _panel(axes, part, looks)
        axes.set_xlabel(_WORDS[rows[i]], fontsize=style.NOTE)
        if i == 0:
            named = "dense" if levels[j] == 0 else f"{100 * levels[j]:.2f} % sparsity"
            axes.set_title(named, loc="left", fontsize=style.LABEL)
        outermost = j == 0 or (j == 1 and levels[0] == 0 and rows[i] == "mask_swap")
        axes.tick_params(labelbottom=True, labelleft=outermost)
        if outermost:
            axes.set_ylabel("accuracy")
    first = table.iloc[0]
    title = (
        f"{first['dataset']}: accuracy against perturbations of weights and mask\n"
        f"{first['architecture']}, {style.conditions(first)}"
    )
    notes = [f"lines: mean of {style.counted(table['n'])}"]
    if table["ci_low"].notna().any():
        notes.append(f"bands: {CONFIDENCE:.0%} interval over seeds")
    notes.append("0: the network as it is" if table["clean"].notna().any() else "the unperturbed accuracy is not known")
    if (left := table["sparsity"].nunique() - len(levels)) > 0:
        notes.append(f"{left} more sparsities in the table")
    handles = [lines[name] for name in sorted(lines)]
    return style.finish(drawn, title=title, note="; ".join(notes), handles=handles)


def _panel(axes: Axes, part: pd.DataFrame, looks: dict[str, Look]) -> dict[str, Line2D]:
    drawn = {}
    rates = sorted(part["rate"].unique())
    # The unperturbed network has no place on a log axis: it stands some way before the least rate.
    start = rates[0] / 4 if rates else 1.0
    for name, found in part.groupby("method", sort=True):
        colour, marker, dashes = looks[str(name)]
        for _, line in found.groupby("granularity", sort=True):
            line = line.sort_values("rate")
            x, y = line["rate"].to_numpy(np.float64), line["mean"].to_numpy(np.float64)
            axes.fill_between(x, line["ci_low"], line["ci_high"], color=colour, alpha=0.13, linewidth=0)
            clean = line["clean"].iloc[0]
            (drawn[str(name)],) = axes.plot(
                np.append(start, x), np.append(clean, y), color=colour, marker=marker, linestyle=dashes,
                linewidth=1.2, markersize=4.5, markeredgecolor="white", markeredgewidth=0.4,
            )  # fmt: skip
            drawn[str(name)].set_label(str(name))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([start, *rates]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels(["0", *[f"{rate:g}".removeprefix("0") for rate in rates]], fontsize=_RATE)
    return drawn


def _limits(axes: Axes, table: pd.DataFrame) -> None:
    """Every mean is inside; the wide intervals of few seeds may leave the panel."""
    values = np.concatenate([table["mean"].dropna(), table["clean"].dropna()])
    pad = 0.06 * (values.max() - values.min()) or 0.02
    axes.set_ylim(values.min() - pad, values.max() + pad)
