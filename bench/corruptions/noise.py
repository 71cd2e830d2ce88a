"""Noise: of the sensor (Gaussian), of the light (shot), of the transmission (impulse).

Every corruption has the signature (images, severity constants, draws) -> images: (n, 3, h, h) float64 in [0, 1] in,
the same out, where values beyond [0, 1] are still to be clipped.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from bench.corruptions.draws import Draws


def gaussian_noise(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """A normal number added to every value."""
    (deviation,) = constants
    return images + deviation * draws.normal(*images.shape[1:])


def shot_noise(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Counts of Poisson's distribution for every value, rounded to 256 levels before."""
    (photons,) = constants
    table = _poisson(photons).to(images.device)
    levels = (images * 255).round().long()
    # One sorted table for all levels: the distribution function of level l lies in [l, l + 1].
    wanted = draws.uniform(*images.shape[1:]) + levels
    counts = torch.searchsorted(table.view(-1), wanted) - levels * table.shape[1]
    return counts / photons


def impulse_noise(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Every value is black or white with half the share each."""
    (share,) = constants
    uniform = draws.uniform(*images.shape[1:])
    return images.masked_fill(uniform < share / 2, 0.0).masked_fill(uniform > 1 - share / 2, 1.0)


@functools.cache
def _poisson(photons: float) -> Tensor:
    """(256, counts) float64: level l plus the distribution function of its counts."""
    counts = np.arange(int(photons + 10 * photons**0.5) + 10)
    means = np.arange(256) / 255 * photons
    # pdtr is not a number at mean 0, where every count is 0.
    cumulative = np.where(means[:, None] > 0, pdtr(counts, np.maximum(means, 1e-9)[:, None]), 1.0)
    cumulative[:, -1] = 1.0
    return torch.from_numpy(cumulative + np.arange(256)[:, None])
