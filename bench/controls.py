"""Controls: what of a ticket is lost when its weights or its mask are replaced by others of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from bench.masks import Masks
from bench.models import State


def shuffled(state: Mapping[str, Tensor], names: Iterable[str], *, seed: int) -> State:
    """A copy of the state in which the entries of every tensor of `names` are permuted within it.

    Every permutation is equally likely, a function of the seed and the order of `names` (masks will do). Each layer
    keeps its values and nothing of where they were; apply the mask afterwards. Chen et al. 2020, arXiv:2007.12223,
    call their control theta_0'' shuffled pre-trained weights; their code permutes whole layers of one shape.
    """
    # Drawn on the CPU, so that a seed means the same order on every device.
    generator = torch.Generator().manual_seed(seed)
    changed = {name: tensor.clone() for name, tensor in state.items()}
    for name in names:
        tensor = state[name]
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        changed[name] = tensor.reshape(-1)[order].view(tensor.shape)
    return changed


def reversed_masks(masks: Mapping[str, Tensor]) -> Masks:
    """The complement: masks that keep exactly the weights that these prune."""
    return {name: ~mask for name, mask in masks.items()}
