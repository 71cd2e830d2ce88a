"""The loss of the first training step as a function of the prunable weights, for scores made of its derivatives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.masks import Scores
from bench.models import Network, weights
from bench.pruners.conditions import Batch, Conditions


def leaves(network: Network, names: Sequence[str]) -> dict[str, Tensor]:
    """The weights as tensors of their own that ask for gradients; the network's parameters never see one."""
    return {name: weight.detach().requires_grad_() for name, weight in weights(network, tuple(names)).items()}


def loss(network: Network, weights: Mapping[str, Tensor], batch: Batch, *, temperature: float = 1.0) -> Tensor:
    """Sum over the batch of the cross-entropy of logits / temperature, with `weights` in place of the body's own."""
    in_place = {f"body.{name}": weight for name, weight in weights.items()}
    logits: Tensor = torch.func.functional_call(network, in_place, (batch.inputs,))
    return F.cross_entropy(logits / temperature, batch.labels, reduction="sum")


def count(conditions: Conditions, pruner: str) -> int:
    """Number of examples in the batches. Raises ValueError if there are none."""
    if not (n := sum(len(batch.labels) for batch in conditions.batches)):
        raise ValueError(f"{pruner} scores weights by the loss of examples, found none")
    return n


def checked(scores: Scores, pruner: str) -> Scores:
    """The scores. Raises ValueError if all are zero, which would keep weights by position."""
    if not any(score.any() for score in scores.values()):
        raise ValueError(f"{pruner}: the loss does not change with any weight to prune (is the head all zeros?)")
    return scores


@contextmanager
def first_step(network: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation uses the batch's statistics, dropout is off, and gradients can be taken twice.

    The batch's, as in the papers and in the training that follows: a network's own statistics are those of the images
    it was pre-trained on, and of a random network no statistics at all. They do not move, but what is computed
    depends on which examples make up a batch. Afterwards every layer is as it was.
    """
    modes = [(module, module.training) for module in network.modules()]
    normalisations = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    tracked = [module.track_running_stats for module in normalisations]
    network.eval()
    try:
        for normalisation in normalisations:
            normalisation.training, normalisation.track_running_stats = True, False
        # The fused attention kernels have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for normalisation, tracks in zip(normalisations, tracked, strict=True):
            normalisation.track_running_stats = tracks
        for module, training in modes:
            module.training = training
