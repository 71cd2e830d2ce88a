"""Gradients with respect to images alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.attacks.losses import Loss, cross_entropy


def input_gradient(network: nn.Module, points: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (n, classes), losses (n,) and the gradient (n, c, h, w) of each loss at its own point; none is attached.

    Works under torch.no_grad. Call it where the network is `frozen`.
    """
    with torch.enable_grad():
        point = points.detach().requires_grad_()
        logits = network(point)
        losses = loss(logits, labels)
        # The sum, not the mean: an example's gradient does not shrink with the size of its batch.
        (gradient,) = torch.autograd.grad(losses.sum(), point)
    return logits.detach(), losses.detach(), gradient


def vanished(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """(n,) bool: the gradient of the cross-entropy is exactly zero, so a gradient attack cannot start."""
    with frozen(network):
        _, _, gradient = input_gradient(network, images, labels, cross_entropy)
    return ~gradient.flatten(1).any(dim=1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside: the backward pass then computes those of activations only."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
