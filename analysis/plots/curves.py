"""Figures: a metric against sparsity, one line per pre-training and pruner, with the dense network as reference."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from analysis.statistics.intervals import CONFIDENCE

# One figure answers one question and one panel holds one network; a line's colour is the pre-training, its marker and
# dashes are the pruner.
FIGURE = ("dataset", "metric", "transfer", "objective", "selection", "fraction")
PANEL = ("architecture", "granularity", "source", "pretraining_seed")
_DENSE_PANEL = ("architecture", "source", "pretraining_seed")
_LINE = ("pretraining", "pruner")
MAX_SEED_DOTS = 5
LEGEND_WIDTH = 36
_PANELS_PER_ROW = 3
# Distance of neighbouring curves as a share of the axis.
_DODGE = 0.0065


Style = TypeVar("Style")


class PrunerStyle(NamedTuple):
    """Marker and dash pattern of a pruner's lines."""

    marker: str
    dashes: str | tuple[int, tuple[int, ...]]


# The same method looks the same in every figure. Colours of Okabe and Ito: distinct for colour-blind readers.
COLOURS = {
    "supervised": "#0072B2",
    "pgd_adversarial": "#D55E00",
    "fast_adversarial": "#E69F00",
    "smoothing": "#56B4E9",
    "random": "#6E6E6E",
    "torchvision": "#009E73",
    "checkpoint": "#CC79A7",
}
PRUNER_STYLES = {
    "omp": PrunerStyle("o", "-"),
    "imp": PrunerStyle("s", (0, (6, 2))),
    "imp(on=downstream)": PrunerStyle("D", (0, (6, 2, 1, 2))),
    "random": PrunerStyle("v", (0, (1, 2))),
}
# Words without a place above take these in alphabetical order.
_SPARE_COLOURS = ("#000000", "#8C6BB1", "#7A5C00", "#117733", "#AA4499")
_SPARE_STYLES = tuple(
    PrunerStyle(marker, dashes) for dashes in ((0, (3, 2)), (0, (8, 2, 1, 2, 1, 2))) for marker in "^P*Xp<>h"
)
_SETTINGS: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 130,
    # Options of words may hold any character, a dollar too.
    "text.parse_math": False,
}
_ARROWS = {True: "higher is better", False: "lower is better"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What one figure shows: the entries and single results of one setting, values of FIGURE, and every line's look."""

    setting: tuple[object, ...]
    entries: pd.DataFrame
    seeds: pd.DataFrame
    colours: Mapping[str, str]
    styles: Mapping[str, PrunerStyle]


def curves(table: pd.DataFrame, board: pd.DataFrame) -> list[Curves]:
    """A figure's content for every setting that has a value, from a `frame` and its `leaderboard`."""
    colours = _assign(board["pretraining"], COLOURS, _SPARE_COLOURS)
    styles = _assign(board.loc[board["pruner"] != "dense", "pruner"], PRUNER_STYLES, _SPARE_STYLES)
    seeds = dict(iter(table.dropna(subset=["value"]).groupby(list(FIGURE), sort=True)))
    return [
        Curves(setting=setting, entries=entries, seeds=seeds[setting], colours=colours, styles=styles)
        for setting, entries in board.groupby(list(FIGURE), sort=True)
        if setting in seeds
    ]


def draw(shown: Curves, path: Path) -> None:
    """Write a PNG whose bytes depend on what is shown, not on the clock or the reader's matplotlib settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        _figure(shown).savefig(path, format="png", metadata={"Software": None})


def _assign(labels: pd.Series[str], known: Mapping[str, Style], spare: Sequence[Style]) -> dict[str, Style]:
    unknown = sorted(set(labels) - set(known))
    return {**known, **{label: spare[i % len(spare)] for i, label in enumerate(unknown)}}


def _figure(shown: Curves) -> Figure:
    entries = shown.entries
    panels = _panels(entries)
    columns = min(len(panels), _PANELS_PER_ROW)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(4.9 * columns + 2.1, 3.9 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    # Limits come before the lines: matplotlib cannot guess any for a single point.
    _limit(grid[0, 0], entries, shown.seeds)
    lines: dict[tuple[str, ...], Line2D] = {}
    for axes, panel in zip(grid.flat, panels, strict=False):
        lines |= _panel(axes, replace(shown, entries=_of(entries, panel), seeds=_of(shown.seeds, panel)))
        named = [str(panel[name]) for name in PANEL if name == "architecture" or entries[name].nunique() > 1]
        axes.set_title(", ".join(named), loc="left", fontsize=9)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    first = entries.iloc[0]
    for axes in grid[:, 0]:
        axes.set_ylabel(f"{first['metric']} ({_ARROWS[bool(first['higher_is_better'])]})")
    figure.suptitle(
        f"{first['dataset']}: {first['metric']} against sparsity\n"
        f"transfer {first['transfer']}, objective {first['objective']}, fraction {first['fraction']:g} of the labels"
        + (f"\nnetwork selected: {first['selection']}" if first["selection"] else ""),
        x=0.01,
        ha="left",
        fontsize=10,
    )
    figure.supxlabel(_note(entries), fontsize=7.5, color="#555555")
    handles = [lines[name] for name in sorted(lines)]
    # Words with a path among their options are longer than the figure is wide.
    labels = [textwrap.fill(str(handle.get_label()), LEGEND_WIDTH) for handle in handles]
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, handlelength=4)
    return figure


def _panels(entries: pd.DataFrame) -> list[dict[str, object]]:
    """The networks to show, in order; a dense network alone has a panel only where nothing was pruned."""
    pruned = entries[entries["pruner"] != "dense"]
    shown = (pruned if len(pruned) else entries)[list(PANEL)].drop_duplicates().sort_values(list(PANEL))
    return [dict(zip(PANEL, values, strict=True)) for values in shown.itertuples(index=False)]


def _of(table: pd.DataFrame, panel: Mapping[str, object]) -> pd.DataFrame:
    """Rows of a panel: its pruned networks, and the dense ones whatever their granularity (they have none)."""
    same = (table[list(_DENSE_PANEL)] == pd.Series({name: panel[name] for name in _DENSE_PANEL})).all(axis=1)
    return table[same & ((table["pruner"] == "dense") | (table["granularity"] == panel["granularity"]))]


def _panel(axes: Axes, shown: Curves) -> dict[tuple[str, ...], Line2D]:
    """Draw the dense references and the curves; returns the legend's lines by pre-training and pruner."""
    entries, seeds = shown.entries, shown.seeds
    _sparsity_axis(axes, entries)
    drawn: dict[tuple[str, ...], Line2D] = {}
    for row in entries[(entries["pruner"] == "dense") & (entries["n"] > 0)].to_dict("records"):
        colour = shown.colours[row["pretraining"]]
        axes.axhspan(row["ci_low"], row["ci_high"], color=colour, alpha=0.08, linewidth=0)
        # The empty pruner sorts the reference before the tickets it is for.
        drawn[row["pretraining"], ""] = axes.axhline(row["mean"], color=colour, linewidth=0.9)
        drawn[row["pretraining"], ""].set_label(f"{row['pretraining']}, dense")
    shares = 1 - entries["sparsity"].to_numpy()
    span = math.log(shares.max() / shares.min())
    pruned = list(entries[entries["pruner"] != "dense"].groupby(list(_LINE), sort=True))
    for i, (words, curve) in enumerate(pruned):
        pretraining, pruner = map(str, words)
        # Curves of equal sparsities stand side by side, or the dots of one would hide those of another.
        shift = math.exp(_DODGE * span * (i - (len(pruned) - 1) / 2))
        colour = shown.colours[pretraining]
        line = _curve(axes, curve.sort_values("sparsity"), colour, shown.styles[pruner], shift)
        line.set_label(f"{pretraining}, {pruner}")
        drawn[pretraining, pruner] = line
        if curve["n"].max() <= MAX_SEED_DOTS:
            dots = seeds[(seeds["pretraining"] == pretraining) & (seeds["pruner"] == pruner)]
            axes.scatter(
                _remaining(dots) * shift, dots["value"], s=8, color=colour, alpha=0.6, linewidths=0, zorder=2.5
            )
    return drawn


def _curve(axes: Axes, curve: pd.DataFrame, colour: str, style: PrunerStyle, shift: float) -> Line2D:
    """Mean and interval of one pruner; the line is broken where a planned entry has no value at all."""
    x = _remaining(curve).to_numpy() * shift
    low, high = curve["ci_low"].to_numpy(), curve["ci_high"].to_numpy()
    axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    known = np.pad(~np.isnan(low), 1)
    # A band of one point has no area.
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    axes.vlines(x[alone], low[alone], high[alone], color=colour, alpha=0.4, linewidth=2.5)
    (line,) = axes.plot(
        x,
        curve["mean"],
        color=colour,
        marker=style.marker,
        linestyle=style.dashes,
        linewidth=1.4,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.5,
    )
    short = (~curve["complete"] & (curve["n"] > 0)).to_numpy()
    axes.scatter(x[short], curve["mean"][short], marker="x", s=60, color="black", linewidths=1.2, zorder=4)
    return line


def _remaining(table: pd.DataFrame) -> pd.Series[float]:
    """Share of weights kept, in (0, 1]; as requested where the achieved one is not known."""
    return 1 - table["achieved_sparsity"].fillna(table["sparsity"])


def _sparsity_axis(axes: Axes, entries: pd.DataFrame) -> None:
    """Weights remaining on a log axis from dense to sparse, its ticks labelled with the grid's sparsities."""
    axes.set_xscale("log")
    kept = np.unique(1 - entries["sparsity"].to_numpy())
    low, high = kept[0], max(kept[-1], 1.0)
    margin = (high / low) ** 0.06 if high > low else 1.5
    axes.set_xlim(high * margin, low / margin)
    ticks: list[float] = []
    for share in kept:
        # Labels closer than this overlap; the sparsest levels are kept first.
        if not ticks or math.log(share / ticks[-1]) > 0.075 * math.log(high / low):
            ticks.append(share)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{1 - share:.3g}" for share in ticks])
    axes.set_xlabel("sparsity (log scale of the weights remaining)")


def _limit(axes: Axes, entries: pd.DataFrame, seeds: pd.DataFrame) -> None:
    """Limits that show every mean and seed; the wide intervals of two or three seeds may leave the panel."""
    values = np.concatenate([entries["mean"].dropna().to_numpy(), seeds["value"].to_numpy()])
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1e-3)
    axes.set_ylim(low - margin, high + margin)


def _note(entries: pd.DataFrame) -> str:
    counts = entries.loc[entries["n"] > 0, "n"]
    n = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    notes = [f"lines: mean of n = {n} seeds"]
    if entries["ci_low"].notna().any():
        notes.append(f"bands: {CONFIDENCE:.0%} Student t interval over seeds")
    if counts.max() <= MAX_SEED_DOTS:
        notes.append("dots: single seeds")
    if (~entries["complete"]).any():
        notes.append("crosses and gaps: fewer seeds than planned, or none")
    return "\n".join("; ".join(notes[i : i + 2]) for i in range(0, len(notes), 2))
