"""Figures: what a network costs against how good it is, with the front of those that no cheaper one equals."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.axes import log_axis, place_labels
from analysis.plots.looks import looks_of, methods
from analysis.plots.style import Drawing
from analysis.statistics.intervals import CONFIDENCE

FIGURE = ("grid", "dataset", "metric", "transfer", "objective", "fraction", "selection")
# What costs can be drawn; sums of device-hours of different devices mean nothing, so each device has its figure.
COSTS: Mapping[str, str] = MappingProxyType(
    {
        "hours": "device-hours of pre-training, mask search and transfer",
        "macs": "multiply-accumulates of one image",
    }
)


def fronts(board: pd.DataFrame) -> list[Drawing]:
    """One per setting of a `leaderboard` and cost that at least two entries have (COSTS)."""
    known = board[board["n"] > 0]
    hours = known["device_hours"] + known["ticket_hours"]
    costs = {
        "hours": known.assign(cost=hours, kind=known["device"]),
        "macs": known.assign(
            cost=known["macs"].astype("float64").fillna(known["dense_macs"].astype("float64")), kind=""
        ),
    }
    return [
        Drawing(kind=f"cost_{cost}", setting=setting, draw=partial(figure, entries, cost))
        for cost, table in costs.items()
        for setting, entries in table[table["cost"] > 0].groupby([*FIGURE, "kind"], sort=True)
        if len(entries) > 1
    ]


def pareto(cost: pd.Series[float], value: pd.Series[float], higher_is_better: bool) -> pd.Series[bool]:
    """Whether no other one is at most as costly and at least as good, and better in one of the two."""
    score = (value if higher_is_better else -value).to_numpy(dtype=np.float64)
    costs = cost.to_numpy(dtype=np.float64)
    no_worse = (costs[:, None] <= costs) & (score[:, None] >= score)
    better = (costs[:, None] < costs) | (score[:, None] > score)
    return pd.Series(~(no_worse & better).any(axis=0), index=cost.index)


@style.settings()
def figure(entries: pd.DataFrame, cost: str) -> Figure:
    """Cost on a log axis against the mean with its interval; the complete entries' front as steps, with sparsities."""
    names = methods(entries)
    if entries["architecture"].nunique() > 1:
        names = entries["architecture"] + ", " + names
    entries = entries.assign(method=names).sort_values(["method", "sparsity"])
    looks, first = looks_of(entries["method"]), entries.iloc[0]
    drawn = Figure(figsize=(3.9, 3.0), layout="constrained")
    axes = drawn.subplots()
    axes.set_xscale("log")
    for row in entries.to_dict("records"):
        look = looks[row["method"]]
        axes.vlines(row["cost"], row["ci_low"], row["ci_high"], color=look.colour, alpha=0.3, linewidth=0.8)
        face = look.colour if row["complete"] else "white"
        edge = "white" if row["complete"] else look.colour
        axes.plot(row["cost"], row["mean"], look.marker, markersize=6, mfc=face, mec=edge, mew=0.6, zorder=3)
    complete = entries[entries["complete"]]
    higher = bool(first["higher_is_better"])
    front = complete[pareto(complete["cost"], complete["mean"], higher)].sort_values(["cost", "mean"])
    axes.step(front["cost"], front["mean"], where="post", color=style.GREY, linewidth=1, zorder=2)
    low, high = entries["mean"].min(), entries["mean"].max()
    pad = 0.1 * (high - low) or 0.05 * max(abs(high), 1e-3)
    axes.set_ylim(low - pad, high + pad)
    named = front[front["sparsity"] != front["sparsity"].shift()]
    labels = [f"{share:.3g}" if share else "dense" for share in named["sparsity"]]
    place_labels(axes, named["cost"], named["mean"], labels)
    log_axis(axes.xaxis)
    axes.set_xlabel(style.wrap(style.direction(COSTS[cost], False, horizontal=True), 46))
    axes.set_ylabel(style.wrap(style.direction(first["metric"], higher), 40))
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="", markersize=6, label=method)
        for method, look in looks.items()
    ]
    notes = [f"means of {style.counted(entries['n'])} with {CONFIDENCE:.0%} Student t intervals (thin)"]
    notes.append("grey: the front, with sparsities")
    if cost == "hours":
        notes.append(f"on {first['kind'] or 'an unnamed device'}; what cells share is counted for each")
    if not entries["complete"].all():
        notes.append("hollow: fewer seeds than planned, not on the front")
    title = f"{first['dataset']}: {first['metric']} against cost\n{style.conditions(first)}"
    return style.finish(drawn, title=title, note="; ".join(notes), handles=handles)
