"""GraSP: a weight's score is how much of the gradient's norm is lost without it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.masks import Scores
from bench.models import Network
from bench.pruners.conditions import Conditions
from bench.pruners.gradients import checked, count, first_step, leaves, loss


def scores(network: Network, names: Sequence[str], conditions: Conditions) -> Scores:
    """w * Hg: the first-order decrease of |g|^2 / 2 when w is set to zero; negative where that would increase it.

    g and H are gradient and Hessian with respect to the weights of `names`, of the mean cross-entropy of all examples
    of the batches, logits divided by option `temperature`. The paper's score is -w * Hg, and the highest are removed.
    Raises ValueError without examples, for a temperature that is not positive, and where every score is zero.
    Wang et al. 2020, arXiv:2002.07376.
    """
    n, weights, temperature = count(conditions, "grasp"), leaves(network, names), conditions.number("temperature")
    if temperature <= 0:
        raise ValueError(f"grasp needs a temperature > 0, found {temperature}")
    inputs = list(weights.values())
    gradient, product = ([torch.zeros_like(weight) for weight in inputs] for _ in range(2))
    with first_step(network):
        for batch in conditions.batches:
            _add(gradient, torch.autograd.grad(loss(network, weights, batch, temperature=temperature), inputs))
        for batch in conditions.batches:
            value = loss(network, weights, batch, temperature=temperature)
            own = torch.autograd.grad(value, inputs, create_graph=True)
            along = torch.stack([(g * o).sum() for g, o in zip(gradient, own, strict=True)]).sum()
            _add(product, torch.autograd.grad(along, inputs))
    found = {name: weight.detach() * hg / n**2 for (name, weight), hg in zip(weights.items(), product, strict=True)}
    return checked(found, "grasp")


def _add(total: Sequence[Tensor], parts: Sequence[Tensor]) -> None:
    for into, part in zip(total, parts, strict=True):
        into += part
