"""Figures: the gain of robust pre-training against the distance of a data set from the source."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import style
from analysis.plots.axes import place_labels
from analysis.plots.looks import COLOURS
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE, Floats
from analysis.wording import probability

PANEL = ("pruner",)
FIGURE = (
    "grid",
    "architecture",
    "source",
    "natural",
    "robust",
    "sparsity",
    "transfer",
    "objective",
    "fraction",
    "metric",
    "selection",
    "gap_metric",
)
_PANELS_PER_ROW = 3
_COLOUR = COLOURS["supervised"]


def gaps(points: pd.DataFrame, regression: pd.DataFrame) -> list[Drawing]:
    """One per setting of `gap_points` that has a gap and a gain; pruners are panels.

    A line is drawn only where `gap_regression` knows its slope and interval.
    """
    known = points.dropna(subset=["gap", "gain"])
    groups = regression.groupby(list(FIGURE), sort=True, dropna=False)
    fits = {_plain(setting): fit for setting, fit in groups}
    return [
        Drawing(
            kind="gap",
            setting=_plain(key),
            draw=partial(figure, found, fits.get(_plain(key), regression[:0])),
        )
        for key, found in known.groupby(list(FIGURE), sort=True, dropna=False)
    ]


def _plain(setting: tuple[object, ...]) -> tuple[object, ...]:
    """A sparsity that is averaged over has no number; NaN is not equal to itself and would match nothing."""
    return tuple("all" if value != value else value for value in setting)


@style.settings()
def figure(points: pd.DataFrame, regression: pd.DataFrame) -> Figure:
    """Gains with their intervals over seeds, named by data set; the line with its band of the mean."""
    pruners = sorted(points["pruner"].unique())
    across = min(len(pruners), _PANELS_PER_ROW)
    down = -(-len(pruners) // across)
    drawn = Figure(figsize=(2.9 * across + 0.9, 2.7 * down), layout="constrained")
    grid = drawn.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    first = points.iloc[0]
    _limits(grid[0, 0], points)
    for axes, pruner in zip(grid.flat, pruners, strict=False):
        fit = regression[regression["pruner"] == pruner]
        _panel(axes, points[points["pruner"] == pruner].sort_values("dataset"), fit)
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(style.wrap(f"{first['gap_metric']} of {first['source']} (→ farther)", 44))
    for axes in grid.flat[len(pruners) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel(style.wrap(f"gain in {first['metric']} (robust - natural)", 36))
    at = "" if first["sparsity"] != first["sparsity"] else f", sparsity {first['sparsity']:.3g}"
    title = (
        f"gain of {first['robust']} over {first['natural']} against domain gap\n"
        f"{first['architecture']}{at}, {style.conditions(first)}"
    )
    notes = [f"points: means of {style.counted(points['n'])} with {CONFIDENCE:.0%} t intervals"]
    if regression["slope_low"].notna().any():
        notes.append(f"line: least squares over data sets, band {CONFIDENCE:.0%} of its mean")
    notes.append("observational: other properties of the data sets vary with the gap")
    return style.finish(drawn, title=title, note="; ".join(notes))


def _panel(axes: Axes, points: pd.DataFrame, fit: pd.DataFrame) -> None:
    x, y = (points[name].to_numpy(dtype=np.float64) for name in ("gap", "gain"))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.vlines(x, points["gain_low"], points["gain_high"], color=_COLOUR, alpha=0.4, linewidth=1.2)
    axes.plot(x, y, "o", color=_COLOUR, markersize=5, mec="white", mew=0.5)
    pruner = str(points["pruner"].iloc[0]) or "all pruners"
    axes.set_title(style.wrap(f"{pruner}{_numbers(fit)}", 46), loc="left", fontsize=style.NOTE)
    if len(fit) and np.isfinite(fit[["slope", "slope_low", "slope_high", "intercept"]].to_numpy(np.float64)).all():
        at = np.linspace(*axes.get_xlim(), 100)
        line, half = _line(x, at, fit.iloc[0])
        axes.fill_between(at, line - half, line + half, color=style.GREY, alpha=0.15, linewidth=0)
        axes.plot(at, line, color=style.GREY, linewidth=1)
    place_labels(axes, x, y, [style.wrap(name, 16) for name in points["dataset"]])


def _line(x: Floats, at: Floats, fit: pd.Series[float]) -> tuple[Floats, Floats]:
    """The fitted mean, and half its interval: t s sqrt(1/n + (at - mean)^2 / S); half the slope's is t s / sqrt(S)."""
    spread = ((x - x.mean()) ** 2).sum()
    half = (fit["slope_high"] - fit["slope_low"]) / 2 * np.sqrt(spread / len(x) + (at - x.mean()) ** 2)
    return fit["intercept"] + fit["slope"] * at, half


def _numbers(fit: pd.DataFrame) -> str:
    if not len(fit) or not np.isfinite(fit["slope"].iloc[0]):
        return ""
    row = fit.iloc[0]
    interval = f" [{row['slope_low']:.2g}, {row['slope_high']:.2g}]" if np.isfinite(row["slope_low"]) else ""
    return f": slope {row['slope']:.2g}{interval}, {probability(row['p'])}, {row['n_datasets']} data sets"


def _limits(axes: Axes, points: pd.DataFrame) -> None:
    """Every mean and 0 are inside; the wide intervals of few seeds may leave the panel."""
    x, y = points["gap"], points["gain"]
    pad = 0.15 * (x.max() - x.min()) or 0.1 * max(abs(x.max()), 1e-3)
    axes.set_xlim(x.min() - pad, x.max() + pad)
    low, high = min(y.min(), 0), max(y.max(), 0)
    pad = 0.25 * (high - low) or 1e-3
    axes.set_ylim(low - pad, high + pad)
