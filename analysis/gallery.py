"""The scenes that evaluations keep: what is to be seen in a few test images, and what networks predict there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from analysis.frame import DENSE_REFERENCE, DONE, spread
from analysis.wording import bases
from bench.store import Store, StoreError

GALLERY = "gallery.safetensors"
# The metrics of whose evaluations galleries are read: one for each task.
SHOWN = ("mean_iou", "ap")
SETTING = (*DENSE_REFERENCE, "pruner", "granularity")
# Truth, the dense network and tickets.
MOST_COLUMNS = 5
NOT_COUNTED = 255
_TASK = {
    "segmentation": ("images", "truth", "predicted"),
    "detection": ("images", "truth_boxes", "predicted_boxes"),
}


class Unreadable(Exception):
    """The gallery of an evaluation cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """images (g, s, s, 3) uint8. Of segmentation truth and predicted (g, s, s) uint8, 255 not counted; of detection
    (t, 7) float32 rows: image index, left, top, right, bottom, class, and difficult or score.
    """

    task: str
    images: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    predicted: npt.NDArray[np.uint8] | npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A network of a figure: its evaluation `key`, sparsity (0: dense) and the metric's value."""

    key: str
    sparsity: float
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenes:
    """A figure's content: the values of SETTING in order, the seed, and networks from dense to sparse."""

    setting: tuple[object, ...]
    seed: int
    columns: Sequence[Column]


def scenes(table: pd.DataFrame, store: Store | None, *, most_columns: int = MOST_COLUMNS) -> list[Scenes]:
    """The dense network and its tickets of one pruner, for every setting of a `frame` with a gallery of a ticket.

    All of the lowest seed whose dense network, or else whose ticket, has one; of many sparsities some that lie evenly
    between the first and the last. Empty without a store.
    """
    if store is None:
        return []
    rows = table[bases(table["metric"]).isin(SHOWN) & (table["status"] == DONE) & (table["key"] != "")]
    has = {key: _has_gallery(store, key) for key in rows["key"].unique()}
    rows = rows[rows["key"].map(has).astype(bool)].sort_values([*SETTING, "seed", "sparsity"], kind="stable")
    pruned = rows[rows["pruner"] != "dense"]
    dense = {
        (*map(str, words), seed): Column(key=key, sparsity=0.0, value=value)
        for *words, seed, key, value in rows.loc[
            rows["pruner"] == "dense", [*DENSE_REFERENCE, "seed", "key", "value"]
        ].itertuples(index=False, name=None)
    }
    found = []
    for setting, part in pruned.groupby(list(SETTING), sort=True, dropna=False):
        reference = tuple(map(str, setting[: len(DENSE_REFERENCE)]))
        seeds = sorted(part["seed"].unique().tolist())
        seed = next((seed for seed in seeds if (*reference, seed) in dense), seeds[0])
        tickets = [
            Column(key=key, sparsity=sparsity, value=value)
            for key, sparsity, value in part.loc[part["seed"] == seed, ["key", "sparsity", "value"]]
            .sort_values("sparsity")
            .itertuples(index=False, name=None)
        ]
        first = [dense[*reference, seed]] if (*reference, seed) in dense else []
        room = most_columns - 1 - len(first)
        found.append(Scenes(setting=setting, seed=int(seed), columns=[*first, *spread(tickets, room)]))
    return found


def _has_gallery(store: Store, key: str) -> bool:
    try:
        return GALLERY in store.open(key).manifest["files"]
    except StoreError:
        return False


def read(store: Store, key: str) -> Gallery:
    """The gallery of an evaluation. Raises Unreadable, StoreError."""
    path = store.open(key).file(GALLERY)
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"evaluation {key}: {GALLERY} is unreadable ({error})") from None
    for task, (images, truth, predicted) in _TASK.items():
        if {images, truth, predicted} <= set(arrays):
            return Gallery(task=task, images=arrays[images], truth=arrays[truth], predicted=arrays[predicted])
    raise Unreadable(f"evaluation {key}: {GALLERY} holds {', '.join(sorted(arrays)) or 'nothing'}, which is no task's")
