"""The images an attack may reach: valid pixels in an Linf or L2 ball around each image."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.spec import Attack

# Rounding: what a point of single precision may be off the surface of its ball.
TOLERANCE = 1e-5


class LinfBall:
    """Points of [0, 1] that differ from images (n, c, h, w) by at most `epsilon` in every pixel."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self.images, self.epsilon = images, epsilon
        # The ball and the valid pixels are both boxes, so one clamp projects onto both.
        self._low, self._high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)

    def project(self, points: Tensor) -> Tensor:
        return torch.clamp(points, self._low, self._high)

    def step(self, points: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The point that lies `size` (a number or (n, 1, 1, 1)) along the steepest ascent, projected."""
        return self.project(gradient.sign().mul_(size).add_(points))

    def distance(self, points: Tensor) -> Tensor:
        """(n,) distance to the images."""
        return (points - self.images).abs().amax((1, 2, 3))


class L2Ball:
    """Points of [0, 1] that differ from images (n, c, h, w) by at most `epsilon` in the Euclidean norm."""

    def __init__(self, images: Tensor, epsilon: float) -> None:
        self.images, self.epsilon = images, epsilon

    def project(self, points: Tensor) -> Tensor:
        offset = points - self.images
        shrink = (self.epsilon / norms(offset)).clamp(max=1)
        # Clipping to valid pixels brings every pixel nearer to the image's, so it cannot leave the ball.
        return (self.images + offset * shrink).clamp_(0, 1)

    def step(self, points: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """The point that lies `size` (a number or (n, 1, 1, 1)) along the steepest ascent, projected."""
        # Scaled by its largest entry first: the square of a confident example's gradient underflows to zero.
        largest = gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
        direction = gradient / largest
        return self.project(points + direction * (size / norms(direction)))

    def distance(self, points: Tensor) -> Tensor:
        """(n,) distance to the images."""
        distances: Tensor = torch.linalg.vector_norm(points - self.images, dim=(1, 2, 3))
        return distances


Ball = LinfBall | L2Ball


def ball(images: Tensor, attack: Attack) -> Ball:
    """The ball of `attack` around images in [0, 1]."""
    if attack.norm == "linf":
        return LinfBall(images, attack.epsilon_255 / 255)
    return L2Ball(images, attack.epsilon_255)


def rows(around: Ball, chosen: Tensor) -> Ball:
    """The same ball around the chosen images alone (a mask or positions)."""
    return type(around)(around.images[chosen], around.epsilon)


def contains(around: Ball, points: Tensor) -> Tensor:
    """(n,) bool: which points are valid pixels and in the ball, up to rounding."""
    valid = (points.amin((1, 2, 3)) >= 0) & (points.amax((1, 2, 3)) <= 1)
    return valid & (around.distance(points) <= around.epsilon * (1 + TOLERANCE) + 1e-6)


def norms(images: Tensor) -> Tensor:
    """(n, 1, 1, 1) L2 norms, at least 1e-12."""
    found: Tensor = torch.linalg.vector_norm(images, dim=(1, 2, 3), keepdim=True)
    return found.clamp(min=1e-12)
