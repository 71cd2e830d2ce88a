"""Random numbers of attacks: a counter-based generator, so that an example's depend on nothing else."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.spec import Attack


def random_noise(
    shape: tuple[int, ...],
    attack: Attack,
    *,
    seed: int,
    indices: Tensor,
    draw: int,
    device: torch.device | str | None = None,
) -> Tensor | None:
    """Start of `attack` for images of `shape`: uniform in its ball; None if it has no random start.

    indices (n,) int64: the examples' positions in their split. `draw` counts restarts of an evaluation, or steps
    of training. The noise of an example is a function of (seed, draw, index) alone: neither the batch it comes in
    nor the device matters. Not clipped to valid pixels.
    """
    if not attack.random_start:
        return None
    size = math.prod(shape[1:])
    if attack.norm == "linf":
        numbers = uniform(size, seed=seed, indices=indices, draw=draw, device=device)
        return ((2 * numbers - 1) * (attack.epsilon_255 / 255)).view(shape)
    numbers = uniform(size + 1, seed=seed, indices=indices, draw=draw, device=device)
    # A Gaussian direction and a radius of density r^(d-1): uniform in the ball of dimension d.
    radius = numbers[:, -1:].pow(1 / size) * attack.epsilon_255
    return (_direction(numbers[:, :-1]) * radius).view(shape)


def surface_noise(
    shape: tuple[int, ...],
    attack: Attack,
    *,
    seed: int,
    indices: Tensor,
    draw: int,
    device: torch.device | str | None = None,
) -> Tensor:
    """Like `random_noise` with every example on the surface of the ball; always random."""
    numbers = uniform(math.prod(shape[1:]), seed=seed, indices=indices, draw=draw, device=device)
    if attack.norm == "l2":
        return (_direction(numbers) * attack.epsilon_255).view(shape)
    cube = 2 * numbers - 1
    return (cube / cube.abs().amax(dim=1, keepdim=True) * (attack.epsilon_255 / 255)).view(shape)


def uniform(size: int, *, seed: int, indices: Tensor, draw: int, device: torch.device | str | None = None) -> Tensor:
    """(n, size) float32 uniform in (0, 1), row i a function of (seed, draw, indices[i]) alone; n = len(indices)."""
    return _uniform(_streams(seed, draw, indices.to(device or indices.device)), size)


def _direction(numbers: Tensor) -> Tensor:
    """Rows of uniform numbers as unit vectors, uniform on the sphere."""
    gaussian = torch.erfinv(2 * numbers - 1)
    unit: Tensor = gaussian / torch.linalg.vector_norm(gaussian, dim=1, keepdim=True)
    return unit


def gaussian_noise(
    shape: tuple[int, ...], *, seed: int, indices: Tensor, draw: int, device: torch.device | str | None = None
) -> Tensor:
    """Standard normal numbers of `shape`; an example's are a function of (seed, draw, index) alone, as above."""
    streams = _streams(seed, draw, indices.to(device or indices.device))
    normal = math.sqrt(2) * torch.erfinv(2 * _uniform(streams, math.prod(shape[1:])) - 1)
    return normal.view(shape)


def _streams(seed: int, draw: int, indices: Tensor) -> Tensor:
    """(n,) int64, one key per example."""
    key = torch.tensor([seed], dtype=torch.int64, device=indices.device)
    for counter in (torch.tensor([draw], dtype=torch.int64, device=indices.device), indices):
        key = _mix(key + _GOLDEN) + counter * _GOLDEN
    return _mix(key)


def _uniform(streams: Tensor, size: int) -> Tensor:
    """(n, size) float32 in (0, 1): the first `size` numbers of every stream, 24 bits each."""
    counters = torch.arange(1, size + 1, dtype=torch.int64, device=streams.device) * _GOLDEN
    bits = _mix(streams[:, None] + counters[None, :])
    # The largest of the 2^24 would round to 1, whose Gaussian is infinite.
    return ((_shift_right(bits, 40).float() + 0.5) * 2**-24).clamp_(max=1 - 2**-24)


# SplitMix64, Steele, Lea and Flood 2014 (doi:10.1145/2714064.2660195), in wrapping int64 arithmetic.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 30)) * (0xBF58476D1CE4E5B9 - 2**64)
    z = (z ^ _shift_right(z, 27)) * (0x94D049BB133111EB - 2**64)
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    # torch shifts int64 arithmetically; the copies of the sign bit are masked away.
    return (z >> bits) & ((1 << (64 - bits)) - 1)
