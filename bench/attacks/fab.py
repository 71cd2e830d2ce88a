"""Fast adaptive boundary attack: the nearest misclassified point, found by projections on linearised boundaries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.attacks.ball import ball, rows
from bench.attacks.gradient import frozen, input_gradient
from bench.attacks.losses import Loss
from bench.spec import Attack

# Overshoot, share of the way back to the image, and largest weight of the image: the paper's eta, beta, alpha_max.
OVERSHOOT, BACKWARD, LARGEST_BIAS = 1.05, 0.9, 0.1


def fab(network: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, targets: Tensor) -> Tensor:
    """Adversarial images: an example's first misclassified point in the ball of `attack`, else the image itself.

    At most `attack.steps` iterations towards the boundary between the right class and `targets` (n,) from the image;
    no random start. The attack minimises the distance, so points outside the ball lie on its way. The network must
    be in evaluation mode. Croce and Hein 2020, arXiv:1907.02044, algorithm 1, targeted as in arXiv:2003.01690.
    """
    around = ball(images, attack)
    found, alive = images.clone(), torch.arange(len(labels), device=labels.device)
    points = images
    with frozen(network):
        for _ in range(attack.steps):
            difference = _difference(targets[alive])
            _, excess, normal = input_gradient(network, points, labels[alive], difference)
            points = _towards(points, around.images, normal, excess, attack.norm)
            with torch.no_grad():
                wrong: Tensor = network(points).argmax(dim=1) != labels[alive]
            inside = wrong & (around.distance(points) <= around.epsilon)
            found[alive[inside]] = points[inside]
            back = around.images + BACKWARD * (points - around.images)
            points = torch.where(wrong.view(-1, 1, 1, 1), back, points)[~inside]
            alive, around = alive[~inside], rows(around, ~inside)
            if not len(alive):
                break
    return found


def _difference(targets: Tensor) -> Loss:
    """Logit of the target less that of the right class: zero on the boundary between the two."""

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]

    return loss


def _towards(points: Tensor, images: Tensor, normal: Tensor, excess: Tensor, norm: str) -> Tensor:
    """Beyond the boundary's linearisation at `points`, drawn to the projection of the image itself."""
    normal = normal.flatten(1)
    shift = ((images - points).flatten(1) * normal).sum(dim=1)
    here = to_hyperplane(points.flatten(1), normal, excess, norm=norm)
    there = to_hyperplane(images.flatten(1), normal, excess + shift, norm=norm)
    order = torch.inf if norm == "linf" else 2
    length, length_there = (torch.linalg.vector_norm(move, order, dim=1).clamp(min=1e-8) for move in (here, there))
    bias = (length / (length + length_there)).clamp(max=LARGEST_BIAS).view(-1, 1, 1, 1)
    ahead = points + OVERSHOOT * here.view_as(points)
    return torch.clamp((1 - bias) * ahead + bias * (images + OVERSHOOT * there.view_as(points)), 0, 1)


def to_hyperplane(points: Tensor, normal: Tensor, excess: Tensor, *, norm: str) -> Tensor:
    """The smallest move, in `norm`, within [0, 1] after which normal . (points + move) is less by `excess`.

    points, normal and move (n, d), points in [0, 1]; excess (n,) of any sign. Where the hyperplane misses the cube
    the move goes to the cube's nearest corner.
    """
    scale = normal.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)
    direction, excess = -normal / scale * excess.sign()[:, None], excess.abs() / scale[:, 0]
    slope = direction.abs()
    room = torch.where(direction > 0, 1 - points, points)
    # A coordinate moves by t (Linf) or by t |normal| (L2) until its room ends at `limit`; gain(t), how much of the
    # excess is gone, is piecewise linear and rises: find the piece in which it meets the excess.
    speed = torch.ones_like(slope) if norm == "linf" else slope
    limit = torch.where(slope > 0, room / speed, 0)
    ordered, order = limit.sort(dim=1)
    rate = (slope * speed).gather(1, order)
    moving = rate.flip(1).cumsum(1).flip(1)  # the rate of those that have room left, at the start of each piece
    done = (rate * ordered).cumsum(1) - rate * ordered  # the gain of those that have none
    gain = done + moving * ordered
    piece = torch.searchsorted(gain, excess[:, None]).clamp(max=gain.shape[1] - 1)
    time = (excess[:, None] - done.gather(1, piece)) / moving.gather(1, piece).clamp(min=1e-30)
    # After the last piece nothing has room: min(time, limit) is the corner.
    return direction.sign() * torch.minimum(time.clamp(min=0), limit) * speed
