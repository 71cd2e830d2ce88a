"""One network's curves along its sparsities: values, differences to dense and maximum matching sparsities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.axes import difference_scale, remaining, sparsity_axis
from analysis.plots.looks import PrunerStyle

LINE = ("pretraining", "pruner")
INCONCLUSIVE = "inconclusive"
MAXIMA = "maximum matching sparsity"
MAX_SEED_DOTS = 5
# Distance of neighbouring curves, and of the outermost ones at most, as shares of the axis.
_DODGE, _SPREAD = 0.0065, 0.04


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What a figure or a panel shows: entries, single results and maxima of a setting, and every line's look."""

    setting: tuple[object, ...]
    entries: pd.DataFrame
    seeds: pd.DataFrame
    maxima: pd.DataFrame
    colours: Mapping[str, str]
    styles: Mapping[str, PrunerStyle]


def panel(stack: list[Axes], shown: Curves) -> dict[tuple[str, ...], Line2D]:
    """Draw references and curves of one network; returns the legend's lines by pre-training and pruner."""
    entries, seeds = shown.entries, shown.seeds
    pruned = entries[entries["pruner"] != "dense"]
    for axes in stack:
        sparsity_axis(axes, entries["sparsity"], titled=axes is stack[-1])
    drawn = _references(stack[0], shown)
    if len(stack) > 1:
        _zero(stack[1], pruned)
    shares = 1 - entries["sparsity"].to_numpy()
    span = math.log(shares.max() / shares.min())
    groups = list(pruned.groupby(list(LINE), sort=True))
    for i, (words, curve) in enumerate(groups):
        pretraining, pruner = map(str, words)
        # Curves of equal sparsities stand side by side, or the dots of one would hide those of another.
        shift = math.exp(min(_DODGE, _SPREAD / len(groups)) * span * (i - (len(groups) - 1) / 2))
        look = (shown.colours[pretraining], shown.styles[pruner])
        curve = curve.sort_values("sparsity")
        line = _curve(stack[0], curve, ("mean", "ci_low", "ci_high"), look, shift)
        line.set_label(f"{pretraining}, {pruner}")
        drawn[pretraining, pruner] = line
        if curve["n"].max() <= MAX_SEED_DOTS:
            dots = seeds[(seeds["pretraining"] == pretraining) & (seeds["pruner"] == pruner)]
            stack[0].scatter(
                remaining(dots) * shift, dots["value"], s=8, color=look[0], alpha=0.6, linewidths=0, zorder=2.5
            )
        if len(stack) > 1:
            _curve(stack[1], curve, ("diff_mean", "diff_low", "diff_high"), look, shift)
    if len(stack) > 2:
        _maxima(stack[2], shown)
    return drawn


def _references(axes: Axes, shown: Curves) -> dict[tuple[str, ...], Line2D]:
    """The dense networks as level lines, each with its interval and, in grey, the margin around it."""
    entries = shown.entries
    drawn: dict[tuple[str, ...], Line2D] = {}
    for row in entries[(entries["pruner"] == "dense") & (entries["n"] > 0)].to_dict("records"):
        pretraining, mean = str(row["pretraining"]), row["mean"]
        colour = shown.colours[pretraining]
        margin = entries.loc[entries["pretraining"] == pretraining, "margin"].max()
        if margin > 0:
            axes.axhspan(mean - margin, mean + margin, color="black", alpha=0.07, linewidth=0)
        axes.axhspan(row["ci_low"], row["ci_high"], color=colour, alpha=0.08, linewidth=0)
        # The empty pruner sorts the reference before the tickets it is for.
        drawn[pretraining, ""] = axes.axhline(mean, color=colour, linewidth=0.9)
        drawn[pretraining, ""].set_label(f"{pretraining}, dense")
    return drawn


def _zero(axes: Axes, pruned: pd.DataFrame) -> None:
    """The dense network in the panel of differences."""
    margin = float(pruned["margin"].max())
    differences = pruned["diff_mean"].dropna()
    difference_scale(axes, differences.min(), differences.max(), margin)
    axes.axhline(0, color="black", linewidth=0.8)
    if margin > 0:
        axes.axhspan(-margin, margin, color="black", alpha=0.07, linewidth=0)


def _curve(
    axes: Axes, curve: pd.DataFrame, columns: tuple[str, str, str], look: tuple[str, PrunerStyle], shift: float
) -> Line2D:
    """Mean and interval of one pruner; the line is broken where a planned entry has no value at all."""
    colour, (marker, dashes) = look
    x = remaining(curve).to_numpy() * shift
    mean, low, high = (curve[name].to_numpy(dtype=np.float64) for name in columns)
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    known = np.pad(~np.isnan(low), 1)
    # A band of one point has no area.
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    axes.vlines(x[alone], low[alone], high[alone], color=colour, alpha=0.4, linewidth=2.5)
    (line,) = axes.plot(
        x,
        mean,
        color=colour,
        marker=marker,
        linestyle=dashes,
        linewidth=1.3,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.5,
    )
    unsure = (curve["label"] == INCONCLUSIVE).to_numpy()
    axes.plot(x[unsure], mean[unsure], color=colour, marker=marker, markersize=5, linestyle="", mfc="white", zorder=3)
    short = (~curve["complete"] & (curve["n"] > 0)).to_numpy()
    axes.scatter(x[short], mean[short], marker="x", s=60, color="black", linewidths=1.2, zorder=4)
    return line


def _maxima(axes: Axes, shown: Curves) -> None:
    """A row per curve, in the legend's order: estimate and interval, and a bar at the bound of the fixed sequence.

    An interval that leaves the tested levels ends in an arrow at the border; without an estimate its reason is written.
    """
    rows = shown.maxima.sort_values(list(LINE)).to_dict("records")
    for y, row in enumerate(rows):
        colour, (marker, _) = shown.colours[row["pretraining"]], shown.styles[row["pruner"]]
        axes.plot(1 - row["bound"], y, "|", color=colour, markersize=8, mew=1.5)
        if not np.isfinite(row["estimate"]):
            x, across = 0.02 if np.isnan(row["bound"]) else 0.5, axes.get_yaxis_transform()
            axes.text(x, y, row["censoring"], transform=across, va="center", fontsize=6, color=style.GREY)
            continue
        ends = []
        for name, side, border, arrow in zip(("low", "high"), ("left", "right"), axes.get_xlim(), "<>", strict=True):
            end = 1 - row[f"estimate_{name}"]
            if not np.isfinite(end) and side in row["censoring"]:
                end = border
                axes.plot(end, y, arrow, color=colour, markersize=4, clip_on=False)
            ends.append(end)
        axes.hlines(y, *ends, color=colour, linewidth=1.3)
        axes.plot(1 - row["estimate"], y, marker, color=colour, markersize=5, mec="white", mew=0.5)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title(MAXIMA, loc="left", fontsize=style.NOTE, color=style.GREY, pad=2)


def limit(axes: Axes, shown: Curves) -> None:
    """Limits that show every mean and seed; the wide intervals of two or three seeds may leave the panel."""
    values = np.concatenate([shown.entries["mean"].dropna().to_numpy(), shown.seeds["value"].to_numpy()])
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1e-3)
    axes.set_ylim(low - margin, high + margin)
