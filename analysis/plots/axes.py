"""Axes that several figures share: weights remaining, and differences around a margin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

from analysis.statistics.intervals import Floats

# Labels closer than this share of the axis overlap.
_LABEL_WIDTH = 0.125
FONT = 7.0
_LARGE = EngFormatter(sep="")
_OFFSETS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_ALIGN = {-1: "right", 0: "center", 1: "left"}


def remaining(table: pd.DataFrame) -> pd.Series[float]:
    """Share of weights kept, in (0, 1]; as requested where the achieved one is not known."""
    return 1 - table["achieved_sparsity"].fillna(table["sparsity"])


def sparsity_axis(axes: Axes, sparsities: Iterable[float], *, titled: bool = True) -> None:
    """Weights remaining on a log axis from dense to sparse, its ticks labelled with the grid's sparsities."""
    axes.set_xscale("log")
    kept = np.unique(1 - np.asarray(list(sparsities), dtype=np.float64))
    low, high = float(kept[0]), max(float(kept[-1]), 1.0)
    margin = (high / low) ** 0.06 if high > low else 1.5
    axes.set_xlim(high * margin, low / margin)
    ticks: list[float] = []
    for share in kept.tolist():
        # The sparsest levels are labelled first.
        if not ticks or math.log(share / ticks[-1]) > _LABEL_WIDTH * math.log(high / low):
            ticks.append(share)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{1 - share:.3g}" for share in ticks])
    axes.tick_params(labelbottom=titled)
    if titled:
        axes.set_xlabel("sparsity (log scale of the weights remaining)")


def difference_scale(axes: Axes, low: float, high: float, margin: float) -> None:
    """Differences on the y axis: linear within the margin, logarithmic beyond, so that a collapse hides nothing.

    low <= high are the extreme values. Without a margin (NaN) a hundredth of the largest one takes its place.
    """
    largest = max(abs(low), abs(high), 1e-9)
    threshold = margin if margin > 0 else largest / 100
    axes.set_yscale("symlog", linthresh=threshold, linscale=0.4)
    bottom, top = min(low, -threshold), max(high, threshold)
    axes.set_ylim(1.5 * bottom, 1.5 * top)
    decades = math.log10(max(-bottom, top) / threshold)
    steps = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2 else (1,)
    powers = range(math.floor(math.log10(threshold)), math.ceil(math.log10(1.5 * largest + threshold)) + 1)
    beyond = [step * 10.0**power for power in powers for step in steps if step * 10.0**power >= threshold]
    ticks = [0.0]
    for tick in [value for size in beyond for value in (-size, size) if 1.5 * bottom <= value <= 1.5 * top]:
        ticks.append(tick)
    axes.yaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0" for tick in sorted(ticks)])


def log_axis(axis: Axis) -> None:
    """Few plain numbers on a log axis that is set already; large ones with k, M or G."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _LARGE(value) if value >= 1e4 else f"{value:g}"))


def place_labels(axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, labels: Sequence[str]) -> None:
    """Write a label beside each point where it covers the fewest points and labels; limits must be final.

    Greedy in the given order. Distances are estimated in points from the axes' size in the figure before its layout.
    """
    size: Floats = np.array(axes.get_window_extent().size) * 72 / axes.figure.get_dpi()
    where = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([x, y]))) * size
    taken: list[tuple[float, float, float, float]] = [(px - 3, py - 3, px + 3, py + 3) for px, py in where]
    for label, (px, py), point in zip(labels, where.tolist(), np.column_stack([x, y]).tolist(), strict=True):
        lines = label.splitlines() or [""]
        width, height = 0.56 * FONT * max(map(len, lines)), 1.2 * FONT * len(lines)
        boxes = []
        for away, (dx, dy) in itertools.product((5, 12, 20), _OFFSETS):
            left, bottom = px + away * dx - width * (1 - dx) / 2, py + away * dy - height * (1 - dy) / 2
            box = (left, bottom, left + width, bottom + height)
            outside = max(0.0, -left, -bottom, box[2] - size[0], box[3] - size[1])
            boxes.append((sum(_overlap(box, other) for other in taken) + 20 * outside, box, away, dx, dy))
        _, box, away, dx, dy = min(boxes, key=lambda entry: entry[0])
        taken.append(box)
        axes.annotate(
            label,
            (point[0], point[1]),
            (away * dx, away * dy),
            textcoords="offset points",
            ha=_ALIGN[dx],
            va={-1: "top", 0: "center", 1: "bottom"}[dy],
            fontsize=FONT,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.4},
        )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
