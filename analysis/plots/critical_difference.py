"""Figures: mean ranks over data sets with what tests cannot tell apart, and every pair of methods.

Both are drawn from the Wilcoxon-Holm matrix, not from Nemenyi's distance, which depends on bystanders
(Benavoli, Corani and Mangili 2016; multi-comparison matrix: Ismail-Fawaz et al. 2023).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.frame import HIGHER_IS_BETTER
from analysis.plots import style
from analysis.plots.cells import DIVERGING, cells, colour_bar, symmetric
from analysis.plots.looks import looks_of
from analysis.plots.style import Drawing
from analysis.statistics.equivalence import ALPHA
from analysis.wording import base, probability

KEYS = ("grid", "metric", "selection", "transfer", "objective", "fraction", "sparsity")
# Inches for the names on each side and for the axis between them.
_SIDE, _AXIS = 1.75, 2.1
_LABEL = 24


def diagrams(ranks: pd.DataFrame, omnibus: pd.DataFrame | None = None) -> list[Drawing]:
    """A critical-difference diagram for every setting of `ranks` with two methods or more."""
    tests = {} if omnibus is None else dict(iter(omnibus.groupby(list(KEYS), sort=True)))
    return [
        Drawing(kind="ranks", setting=setting, draw=partial(diagram, found, tests.get(setting)))
        for setting, found in ranks.dropna(subset=["mean_rank"]).groupby(list(KEYS), sort=True)
        if len(found) > 1
    ]


def matrices(rank_pairs: pd.DataFrame, ranks: pd.DataFrame) -> list[Drawing]:
    """A multi-comparison matrix for every setting of `rank_pairs`, its methods in the order of `ranks`."""
    orders = dict(iter(ranks.groupby(list(KEYS), sort=True)))
    return [
        Drawing(kind="pairs", setting=setting, draw=partial(matrix, found, orders[setting]))
        for setting, found in rank_pairs.dropna(subset=["diff_mean"]).groupby(list(KEYS), sort=True)
        if setting in orders
    ]


@style.settings()
def diagram(ranks: pd.DataFrame, omnibus: pd.DataFrame | None = None) -> Figure:
    """Methods on an axis of mean ranks, the best on the left; a bar joins a group, with dots at its members."""
    ranks = ranks.sort_values(["mean_rank", "method"], ignore_index=True)
    groups = _groups(ranks)
    methods, places = ranks["method"].tolist(), ranks["mean_rank"].to_numpy(dtype=np.float64)
    names = [style.wrap(method, _LABEL) for method in methods]
    half = (len(names) + 1) // 2
    heights = [0.19 + 0.12 * name.count("\n") for name in names]
    top = 0.16 * len(groups) + 0.12
    height = top + max(sum(heights[:half]), sum(heights[half:])) + 0.15
    drawn = Figure(figsize=(2 * _SIDE + _AXIS, height + 0.55), layout="constrained")
    axes = drawn.subplots()
    low, high = 1.0, float(len(names))
    beside = _SIDE / _AXIS * (high - low)
    axes.set_xlim(low - beside, high + beside)
    axes.set_ylim(height, 0)
    axes.grid(False)
    _rank_axis(axes, low, high)
    for i, members in enumerate(groups):
        joined = places[members]
        y = 0.14 + 0.16 * i
        axes.plot([joined.min(), joined.max()], [y, y], color="black", linewidth=2.5, solid_capstyle="butt")
        axes.plot(joined, np.full(len(joined), y), "o", color="black", markersize=4.5)
    looks = looks_of(methods)
    for side in (range(half), range(len(names) - 1, half - 1, -1)):
        y = top
        for i in side:
            y += heights[i] / 2
            left = i < half
            end = low - 0.03 * (high - low) if left else high + 0.03 * (high - low)
            place, look = places[i], looks[methods[i]]
            axes.plot([place, place, end], [0, y, y], color=style.GREY, linewidth=0.7, zorder=1)
            axes.plot(
                place, 0, look.marker, color=look.colour, markersize=5.5, mec="white", mew=0.5, clip_on=False, zorder=3
            )
            words = f"{names[i]}  {place:.2f}" if left else f"{place:.2f}  {names[i]}"
            axes.text(end, y, words, ha="right" if left else "left", va="center", fontsize=style.NOTE)
            y += heights[i] / 2
    return style.finish(drawn, title=_title("mean ranks", ranks.iloc[0]), note=_rank_note(ranks, groups, omnibus))


def _groups(ranks: pd.DataFrame) -> list[list[int]]:
    """Rows of every group of two methods or more, by the letters that name the groups."""
    members: dict[str, list[int]] = {}
    for i, letters in enumerate(ranks["group"]):
        for letter in re.findall(r"\(\d+\)|.", str(letters)):
            members.setdefault(letter, []).append(i)
    return [rows for _, rows in sorted(members.items()) if len(rows) > 1]


def _rank_axis(axes: Axes, low: float, high: float) -> None:
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    ticks = np.arange(low, high + 1)
    axes.set_xticks(ticks if len(ticks) < 14 else ticks[::2])
    axes.set_xlabel("mean rank (← better)")
    axes.set_yticks([])
    for name, spine in axes.spines.items():
        spine.set_visible(name == "top")
    axes.spines["top"].set_bounds(low, high)


def _title(what: str, row: pd.Series[Any]) -> str:
    sparsity = f"sparsity {row['sparsity']:.3g}, " if row["sparsity"] == row["sparsity"] else ""
    return f"{what}: {row['metric']}\n{sparsity}{style.conditions(row)}"


def _rank_note(ranks: pd.DataFrame, groups: list[list[int]], omnibus: pd.DataFrame | None) -> str:
    notes = [f"N = {ranks['n_datasets'].max()} data sets"]
    if groups:
        notes.append(
            f"bars: methods that Wilcoxon signed-rank tests with Holm's correction do not tell apart at {ALPHA:.2g}"
        )
    else:
        notes.append(f"all pairs differ (Wilcoxon signed-rank, Holm, {ALPHA:.2g})")
    if omnibus is not None and len(omnibus):
        row = omnibus.iloc[0]
        if row["p"] == row["p"]:
            notes.append(f"Iman-Davenport F({row['df1']:g}, {row['df2']:g}) = {row['f']:.3g}, {probability(row['p'])}")
    return "; ".join(notes)


def _p(p: float) -> str:
    return probability(p) if p == p else "no p"


@style.settings()
def matrix(pairs: pd.DataFrame, ranks: pd.DataFrame) -> Figure:
    """Row minus column for every pair, the better ranked in the row: difference, wins/ties/losses, corrected p."""
    order = list(dict.fromkeys(ranks.sort_values(["mean_rank", "method"], na_position="last")["method"]))
    place = {method: i for i, method in enumerate(order)}
    size = len(order) - 1
    values, texts = np.full((size, size), np.nan), np.full((size, size), "", dtype=object)
    for row in pairs.to_dict("records"):
        a, b = place[row["method_a"]], place[row["method_b"]]
        # The table has b - a, and what b wins.
        sign, won = (1, ("wins", "ties", "losses")) if b < a else (-1, ("losses", "ties", "wins"))
        at = min(a, b), max(a, b) - 1
        values[at] = sign * row["diff_mean"]
        counts = "/".join("-" if pd.isna(row[name]) else f"{row[name]:g}" for name in won)
        texts[at] = f"{values[at]:+.3g}\n{counts}\n{_p(row['p_holm'])}" if np.isfinite(values[at]) else ""
    drawn = Figure(figsize=(max(3.9, 0.64 * size + 2.6), 0.42 * size + 1.3), layout="constrained")
    axes = drawn.subplots()
    metric = str(pairs["metric"].iloc[0])
    limit = symmetric(values)
    # Tables of pairs do not say; numbers of other people's metrics are taken as better when higher.
    higher = HIGHER_IS_BETTER.get(base(metric), True)
    colours = DIVERGING if higher else f"{DIVERGING}_r"
    mesh = cells(axes, values, texts, rows=order[:-1], columns=order[1:], colours=colours, low=-limit, high=limit)
    axes.set_facecolor("white")
    colour_bar(axes, mesh, style.wrap(f"row - column, {style.direction(metric, higher)}", 34))
    n = style.counted(pairs.loc[pairs["n"] > 0, "n"], "data sets")
    note = (
        f"methods by mean rank; mean of row - column over {n}, blue: the row is better; wins/ties/losses of the row "
        "by more than the margin; p of the Wilcoxon signed-rank test, Holm-corrected"
    )
    return style.finish(drawn, title=_title("pairs of methods", pairs.iloc[0]), note=note)
