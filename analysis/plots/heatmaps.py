"""Figures: heat-maps of tickets, what their masks share, where they keep weights, and which kernels are empty."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from analysis.layers import SETTING
from analysis.plots import style
from analysis.plots.cells import SEQUENTIAL, cells, colour_bar
from analysis.plots.style import Drawing

# More columns than these have no room for numbers.
_NUMBERED = 14


def overlaps(overlap: pd.DataFrame) -> list[Drawing]:
    """One for every setting of `overlap` with a number: tickets against tickets."""
    return [
        Drawing(kind="overlap", setting=setting, draw=partial(overlap_figure, found))
        for setting, found in overlap.dropna(subset=["iou"]).groupby(list(SETTING), sort=True, dropna=False)
    ]


def profiles(layers: pd.DataFrame) -> list[Drawing]:
    """One for every setting of `layers` with a number: tickets against layers."""
    return [
        Drawing(kind="layers", setting=setting, draw=partial(profile_figure, found))
        for setting, found in layers.dropna(subset=["layer_sparsity"]).groupby(list(SETTING), sort=True, dropna=False)
    ]


@style.settings()
def overlap_figure(overlap: pd.DataFrame) -> Figure:
    """Intersection over union, with that of independent masks in brackets; tickets by name, grey on the diagonal."""
    labels = _labels(overlap, ("a", "b"))
    place = {ticket: i for i, ticket in enumerate(labels)}
    size = len(labels)
    values, texts = np.full((size, size), np.nan), np.full((size, size), "", dtype=object)
    for row in overlap.to_dict("records"):
        for at in ((place[row["ticket_a"]], place[row["ticket_b"]]), (place[row["ticket_b"]], place[row["ticket_a"]])):
            values[at] = row["iou"]
            texts[at] = f"{row['iou']:.2f}\n({row['expected_iou']:.2f})" if size <= _NUMBERED else ""
    drawn = Figure(figsize=(max(3.9, 0.42 * size + 2.4), 0.32 * size + 1.3), layout="constrained")
    axes = drawn.subplots()
    names = list(labels.values())
    mesh = cells(axes, values, texts, rows=names, columns=names, colours=SEQUENTIAL, low=0, high=1)
    colour_bar(axes, mesh, "intersection over union")
    note = "share of the weights that both keep among those that one keeps"
    note += "; in brackets: expected of independent masks of the same densities by layer" if size <= _NUMBERED else ""
    return style.finish(drawn, title=f"overlap of masks\n{_of(overlap.iloc[0])}", note=note)


@style.settings()
def profile_figure(layers: pd.DataFrame) -> Figure:
    """Sparsity of each layer, from the input to the output; tickets by name."""
    labels = _labels(layers, ("",))
    order = layers.sort_values(["position", "layer"])["layer"].drop_duplicates().tolist()
    wide = layers.pivot_table(index="ticket", columns="layer", values="layer_sparsity", aggfunc="first")
    values = wide.reindex(index=list(labels), columns=order).to_numpy(dtype=np.float64)
    numbered = len(order) <= 24
    texts = np.array([[f"{v:.2f}" if numbered and v == v else "" for v in row] for row in values], dtype=object)
    width, height = min(0.36 * len(order), 0.13 * len(order) + 3), 0.26 * len(labels)
    drawn = Figure(figsize=(max(3.9, width + 2.4), max(height, 0.5) + 1.4), layout="constrained")
    axes = drawn.subplots()
    mesh = cells(
        axes, values, texts, rows=list(labels.values()), columns=order, colours=SEQUENTIAL, low=_floor(values), high=1
    )
    axes.tick_params(axis="x", rotation=90)
    colour_bar(axes, mesh, "sparsity of the layer")
    if len(order) > 40:
        axes.set_xticks(axes.get_xticks()[:: len(order) // 30])
    note = "fraction of each layer's weights at zero; layers from the input to the output"
    return style.finish(drawn, title=f"sparsity by layer\n{_of(layers.iloc[0])}", note=note)


@style.settings()
def kernels(kept: npt.NDArray[np.integer[Any]], title: str) -> Figure:
    """Weights kept of every kernel (out, in), empty ones in white, with the counts of what is empty."""
    whole = np.asarray(kept)
    height = 3.2 * min(max(whole.shape[0] / whole.shape[1], 0.4), 1.6)
    drawn = Figure(figsize=(3.9, height + 0.6), layout="constrained")
    axes = drawn.subplots()
    shown = np.ma.masked_equal(whole, 0)
    image = axes.imshow(
        shown, cmap=SEQUENTIAL, vmin=1, vmax=max(2, int(whole.max())), aspect="auto", interpolation="nearest"
    )
    axes.grid(False)
    axes.set_xlabel("input channel")
    axes.set_ylabel("output channel")
    colour_bar(axes, image, "weights kept of the kernel", whole=True)
    empty = int((whole == 0).sum())
    note = (
        f"white: {empty} of {whole.size} kernels are empty; so are {int((whole == 0).all(axis=1).sum())} of "
        f"{whole.shape[0]} output and {int((whole == 0).all(axis=0).sum())} of {whole.shape[1]} input channels"
    )
    return style.finish(drawn, title=title, note=note)


def _labels(table: pd.DataFrame, sides: tuple[str, ...]) -> dict[str, str]:
    """Name of every ticket, in the order of names; tickets of one name are told apart by their keys."""
    found: dict[str, str] = {}
    for side in sides:
        suffix = f"_{side}" if side else ""
        found |= dict(zip(table[f"ticket{suffix}"], table[f"name{suffix}"], strict=True))
    names = list(found.values())
    named = {key: f"{name} {key[:6]}" if names.count(name) > 1 else name for key, name in found.items()}
    return dict(sorted(named.items(), key=lambda item: (item[1], item[0])))


def _of(row: pd.Series[Any]) -> str:
    return f"{row['architecture']}, {row['granularity']}, sparsity {row['sparsity']:.3g}"


def _floor(values: npt.NDArray[np.float64]) -> float:
    """Lower end of the colours: what is common to all layers of very sparse tickets tells nothing."""
    return float(np.floor(10 * np.nanmin(values)) / 10) if np.isfinite(values).any() else 0.0
