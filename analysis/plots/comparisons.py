"""Figures: forest plots, the paired difference between two levels of an axis on every data set and over all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import style
from analysis.plots.looks import COLOURS
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE
from analysis.wording import probability

FIGURE = ("grid", "axis", "level_a", "level_b", "metric", "selection")
# Rows in which these are blank average over them; what else is blank is the compared axis itself.
_AVERAGED = ("architecture", "pretraining", "source", "pruner", "granularity", "sparsity")
_GROUP = ("transfer", "objective", "fraction")
MAX_ROWS = 32
_COLOUR = COLOURS["supervised"]


def forests(comparisons: pd.DataFrame, axis: str) -> list[Drawing]:
    """One for every pair of levels of the axis, metric and selection; more than MAX_ROWS rows go on further pages.

    Tickets are averaged over everything but the data set and its transfer; a mean over data sets closes each group.
    """
    rows = comparisons[(comparisons["axis"] == axis) & (comparisons[list(_AVERAGED)] == "").all(axis=1)]
    rows = rows.dropna(subset=["diff_mean"]).sort_values([*FIGURE, *_GROUP, "unit", "dataset"], key=_units_last)
    drawings = []
    for setting, found in rows.groupby(list(FIGURE), sort=True):
        group = found.groupby(list(_GROUP), sort=False)
        page, used = np.zeros(group.ngroups, dtype=np.int64), 0
        for i, size in enumerate(group.size()):
            used = used + size + 1
            page[i] = page[i - 1] if i else 0
            if used > MAX_ROWS and i:
                page[i], used = page[i] + 1, size + 1
        of_row = page[group.ngroup().to_numpy()]
        for number in np.unique(of_row).tolist():
            part = partial(figure, found[of_row == number])
            drawings.append(Drawing(kind="forest", setting=(*setting, number + 1), draw=part))
    return drawings


def _units_last(column: pd.Series[str]) -> pd.Series[str]:
    return column.map({"seed": 0, "dataset": 1}) if column.name == "unit" else column


@style.settings()
def figure(rows: pd.DataFrame) -> Figure:
    """Differences with intervals and the margin; squares are data sets, the diamond is their mean; p on the right."""
    first = rows.iloc[0]
    groups = list(rows.groupby(list(_GROUP), sort=False))
    n_rows = len(rows) + len(groups)
    drawn = Figure(figsize=(5.2, 0.19 * n_rows + 0.8), layout="constrained")
    axes = drawn.subplots()
    _limits(axes, rows)
    y, names, numbers = 0, {}, {}
    for _, group in groups:
        # In the panel, on a row of its own: the names of data sets are shorter.
        words = style.conditions(group.iloc[0].drop("selection")) or "all transfers"
        axes.text(
            0, y, words, transform=axes.get_yaxis_transform(), va="center", fontsize=style.NOTE, fontweight="bold",
            bbox={"facecolor": "white", "linewidth": 0, "pad": 1},
        )  # fmt: skip
        for row in group.to_dict("records"):
            y += 1
            _row(axes, row, y, pooled=row["unit"] == "dataset")
            names[y] = "over data sets" if row["unit"] == "dataset" else style.wrap(row["dataset"], 24)
            p = probability(row["p_holm"]) if row["p_holm"] == row["p_holm"] else "no p"
            numbers[y] = f"{row['diff_mean']:+.2g}, {p}, n = {row['n']:g}"
        y += 1
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_ylim(y - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(list(names), list(names.values()), fontsize=style.NOTE)
    axes.tick_params(axis="y", length=0)
    right = axes.secondary_yaxis("right")
    right.set_yticks(list(numbers), list(numbers.values()), fontsize=style.NOTE)
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    better = "→" if first["higher_is_better"] else "←"
    axes.set_xlabel(style.wrap(f"{first['level_b']} minus {first['level_a']} ({better} {first['level_b']} better)", 44))
    title = f"{first['axis']}: {first['level_b']} against {first['level_a']}, {first['metric']}"
    title += f"\n{style.conditions(first[['selection']])}"
    return style.finish(drawn, title=title, note=_note(rows))


def _row(axes: Axes, row: Mapping[Hashable, Any], y: int, *, pooled: bool) -> None:
    if row["margin"] > 0:
        axes.fill_betweenx([y - 0.5, y + 0.5], -row["margin"], row["margin"], color="black", alpha=0.07, linewidth=0)
    colour, marker, size = ("black", "D", 6) if pooled else (_COLOUR, "s", 4.5)
    axes.hlines(y, row["diff_low"], row["diff_high"], color=colour, linewidth=1.2)
    axes.plot(row["diff_mean"], y, marker, color=colour, markersize=size, mec="white", mew=0.5, zorder=3)


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """Every mean and margin is inside; the widest intervals, of two seeds, may leave the panel."""
    means = rows["diff_mean"].abs().max()
    reach = max(rows["diff_low"].abs().median(), rows["diff_high"].abs().median(), rows["margin"].max(), 0.0)
    reach = 1.15 * max(means, 0.0 if reach != reach else min(reach, 4 * means or reach)) or 1.0
    axes.set_xlim(-reach, reach)


def _note(rows: pd.DataFrame) -> str:
    notes = [f"bars: {CONFIDENCE:.0%} t intervals of the paired difference, tickets averaged over all other axes"]
    seeds, sets = (rows.loc[rows["unit"] == unit, "n"] for unit in ("seed", "dataset"))
    if len(seeds):
        notes.append(f"squares: {style.counted(seeds)}")
    if len(sets):
        notes.append(f"diamonds: {style.counted(sets, 'data sets')}")
    if rows["margin"].notna().any():
        notes.append("grey: the margin")
    return "; ".join([*notes, "p: corrected by Holm's method"])
