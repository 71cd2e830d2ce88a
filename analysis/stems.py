"""One network with several stems: small images need another first layer, and the mask leaves the first layer out.

A ticket that was found upstream is then one mask for all of them, whose stages and keys are the same.
"""

from __future__ import annotations

import re

import pandas as pd

_STEM = re.compile(r"(?<=[(,])\s*stem\s*=\s*\w+\s*,?")


def without_stem(label: str) -> str:
    """The architecture without its option `stem`: resnet50 of resnet50(stem=cifar)."""
    name, bracket, options = label.partition("(")
    if not bracket:
        return label
    left = _STEM.sub("", f",{options.removesuffix(')')}").strip(", ")
    return f"{name}({left})" if left else name


def networks(table: pd.DataFrame) -> pd.Series[str]:
    """The architecture by row, without its stem where stems go with data sets: none has the network with two of them.

    table: columns grid, architecture and dataset. A network with one stem keeps its label.
    """
    label = table["architecture"]
    bare = label.map({name: without_stem(name) for name in label.unique()}).astype("str")
    places = pd.DataFrame({"grid": table["grid"], "bare": bare, "dataset": table["dataset"], "label": label})
    distinct = places.drop_duplicates()
    on_one = distinct.groupby(["grid", "bare", "dataset"])["label"].size().groupby(["grid", "bare"]).max()
    in_all = distinct.groupby(["grid", "bare"])["label"].nunique()
    shared = (on_one == 1) & (in_all > 1)
    keys = pd.MultiIndex.from_frame(places[["grid", "bare"]])
    return bare.where(shared.reindex(keys).to_numpy(bool), label)
