"""Controls: what of a ticket is lost when its weights or its mask are replaced by others of the same kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bench.masks import Masks
from bench.models import State


def shuffled(state: Mapping[str, Tensor], names: Iterable[str], *, seed: int) -> State:
    """A copy of the state in which the entries of every tensor of `names` are permuted within it.

    Every permutation is equally likely, a function of the seed and the order of `names` (masks will do). Each layer
    keeps its values and nothing of where they were; apply the mask afterwards. The study of BERT tickets shuffles
    whole layers instead: `permuted_layers`.
    """
    # Drawn on the CPU, so that a seed means the same order on every device.
    generator = torch.Generator().manual_seed(seed)
    changed = {name: tensor.clone() for name, tensor in state.items()}
    for name in names:
        tensor = state[name]
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        changed[name] = tensor.reshape(-1)[order].view(tensor.shape)
    return changed


def permuted_layers(state: Mapping[str, Tensor], names: Iterable[str], prefix: str, *, seed: int) -> State:
    """A copy of the state in which the blocks "<prefix><number>." have exchanged their tensors of `names`.

    Every order of the blocks but their own is equally likely, a function of the seed; all their tensors change places
    alike. What is not in `names`, or in no block, stays. Chen et al. 2020, arXiv:2007.12223, theta_0'': shuffled
    pre-trained weights. Raises ValueError for fewer than two blocks, and where they differ in names or shapes.
    """
    form = re.compile(rf"{re.escape(prefix)}(\d+)\.(.+)")
    blocks: dict[int, dict[str, Tensor]] = {}
    for match in filter(None, map(form.fullmatch, names)):
        blocks.setdefault(int(match[1]), {})[match[2]] = state[match[0]]
    if len(blocks) < 2:
        raise ValueError(f"found {len(blocks)} blocks of names {prefix!r} and a number: take another control")
    shapes = {number: {part: tensor.shape for part, tensor in block.items()} for number, block in blocks.items()}
    first = min(blocks)
    for number, found in shapes.items():
        if found != shapes[first]:
            raise ValueError(
                f"blocks {prefix}{first} and {prefix}{number} differ in names or shapes: they cannot be exchanged"
            )
    # Drawn on the CPU, so that a seed means the same order on every device.
    generator = torch.Generator().manual_seed(seed)
    numbers = sorted(blocks)
    places = numbers
    while places == numbers:
        places = [numbers[place] for place in torch.randperm(len(numbers), generator=generator).tolist()]
    changed = {name: tensor.clone() for name, tensor in state.items()}
    for number, place in zip(numbers, places, strict=True):
        changed |= {f"{prefix}{number}.{part}": tensor.clone() for part, tensor in blocks[place].items()}
    return changed


def reversed_masks(masks: Mapping[str, Tensor]) -> Masks:
    """The complement: masks that keep exactly the weights that these prune."""
    return {name: ~mask for name, mask in masks.items()}
