"""Fresh heads: the last linear layer, or one that reads the feature maps of the body's stages and takes its place."""

from __future__ import annotations

from torch import nn

from bench import catalog
from bench.models.errors import ModelError
from bench.models.network import Network, check_resolution, head, seeded
from bench.models.rows import AllRows


def new_head(network: Network, task: str, classes: int, *, resolution: int, seed: int) -> None:
    """Give the network a fresh head for the task, in place, drawn from the seed.

    That is a linear layer for `classes` classes, or the catalog's top of the task: then the last linear layer becomes
    the identity, `network.top` makes of feature maps what the task asks for, and `network.all_rows` is where
    objectives look across the batch. The body may change with it (see segmentation.py). `resolution` is that of the
    inputs, in pixels or tokens. The global random generator is left as it was.
    Raises ModelError for an unknown task, for one that the architecture is not for, and for inputs it cannot read.
    """
    if task not in catalog.TASKS:
        raise ModelError(f"there is no head for {task!r} in bench/catalog.py (known: {', '.join(catalog.TASKS)})")
    entry = catalog.TASKS[task]
    if entry.reads != network.reads:
        raise ModelError(f"{network.label} reads {network.reads}, but {task} is of {entry.reads}: take another network")
    if not entry.top:
        return replace_head(network, classes, seed=seed)
    check_resolution(network, resolution)
    make = catalog.load(entry.top)
    like = head(network).weight
    top: nn.Module = seeded(lambda: make(network, classes), seed)
    network.body.set_submodule(network.head_name, nn.Identity())
    network.top = top.to(device=like.device, dtype=like.dtype)
    network.all_rows = AllRows()
    return None


def replace_head(network: Network, classes: int, *, seed: int) -> None:
    """Give the network a fresh last linear layer for `classes` classes, of the body's initialisation, in place."""
    old = head(network)
    new = seeded(lambda: network.linear(old.in_features, classes), seed)
    network.body.set_submodule(network.head_name, new.to(device=old.weight.device, dtype=old.weight.dtype))
