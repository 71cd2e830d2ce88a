"""SNIP: a weight's score is how much the loss changes when it is scaled."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.masks import Scores
from bench.models import Network
from bench.pruners.conditions import Conditions
from bench.pruners.gradients import checked, count, first_step, leaves, loss


def scores(network: Network, names: Sequence[str], conditions: Conditions) -> Scores:
    """|w * dL/dw|, with L the mean cross-entropy of all examples of the batches: |dL/dc| for masks c at 1.

    Not divided by their sum as in the paper, which changes no ranking. Raises ValueError without examples and
    where every score is zero. Lee et al. 2019, arXiv:1810.02340.
    """
    n, weights = count(conditions, "snip"), leaves(network, names)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with first_step(network):
        for batch in conditions.batches:
            gradients = torch.autograd.grad(loss(network, weights, batch), list(weights.values()))
            for name, gradient in zip(weights, gradients, strict=True):
                total[name] += gradient
    return checked({name: (weight.detach() * total[name] / n).abs() for name, weight in weights.items()}, "snip")
