"""Square attack: random search with square windows, which reads logits and no gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bench.attacks.ball import ball, norms, rows
from bench.attacks.losses import margin
from bench.attacks.noise import uniform
from bench.spec import Attack

# Share of the pixels in the first window, and the queries after which it halves.
SHARE, HALVINGS = 0.8, (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@torch.no_grad()
def square(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seed: int,
    indices: Tensor,
    draw: int,
    queries: int,
) -> Tensor:
    """Adversarial images: an example's first misclassified point, else the one of largest margin.

    images (n, c, h, h); at most `queries` changes per example, each kept if the margin rises. The windows of an
    example are functions of (seed, draw + query, index), query counting from 0. The network must be in evaluation
    mode. Andriushchenko et al. 2020, arXiv:1912.00049, algorithms 1 to 3.
    """
    around = ball(images, attack)
    change = _linf_change if attack.norm == "linf" else _l2_change
    start = _linf_start if attack.norm == "linf" else _l2_start
    numbers = uniform(images[0].numel(), seed=seed, indices=indices, draw=draw, device=images.device)
    best = around.project(start(images, around.epsilon, numbers))
    found, alive = best.clone(), torch.arange(len(labels), device=labels.device)
    indices = indices.to(images.device)
    logits = network(best)
    value, right = margin(logits, labels), logits.argmax(dim=1) == labels
    for query in range(queries + 1):
        found[alive] = best
        if not right.all():
            alive, best, value, labels, indices = (part[right] for part in (alive, best, value, labels, indices))
            around = rows(around, right)
        if query == queries or not len(alive):
            break
        numbers = uniform(best.shape[1] + 5, seed=seed, indices=indices, draw=draw + 1 + query)
        points = around.project(change(best, around.images, around.epsilon, query, numbers))
        logits = network(points)
        found_value, right = margin(logits, labels), logits.argmax(dim=1) == labels
        better = (found_value > value) | ~right
        best = torch.where(better.view(-1, 1, 1, 1), points, best)
        value = torch.where(better, found_value, value)
    return found


def _side(query: int, height: int) -> float:
    """Side of the window in pixels, before rounding."""
    return math.sqrt(SHARE / 2 ** sum(query > bound for bound in HALVINGS)) * height


def _linf_start(images: Tensor, epsilon: float, numbers: Tensor) -> Tensor:
    """Vertical stripes one pixel wide, each channel of each at +epsilon or -epsilon."""
    n, channels, _, width = images.shape
    return images + epsilon * _signs(numbers[:, : channels * width]).view(n, channels, 1, width)


def _linf_change(best: Tensor, images: Tensor, epsilon: float, query: int, numbers: Tensor) -> Tensor:
    """A window whose channels move by +2 epsilon or -2 epsilon, to be projected: all its pixels at the border."""
    n, channels, height, width = best.shape
    side = min(max(round(_side(query, height)), 1), height, width)
    row, column = _corner(numbers[:, 0], height, side), _corner(numbers[:, 1], width, side)
    lines, columns = torch.arange(height, device=best.device), torch.arange(width, device=best.device)
    in_rows = (lines >= row[:, None]) & (lines < row[:, None] + side)
    in_columns = (columns >= column[:, None]) & (columns < column[:, None] + side)
    window = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    return best + window * (2 * epsilon * _signs(numbers[:, 5:])).view(n, channels, 1, 1)


def _l2_start(images: Tensor, epsilon: float, numbers: Tensor) -> Tensor:
    """A grid of about 5 x 5 bumps of random signs and orientations, on the surface of the ball."""
    n, channels, height, width = images.shape
    side = max(height // 5, 1)
    down, across = height // side, width // side
    tiles = down * across
    signs = _signs(numbers[:, : channels * tiles]).view(n, channels, down, across, 1, 1)
    # The same number serves a tile's orientation and its first sign: its second bit, as it were.
    upright = ((numbers[:, :tiles] * 4).long() % 2 == 0).view(n, 1, down, across, 1, 1)
    pattern = _bump(side, images.device)
    bumps = (signs * torch.where(upright, pattern, pattern.T)).transpose(3, 4)
    bumps = bumps.reshape(n, channels, down * side, across * side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    move = torch.zeros_like(images)
    move[:, :, top : top + down * side, left : left + across * side] = bumps
    return images + move * (epsilon / norms(move))


def _l2_change(best: Tensor, images: Tensor, epsilon: float, query: int, numbers: Tensor) -> Tensor:
    """A bump added in one window, paid with what is left of epsilon and with what another window gives up."""
    n, channels, height, width = best.shape
    side = min(max(round(_side(query, height)), 3) // 2 * 2 + 1, height, width)
    taker, giver = (
        _window(_corner(numbers[:, k], height, side), _corner(numbers[:, k + 1], width, side), channels, side)
        for k in (0, 2)
    )
    move = best - images
    kept = move[taker]
    emptied = move.index_put(giver, move.new_zeros(()))
    emptied = emptied.index_put(taker, move.new_zeros(()))
    freed = (move.square() - emptied.square()).sum(dim=(2, 3), keepdim=True)
    spare = (epsilon**2 - norms(move).square()).clamp(min=0) / channels
    pattern = _bump(side, best.device)
    upright = (numbers[:, 4] < 0.5).view(n, 1, 1, 1)
    bump = torch.where(upright, pattern, pattern.T) * _signs(numbers[:, 5:]).view(n, channels, 1, 1)
    bump = bump + kept / _window_norms(kept)
    bump = bump / _window_norms(bump) * (freed.clamp(min=0) + spare).sqrt()
    moved = emptied.index_put(taker, bump)
    return images + moved * (epsilon / norms(moved))


def _bump(side: int, device: torch.device) -> Tensor:
    """(side, side) pattern of norm 1: a positive pyramid in the upper half, a negative one in the lower half."""
    halves = [sign * _pyramid(height, side) for sign, height in ((1, side // 2), (-1, side - side // 2)) if height]
    pattern = torch.cat(halves)
    return (pattern / pattern.square().sum().sqrt()).to(device)


def _pyramid(height: int, width: int) -> Tensor:
    """(height, width) of norm 1, falling from the centre: the sum of 1 / (m + 1)^2 over m from the distance on."""
    lines, columns = (torch.arange(length) - length // 2 for length in (height, width))
    distance = torch.maximum(lines.abs()[:, None], columns.abs()[None, :])
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2).square()
    values = terms.flip(0).cumsum(0).flip(0)[distance]
    return values / values.square().sum().sqrt()


def _corner(numbers: Tensor, length: int, side: int) -> Tensor:
    """(n,) first line of a window, uniform over those at which it fits, except the last.

    The paper includes the last; the code behind the published accuracies does not, so that no window touches the last
    row and column. Theirs is the range here, for the sake of comparisons: on images of 8 px it matters.
    """
    return (numbers * (length - side)).long()


def _window(row: Tensor, column: Tensor, channels: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index of every example's own window in all its channels: (n, channels, side, side) when it is read."""
    device, offsets = row.device, torch.arange(side, device=row.device)
    return (
        torch.arange(len(row), device=device).view(-1, 1, 1, 1),
        torch.arange(channels, device=device).view(1, -1, 1, 1),
        (row[:, None] + offsets).view(-1, 1, side, 1),
        (column[:, None] + offsets).view(-1, 1, 1, side),
    )


def _window_norms(windows: Tensor) -> Tensor:
    """(n, c, 1, 1), at least 1e-12."""
    found: Tensor = torch.linalg.vector_norm(windows, dim=(2, 3), keepdim=True)
    return found.clamp(min=1e-12)


def _signs(numbers: Tensor) -> Tensor:
    """-1 or 1, each for half of the numbers."""
    return torch.where(numbers < 0.5, -1.0, 1.0)
