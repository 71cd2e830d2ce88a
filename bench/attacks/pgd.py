"""Projected gradient descent in the Linf or L2 ball around each image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.modes import evaluation_mode
from bench.spec import Attack


def pgd(network: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, noise: Tensor | None) -> Tensor:
    """Adversarial images: `attack.steps` ascents of the cross-entropy from images + noise; the last iterate.

    images (n, c, h, w) in [0, 1]; the result stays in [0, 1] and in the ball of `attack`. One start only:
    restarts are the caller's. Gradients are taken with respect to the images alone; parameters, their gradients and
    the layers' modes are as before. `attack.batchnorm` "eval": the network is in evaluation mode meanwhile;
    "train": it stays in the mode it has, so that in training batch normalisation also learns from the iterates.
    Works under torch.no_grad. Madry et al. 2018, arXiv:1706.06083.
    """
    ascend = _LinfBall(images, attack) if attack.norm == "linf" else _L2Ball(images, attack)
    adversarial = images if noise is None else ascend.project(images + noise)
    with _frozen(network), evaluation_mode(network) if attack.batchnorm == "eval" else nullcontext():
        for _ in range(attack.steps):
            with torch.enable_grad():
                point = adversarial.detach().requires_grad_()
                # The sum, not the mean: an example's gradient does not shrink with the size of its batch.
                loss = F.cross_entropy(network(point), labels, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, point)
            adversarial = ascend.step(adversarial, gradient)
    return adversarial.detach()


class _LinfBall:
    def __init__(self, images: Tensor, attack: Attack) -> None:
        epsilon, self._size = attack.epsilon_255 / 255, attack.step_255 / 255
        # The ball and the valid pixels are both boxes, so one clamp projects onto both.
        self._low, self._high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)

    def project(self, points: Tensor) -> Tensor:
        return torch.clamp(points, self._low, self._high)

    def step(self, points: Tensor, gradient: Tensor) -> Tensor:
        return self.project(torch.add(points, gradient.sign(), alpha=self._size))


class _L2Ball:
    def __init__(self, images: Tensor, attack: Attack) -> None:
        self._images, self._epsilon, self._size = images, attack.epsilon_255, attack.step_255

    def project(self, points: Tensor) -> Tensor:
        offset = points - self._images
        shrink = (self._epsilon / _norm(offset)).clamp(max=1)
        # Clipping to valid pixels brings every pixel nearer to the image's, so it cannot leave the ball.
        return (self._images + offset * shrink).clamp_(0, 1)

    def step(self, points: Tensor, gradient: Tensor) -> Tensor:
        # Scaled by its largest entry first: the square of a confident example's gradient underflows to zero.
        largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
        direction = gradient / largest
        return self.project(points + direction * (self._size / _norm(direction)))


def _norm(images: Tensor) -> Tensor:
    """(n, 1, 1, 1) L2 norms, at least 1e-12."""
    norms: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return norms.clamp(min=1e-12)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient inside: the backward pass then computes those of activations only."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
