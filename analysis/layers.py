"""Where a ticket keeps its weights: layer by layer, kernel by kernel; from its artifact, without torch.

Masks are packed as they were saved: eight weights a byte, True means kept, the bits that fill the last byte are 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from bench.store import CorruptArtifact, Store, StoreError

MASK = "mask.safetensors"
# Tickets are compared within these.
SETTING = ("grid", "architecture", "granularity", "sparsity", "round")
# What a ticket may depend on besides, in the order of its name; of an axis with several values nothing is said.
_OF_NETWORK = ("pretraining", "source", "pruner")
NAMING = (*_OF_NETWORK, "dataset", "fraction", "pretraining_seed", "seed")
LAYERS_COLUMNS = {
    **dict.fromkeys(SETTING, ""),
    "ticket": "key of the artifact",
    "name": "what sets the ticket apart from the others of the setting",
    "layer": "name of the weight",
    "position": "of the layer, from 0, by name; numbers in names count as numbers",
    "kept": "weights kept",
    "total": "weights in all",
    "layer_sparsity": "fraction of the layer's weights at zero",
    "kernels": "kernels in all: input-output pairs of a convolution; blank for other layers",
    "zero_kernels": "kernels with nothing kept",
    "channels": "output channels",
    "zero_channels": "output channels with nothing kept",
    "note": "why numbers are blank",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """The mask of one layer: `bits` (bytes,) uint8, most significant first, of an array of `shape`."""

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, ...]

    @property
    def total(self) -> int:
        return int(np.prod(self.shape))

    @property
    def kept(self) -> int:
        return int(np.bitwise_count(self.bits).sum(dtype=np.int64))

    def unpacked(self) -> npt.NDArray[np.bool_]:
        """True where the weight is kept."""
        return np.unpackbits(self.bits, count=self.total).astype(np.bool_).reshape(self.shape)


def read(store: Store, ticket: str) -> dict[str, Packed]:
    """The masks of a ticket by layer, in the order of `position`. Raises StoreError, CorruptArtifact among them."""
    artifact = store.open(ticket)
    if MASK not in artifact.manifest["files"]:
        raise StoreError(f"artifact {ticket} has no {MASK}: it is not a ticket")
    try:
        arrays = load_file(artifact.file(MASK))
        names = sorted((key.removesuffix(":bits") for key in arrays if key.endswith(":bits")), key=_natural)
        masks = {
            name: Packed(bits=arrays[f"{name}:bits"], shape=tuple(arrays[f"{name}:shape"].tolist())) for name in names
        }
    except (SafetensorError, OSError, KeyError) as error:
        raise CorruptArtifact(ticket, f"{MASK} is unreadable ({error})") from None
    for name, mask in masks.items():
        if mask.bits.dtype != np.uint8 or len(mask.bits) != -(-mask.total // 8):
            raise CorruptArtifact(ticket, f"{MASK}: the bits of {name} do not fit its shape {mask.shape}")
    return masks


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """layer10 after layer2; a classifier after the features that it reads."""
    parts = re.findall(r"\d+|\D+", name)
    key = [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
    return [(name.startswith("classifier"), 0, ""), *key]


def tickets(table: pd.DataFrame) -> pd.DataFrame:
    """SETTING, ticket and name of every distinct ticket of a `frame`, sorted; dense networks are none.

    A name holds the axes that vary and have one value for the ticket: what found it, not what it was transferred to.
    """
    rows = table.loc[table["pruner"] != "dense", [*SETTING, "ticket", *NAMING]].drop_duplicates()
    by = [*SETTING, "ticket"]
    groups = rows.groupby(by, dropna=False)
    found, counts = groups[list(NAMING)].first(), groups[list(NAMING)].nunique()
    pruner = found["pruner"]
    for axis in NAMING:
        one = found[axis].astype("str").where(counts[axis] == 1)
        if axis in _OF_NETWORK:
            varies = pd.Series(one.nunique() > 1, index=found.index)
        else:
            # Of a pruner: that random tickets are drawn for one fraction only does not tell them apart.
            varies = one.groupby(pruner).transform("nunique") > 1
            one = axis.replace("_", " ") + " " + one
        found[axis] = one.where(varies & one.notna(), "")
    names = [", ".join(filter(None, parts)) for parts in found.itertuples(index=False)]
    found = found.assign(name=pd.Series(names, index=found.index, dtype="str")).reset_index()
    found["name"] = found["name"].where(found["name"] != "", found["ticket"])
    return found[[*by, "name"]].sort_values([*SETTING, "name", "ticket"], kind="stable", ignore_index=True)


def layers(table: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """The table of LAYERS_COLUMNS: a row per layer of every ticket of a `frame`; none without a store.

    A ticket that cannot be read has one row without layers, whose note says why.
    """
    rows: list[tuple[object, ...]] = []
    if store is not None:
        for key in tickets(table).itertuples(index=False, name=None):
            rows += [(*key, *row) for row in _of_ticket(store, key[len(SETTING)])]
    whole = ["round", "position", "kept", "total", "kernels", "zero_kernels", "channels", "zero_channels"]
    types = dict.fromkeys(LAYERS_COLUMNS, "str") | dict.fromkeys(whole, "Int64")
    types |= {"sparsity": "float64", "layer_sparsity": "float64"}
    return pd.DataFrame(rows, columns=list(LAYERS_COLUMNS)).astype(types)


def _of_ticket(store: Store, ticket: str) -> Iterator[tuple[object, ...]]:
    """LAYERS_COLUMNS from `layer` on."""
    try:
        masks = read(store, ticket)
    except StoreError as error:
        yield ("", *[None] * 8, str(error))
        return
    for position, (layer, mask) in enumerate(masks.items()):
        kept, total = mask.kept, mask.total
        array = mask.unpacked().reshape(mask.shape[0], -1)
        channels = len(array), int((~array.any(axis=1)).sum())
        kernels: tuple[int | None, int | None] = (None, None)
        if len(mask.shape) == 4:
            by_kernel = array.reshape(mask.shape[0] * mask.shape[1], -1)
            kernels = len(by_kernel), int((~by_kernel.any(axis=1)).sum())
        yield layer, position, kept, total, 1 - kept / total, *kernels, *channels, ""


def kernel_map(store: Store, ticket: str, layer: str) -> npt.NDArray[np.int64]:
    """Weights kept by kernel (out, in) of one layer of a ticket; of a matrix every weight is a kernel.

    Raises StoreError where the ticket cannot be read, ValueError where it has no such layer.
    """
    masks = read(store, ticket)
    if layer not in masks:
        raise ValueError(f'ticket {ticket} masks no layer "{layer}" (known: {", ".join(masks)})')
    array = masks[layer].unpacked()
    counts: npt.NDArray[np.int64] = array.reshape(*array.shape[:2], -1).sum(axis=2)
    return counts
