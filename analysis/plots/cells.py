"""Cells of heat-maps: colours, numbers and hatching that stay legible on every colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.plots import style
from analysis.statistics.intervals import Floats

# Diverging and sequential maps whose ends also differ in grey print or for colour-blind readers.
DIVERGING, SEQUENTIAL = "RdBu", "cividis"
MISSING = "#D0D0D0"
TEXT = 6.0


def cells(
    axes: Axes,
    values: Floats,
    texts: npt.NDArray[np.object_],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str,
    low: float,
    high: float,
    hatched: npt.NDArray[np.bool_] | None = None,
) -> QuadMesh:
    """A cell per value, the first row on top, grey where it is NaN, with its text; returns what a colour bar needs."""
    mesh = axes.pcolormesh(values, cmap=colours, vmin=low, vmax=high, edgecolors="white", linewidth=0.6)
    axes.invert_yaxis()
    axes.set_facecolor(MISSING)
    axes.grid(False)
    for (y, x), text in np.ndenumerate(texts):
        colour = mesh.to_rgba(values[y, x]) if np.isfinite(values[y, x]) else to_rgb(MISSING)
        axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=TEXT, color=ink(colour), linespacing=1.05)
    for y, x in np.argwhere(hatched) if hatched is not None else ():
        axes.add_patch(Rectangle((x, y), 1, 1, fill=False, hatch="////", edgecolor="#9A9A9A", linewidth=0))
    upright = max(map(len, columns), default=0) > 5
    names = [style.wrap(name, 24 if upright else 16) for name in columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, names, fontsize=style.NOTE, rotation=90 if upright else 0)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [style.wrap(name, 26) for name in rows], fontsize=style.NOTE)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh


def ink(colour: npt.ArrayLike) -> str:
    """Black or white, whichever stands out more from the colour (relative luminance of sRGB)."""
    linear = [
        (share / 12.92) if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in np.asarray(colour)[:3].tolist()
    ]
    return "black" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 else "white"


def symmetric(values: Floats) -> float:
    """The largest absolute value; 1 where there is none but 0."""
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def colour_bar(axes: Axes, mesh: ScalarMappable, label: str, *, whole: bool = False) -> None:
    """Beside the axes; `whole`: its ticks are whole numbers."""
    bar = axes.figure.colorbar(mesh, ax=axes, shrink=0.8, pad=0.02, aspect=25)
    if whole:
        bar.locator = MaxNLocator(integer=True)
    bar.set_label(label, fontsize=style.NOTE)
    bar.ax.tick_params(labelsize=style.NOTE)
    bar.outline.set_visible(False)
