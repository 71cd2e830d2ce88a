"""Projected gradient descent in the Linf or L2 ball around each image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.attacks.ball import ball, rows
from bench.attacks.gradient import frozen, input_gradient
from bench.attacks.losses import LOSSES
from bench.models.fold import folding
from bench.models.modes import evaluation_mode
from bench.spec import Attack


def pgd(network: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, noise: Tensor | None) -> Tensor:
    """Adversarial images: `attack.steps` ascents of `attack.loss` from images + noise; the last iterate.

    images (n, c, h, w) in [0, 1]; the result stays in [0, 1] and in the ball of `attack`. One start only:
    restarts are the caller's. Gradients are taken with respect to the images alone; parameters, their gradients and
    the layers' modes are as before. `attack.batchnorm` "eval": the network is in evaluation mode meanwhile, with its
    batch normalisation folded, which differs by rounding; "train": it stays in the mode it has, so that in training
    batch normalisation also learns from the iterates.
    Works under torch.no_grad. Madry et al. 2018, arXiv:1706.06083.
    """
    around, loss, size = ball(images, attack), LOSSES[attack.loss], _step(attack)
    points = images if noise is None else around.project(images + noise)
    with frozen(network), _mode(network, attack):
        for _ in range(attack.steps):
            _, _, gradient = input_gradient(network, points, labels, loss)
            points = around.step(points, gradient, size)
    return points.detach()


def pgd_until_broken(
    network: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, noise: Tensor | None
) -> Tensor:
    """The iterates of `pgd` in evaluation mode: an example's first that is misclassified, else its last.

    Breaks every example that `pgd` breaks, and those it passes over on its way; a broken example leaves the batch,
    which saves its further steps. The network must be in evaluation mode.
    """
    around, loss, size = ball(images, attack), LOSSES[attack.loss], _step(attack)
    points = images if noise is None else around.project(images + noise)
    found, alive = points.clone(), torch.arange(len(labels), device=labels.device)
    with frozen(network):
        for _ in range(attack.steps):
            logits, _, gradient = input_gradient(network, points, labels, loss)
            right = logits.argmax(dim=1) == labels
            if not right.all():
                found[alive] = points
                alive, points, labels, gradient, around = (
                    alive[right],
                    points[right],
                    labels[right],
                    gradient[right],
                    rows(around, right),
                )
                if not len(alive):
                    return found
            points = around.step(points, gradient, size)
    found[alive] = points
    return found


@contextmanager
def _mode(network: nn.Module, attack: Attack) -> Iterator[None]:
    if attack.batchnorm == "train":
        yield
        return
    with evaluation_mode(network), folding(network):
        yield


def _step(attack: Attack) -> float:
    return attack.step_255 / 255 if attack.norm == "linf" else attack.step_255
