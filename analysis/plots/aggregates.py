"""Figures: scores of each method over all data sets, as one number with its interval and as performance profiles."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.looks import looks_of
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE

KEYS = ("grid", "metric", "selection", "transfer", "objective", "fraction", "sparsity")
# The interquartile mean hides a failure on one data set: the worst quarter stands beside it.
SHOWN = {"iqm": "interquartile mean", "worst_quartile": "worst quarter"}


def dots(aggregates: pd.DataFrame) -> list[Drawing]:
    """One for every setting of `aggregates` with a number."""
    return [
        Drawing(kind="aggregates", setting=setting, draw=partial(dots_figure, found))
        for setting, found in aggregates.dropna(subset=list(SHOWN), how="all").groupby(list(KEYS), sort=True)
    ]


def curves(profiles: pd.DataFrame) -> list[Drawing]:
    """One for every setting of `profiles` with a share."""
    return [
        Drawing(kind="profiles", setting=setting, draw=partial(curves_figure, found))
        for setting, found in profiles.dropna(subset=["share"]).groupby(list(KEYS), sort=True)
    ]


@style.settings()
def dots_figure(aggregates: pd.DataFrame) -> Figure:
    """A row per method, the best interquartile mean on top; 1 is the dense network."""
    rows = aggregates.sort_values(["iqm", "method"], ascending=[False, True], na_position="last").to_dict("records")
    looks = looks_of(aggregates["method"])
    names = [style.wrap(row["method"], 28) for row in rows]
    lines = sum(1 + name.count("\n") for name in names)
    drawn = Figure(figsize=(5.2, 0.14 * lines + 0.1 * len(rows) + 0.8), layout="constrained")
    panels = drawn.subplots(1, len(SHOWN), sharey=True)
    for axes, (column, words) in zip(panels, SHOWN.items(), strict=True):
        for y, row in enumerate(rows):
            look = looks[row["method"]]
            axes.hlines(y, row[f"{column}_low"], row[f"{column}_high"], color=look.colour, alpha=0.5, linewidth=3)
            axes.plot(row[column], y, look.marker, color=look.colour, markersize=5.5, mec="white", mew=0.5)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel(f"{words} (→ better)", fontsize=style.LABEL)
        axes.locator_params(axis="x", nbins=4)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    note = (
        f"scores relative to dense = 1 and chance = 0, over {style.counted(aggregates['n_tasks'], 'data sets')} and "
        f"{style.counted(aggregates['n_runs'], 'runs')} a method; bars: {CONFIDENCE:.0%} bootstrap intervals over seeds"
    )
    return style.finish(drawn, title=_title("scores over data sets", aggregates), note=note)


@style.settings()
def curves_figure(profiles: pd.DataFrame) -> Figure:
    """The share of runs above every score; a line that lies above another is of the better method."""
    looks = looks_of(profiles["method"])
    drawn = Figure(figsize=(3.9, 2.8), layout="constrained")
    axes = drawn.subplots()
    handles: list[Line2D] = []
    for i, (method, curve) in enumerate(profiles.sort_values(["method", "tau"]).groupby("method", sort=True)):
        look = looks[str(method)]
        tau, low, high = (curve[name].to_numpy(dtype=np.float64) for name in ("tau", "low", "high"))
        axes.fill_between(tau, low, high, color=look.colour, alpha=0.1, linewidth=0)
        # Markers at other places of every line: most lines start together.
        handles += axes.plot(
            tau, curve["share"], color=look.colour, linestyle=look.dashes, linewidth=1.3, marker=look.marker,
            markersize=4.5, mec="white", mew=0.4, markevery=(i % 4, 4), label=str(method),
        )  # fmt: skip
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("score, relative to dense = 1")
    axes.set_ylabel("share of runs above (↑ better)")
    note = f"runs: all seeds of all data sets; bands: {CONFIDENCE:.0%} pointwise bootstrap intervals over seeds"
    return style.finish(drawn, title=_title("performance profiles", profiles), note=note, handles=handles)


def _title(what: str, table: pd.DataFrame) -> str:
    row = table.iloc[0]
    return f"{what}: {row['metric']}\nsparsity {row['sparsity']:.3g}, {style.conditions(row)}"
