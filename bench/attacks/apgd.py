"""Auto-PGD: projected gradient descent with momentum whose step halves where it stops to pay."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.attacks.ball import Ball, ball, rows
from bench.attacks.gradient import frozen, input_gradient
from bench.attacks.losses import LOSSES, targeted
from bench.attacks.noise import surface_noise
from bench.spec import Attack

MOMENTUM, RISES = 0.75, 0.75


def apgd(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seed: int,
    indices: Tensor,
    draw: int,
    targets: Tensor | None = None,
) -> Tensor:
    """Adversarial images: an example's first misclassified iterate, else the one of largest loss.

    `attack.steps` ascents of `attack.loss`, or towards `targets` (n,), in the ball of `attack`; its step and restarts
    are not read. The start on the ball's surface is a function of (seed, draw, index). The network must be in
    evaluation mode. Croce and Hein 2020, arXiv:2003.01690, algorithm 1.
    """
    start = surface_noise(tuple(images.shape), attack, seed=seed, indices=indices, draw=draw, device=images.device)
    around = ball(images, attack)
    points = around.project(images + start)
    found, alive = points.clone(), torch.arange(len(labels), device=labels.device)
    checkpoints = _checkpoints(attack.steps)
    with frozen(network):
        state: _State | None = None
        for step in range(attack.steps + 1):
            loss = LOSSES[attack.loss] if targets is None else targeted(targets[alive])
            logits, losses, gradient = input_gradient(network, points, labels[alive], loss)
            right = logits.argmax(dim=1) == labels[alive]
            found[alive] = points
            if not right.any():
                return found
            if not right.all():
                alive, points, losses, gradient = (part[right] for part in (alive, points, losses, gradient))
                around, state = rows(around, right), state and state.of(right)
            if state is None:
                state = _first(points, losses, gradient, around)
            else:
                state.record(points, losses, gradient)
            if step in checkpoints:
                points = state.check(points, window=checkpoints[step])
            if step < attack.steps:
                points = state.ascend(points, around, first=step == 0)
    assert state is not None
    found[alive] = state.best
    return found


@dataclass(slots=True)
class _State:
    """What the attack remembers of each example; sizes are (n, c, h, w) for points and gradients, else (n, 1, 1, 1)."""

    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    size: Tensor
    loss: Tensor
    best_loss: Tensor
    checked_loss: Tensor
    rises: Tensor
    halved: Tensor

    def of(self, chosen: Tensor) -> _State:
        return _State(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    def record(self, points: Tensor, losses: Tensor, gradient: Tensor) -> None:
        """Take note of a new iterate."""
        losses = losses.view(-1, 1, 1, 1)
        self.rises = self.rises + (losses > self.loss)
        better = losses > self.best_loss
        self.best = torch.where(better, points, self.best)
        self.best_gradient = torch.where(better, gradient, self.best_gradient)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.loss, self.gradient = losses, gradient

    def check(self, points: Tensor, *, window: int) -> Tensor:
        """Halve the step and go back to the best point where too few of the last `window` steps raised the loss, or
        where neither the step nor the best loss changed since the last check."""
        stuck = ~self.halved & (self.checked_loss >= self.best_loss)
        halve = (self.rises <= RISES * window) | stuck
        self.size = torch.where(halve, self.size / 2, self.size)
        self.gradient = torch.where(halve, self.best_gradient, self.gradient)
        self.halved, self.checked_loss, self.rises = halve, self.best_loss, torch.zeros_like(self.rises)
        return torch.where(halve, self.best, points)

    def ascend(self, points: Tensor, around: Ball, *, first: bool) -> Tensor:
        """The next iterate: a step, then a weighted mean with the last move."""
        ahead = around.step(points, self.gradient, self.size)
        if not first:
            ahead = around.project(points + MOMENTUM * (ahead - points) + (1 - MOMENTUM) * (points - self.previous))
        self.previous = points
        return ahead


def _first(points: Tensor, losses: Tensor, gradient: Tensor, around: Ball) -> _State:
    losses = losses.view(-1, 1, 1, 1)
    return _State(
        previous=points,
        gradient=gradient,
        best=points,
        best_gradient=gradient,
        size=torch.full_like(losses, 2 * around.epsilon),
        loss=losses,
        best_loss=losses,
        checked_loss=losses,
        rises=torch.zeros_like(losses),
        halved=torch.ones_like(losses, dtype=torch.bool),
    )


def _checkpoints(steps: int) -> dict[int, int]:
    """Steps after which the step size is checked -> steps since the last check: 22 % of them, then fewer and fewer."""
    window, least, decrease = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    checkpoints, at = {}, window
    while at <= steps:
        checkpoints[at] = window
        window = max(window - decrease, least)
        at += window
    return checkpoints
