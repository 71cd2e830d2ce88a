"""Figures: a metric against sparsity, one line per pre-training and pruner, with the dense network as reference.

Below each panel the same curves as differences to the dense network, and their maximum matching sparsities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.frame import CURVE
from analysis.plots import ladder, style
from analysis.plots.ladder import INCONCLUSIVE, MAX_SEED_DOTS
from analysis.plots.ladder import Curves as Curves
from analysis.plots.looks import COLOURS, PRUNER_STYLES, SPARE_COLOURS, SPARE_STYLES, assign
from analysis.statistics.intervals import CONFIDENCE

# One figure answers one question and one panel holds one network.
FIGURE = ("grid", "dataset", "metric", "transfer", "objective", "selection", "fraction")
PANEL = ("architecture", "granularity", "source", "pretraining_seed")
_DENSE_PANEL = ("architecture", "source", "pretraining_seed")
_PANELS_PER_ROW = 3
# Columns that a leaderboard may lack, with what stands for them.
_OPTIONAL: dict[str, Any] = {"label": "", "margin": np.nan, "diff_low": np.nan, "diff_high": np.nan}


def curves(table: pd.DataFrame, board: pd.DataFrame, maxima: pd.DataFrame | None = None) -> list[Curves]:
    """A figure's content for every setting that has a value, from a `frame`, its `leaderboard` and `maxima`.

    Without the leaderboard's `label` and `margin` no point is hollow and no margin is drawn.
    """
    board = board.assign(**{name: value for name, value in _OPTIONAL.items() if name not in board})
    maxima = pd.DataFrame(columns=[*CURVE, "estimate"]) if maxima is None else maxima
    colours = assign(board["pretraining"], COLOURS, SPARE_COLOURS)
    styles = assign(board.loc[board["pruner"] != "dense", "pruner"], PRUNER_STYLES, SPARE_STYLES)
    seeds = dict(iter(table.dropna(subset=["value"]).groupby(list(FIGURE), sort=True)))
    largest = dict(iter(maxima.groupby(list(FIGURE), sort=True)))
    return [
        Curves(
            setting=setting,
            entries=entries,
            seeds=seeds[setting],
            maxima=largest.get(setting, maxima.iloc[:0]),
            colours=colours,
            styles=styles,
        )
        for setting, entries in board.groupby(list(FIGURE), sort=True)
        if setting in seeds
    ]


@style.settings()
def figure(shown: Curves) -> Figure:
    """Per network a panel of values and, where a dense network is complete, one of differences to it.

    Where `maxima` are known a third one has a row for each curve: a mark at the estimate, its interval, a bar at the
    bound.
    """
    entries, panels = shown.entries, _panels(shown.entries)
    across = min(len(panels), _PANELS_PER_ROW)
    down = math.ceil(len(panels) / across)
    rows = [2.2]
    if entries.loc[entries["pruner"] != "dense", "diff_mean"].notna().any():
        rows.append(1.5)
        if len(shown.maxima):
            rows.append(0.25 + 0.13 * max(len(_of(shown.maxima, panel)) for panel in panels))
    drawn = Figure(figsize=(3.0 * across + 0.9, sum(rows) * down + 0.4 * down), layout="constrained")
    grid = drawn.subplots(len(rows) * down, across, squeeze=False, sharey="row", height_ratios=rows * down)
    lines: dict[tuple[str, ...], Line2D] = {}
    for i, panel in enumerate(panels):
        row, column = divmod(i, across)
        stack = list(grid[len(rows) * row : len(rows) * (row + 1), column])
        part = replace(
            shown, entries=_of(entries, panel), seeds=_of(shown.seeds, panel), maxima=_of(shown.maxima, panel)
        )
        # Limits come before the lines: matplotlib cannot guess any for a single point.
        ladder.limit(stack[0], shown)
        lines |= ladder.panel(stack, part)
        named = [str(panel[name]) for name in PANEL if name == "architecture" or entries[name].nunique() > 1]
        stack[0].set_title(style.wrap(", ".join(named), 40), loc="left", fontsize=style.LABEL)
    for axes in grid.flat:
        if not axes.has_data():
            axes.set_visible(False)
    first = entries.iloc[0]
    for row_axes, words in zip(grid[:, 0], _titles(first, len(rows)) * down, strict=True):
        row_axes.set_ylabel(words)
    title = f"{first['dataset']}: {first['metric']} against sparsity\n{style.conditions(first)}"
    return style.finish(
        drawn, title=title, note=_note(shown, len(rows)), handles=[lines[name] for name in sorted(lines)]
    )


def _titles(first: pd.Series[str], rows: int) -> list[str]:
    titles = [style.direction(str(first["metric"]), bool(first["higher_is_better"])), "difference\nto dense", ""]
    return titles[:rows]


def _panels(entries: pd.DataFrame) -> list[dict[str, object]]:
    """The networks to show, in order; a dense network alone has a panel only where nothing was pruned."""
    pruned = entries[entries["pruner"] != "dense"]
    shown = (pruned if len(pruned) else entries)[list(PANEL)].drop_duplicates().sort_values(list(PANEL))
    return [dict(zip(PANEL, values, strict=True)) for values in shown.itertuples(index=False)]


def _of(table: pd.DataFrame, panel: Mapping[str, object]) -> pd.DataFrame:
    """Rows of a panel: its pruned networks, and the dense ones whatever their granularity (they have none)."""
    same = (table[list(_DENSE_PANEL)] == pd.Series({name: panel[name] for name in _DENSE_PANEL})).all(axis=1)
    return table[same & ((table["pruner"] == "dense") | (table["granularity"] == panel["granularity"]))]


def _note(shown: Curves, rows: int) -> str:
    entries = shown.entries
    counts = entries.loc[entries["n"] > 0, "n"]
    notes = [f"lines: mean of {style.counted(counts)}"]
    if entries["ci_low"].notna().any():
        notes.append(f"bands: {CONFIDENCE:.0%} Student t interval over seeds")
    if counts.max() <= MAX_SEED_DOTS:
        notes.append("dots: single seeds")
    if entries["margin"].notna().any():
        notes.append("grey: the margin around the dense network")
    if (entries["label"] == INCONCLUSIVE).any():
        notes.append("hollow: inconclusive")
    if (~entries["complete"]).any():
        notes.append("crosses and gaps: fewer seeds than planned, or none")
    if rows > 1:
        notes.append("differences: ticket minus dense, logarithmic beyond " + _threshold(entries))
    if rows > 2:
        notes.append("maxima: estimate with interval, bar at the bound that is proven")
    return "; ".join(notes)


def _threshold(entries: pd.DataFrame) -> str:
    return "the margin" if entries["margin"].gt(0).any() else "a hundredth of the largest"
