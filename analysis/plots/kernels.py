"""Figures: which kernels are empty, layer by layer, of every pre-training side by side."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.plots import style
from analysis.plots.cells import SEQUENTIAL, cells, colour_bar
from analysis.plots.style import Drawing

FIGURE = ("grid", "architecture", "granularity", "pruner", "dataset")
_ABOUT = ("pretraining", "dataset", "seed")
_FEW = 0.005
_NUMBERED = 12


def emptied(layers: pd.DataFrame, rows: pd.DataFrame) -> list[Drawing]:
    """One for every network and pruner of `layers` with an empty kernel, by the data set where the mask is its own.

    rows: the frame, which knows of every ticket its pre-training and where it goes.
    """
    known = layers[layers["zero_kernels"].notna()]
    # A kernel of one weight is empty where the weight is; that is the layer's sparsity.
    wider = known[known["total"] > known["kernels"]]
    found = (wider if len(wider) else known).merge(_tickets(rows), on=["grid", "architecture", "ticket"])
    found = found[found["zero_kernels"].gt(0).groupby([found[name] for name in FIGURE]).transform("any")]
    return [
        Drawing(kind="empty", setting=setting, draw=partial(figure, part))
        for setting, part in found.groupby(list(FIGURE), sort=True, dropna=False)
    ]


def _tickets(rows: pd.DataFrame) -> pd.DataFrame:
    """Pre-training, pruner and data set of every ticket; no data set where it serves several."""
    found = rows.loc[rows["pruner"] != "dense", ["grid", "architecture", "ticket", "pruner", *_ABOUT]]
    groups = found.drop_duplicates().groupby(["grid", "architecture", "ticket"], sort=True)
    table = groups[["pretraining", "pruner", "dataset"]].first()
    table["dataset"] = table["dataset"].where(groups["dataset"].nunique() == 1, "").astype("str")
    return table.reset_index()


@style.settings()
def figure(found: pd.DataFrame) -> Figure:
    """A panel for each pre-training: sparsities against layers, the mean share of empty kernels over its tickets."""
    pretrainings = sorted(found["pretraining"].unique())
    order = found.sort_values(["position", "layer"])["layer"].drop_duplicates().tolist()
    levels = sorted(found["sparsity"].unique())
    names = [_short(name) for name in order]
    width, height = max(0.17 * len(order), 1.1), 0.2 * len(levels)
    drawn = Figure(figsize=(max(width * len(pretrainings) + 1.6, 3.9), max(height, 1.2) + 0.9), layout="constrained")
    panels = drawn.subplots(1, len(pretrainings), squeeze=False)[0]
    share = found["zero_kernels"].astype("float64") / found["kernels"].astype("float64")
    shares = found.assign(share=share).pivot_table(index=["pretraining", "sparsity"], columns="layer", values="share")
    numbered = len(order) <= _NUMBERED // len(pretrainings) + 2
    for axes, pretraining in zip(panels, pretrainings, strict=True):
        index = pd.MultiIndex.from_product([[pretraining], levels])
        values = shares.reindex(index=index, columns=order).to_numpy(np.float64)
        texts = np.array([[_text(v) if numbered else "" for v in row] for row in values], dtype=object)
        texts = texts.reshape(values.shape)
        mesh = cells(
            axes, values, texts, rows=[f"{100 * level:.2f} %" for level in levels], columns=names,
            colours=SEQUENTIAL, low=0, high=1,
        )  # fmt: skip
        axes.tick_params(axis="x", rotation=90)
        axes.set_title(style.wrap(pretraining, max(12, int(14 * width))), loc="left", fontsize=style.LABEL)
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    panels[0].set_ylabel("sparsity")
    colour_bar(panels[-1], mesh, "share of empty kernels")
    first = found.iloc[0]
    on = f" on {first['dataset']}" if first["dataset"] else ""
    wide = "kernels of one weight are left out" if (found["total"] > found["kernels"]).all() else ""
    counts = found.groupby(["pretraining", "sparsity"])["ticket"].nunique()
    note = "share of each layer's kernels (input-output pairs) with nothing kept, from the input to the output; "
    note += f"mean of {style.counted(counts, 'masks')}; grey: missing" + (f"; {wide}" if wide else "")
    title = f"empty kernels by layer, {first['pruner']}{on}\n{first['architecture']}, {first['granularity']}"
    return style.finish(drawn, title=title, note=note)


def _short(layer: str) -> str:
    """layer1.0.conv2 of body.layer1.0.conv2.weight: what sets layers apart."""
    return re.sub(r"\.weight$", "", layer)


def _text(value: float) -> str:
    return "" if value != value else f"{value:.2f}".removeprefix("0") if value >= _FEW else "0"
