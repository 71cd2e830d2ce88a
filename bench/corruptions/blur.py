"""Blur: of a lens out of focus, of frosted glass, of motion, of zooming. Signatures as in noise.py."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.corruptions.draws import Draws
from bench.corruptions.sampling import smoothed, streak, zoom


def defocus_blur(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Convolution with a disk whose rim is smoothed; the image is mirrored beyond its edge."""
    kernel = _disk(*constants).to(images.device)
    reach = kernel.shape[-1] // 2
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    size = padded.shape[-2:]
    # By Fourier transforms: a disk of 10 px on 224 px takes a direct convolution in doubles half a second an image.
    blurred: Tensor = torch.fft.irfft2(torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size), s=size)
    return blurred[..., 2 * reach :, 2 * reach :]


def _disk(radius: float, deviation: float) -> Tensor:
    """(k, k) float64, summing to 1."""
    reach = math.floor(radius)
    # As published: 3 x 3 pixels of smoothing for disks up to 8 px, 5 x 5 for larger ones.
    rim = 1 if radius <= 8 else 2
    positions = torch.arange(-reach - rim, reach + rim + 1, dtype=torch.float64)
    disk = (positions[:, None] ** 2 + positions**2 <= radius**2).double()
    steps = torch.arange(-rim, rim + 1, dtype=torch.float64)
    gaussian = torch.exp(-(steps**2) / (2 * deviation**2))
    smoothing = gaussian[:, None] * gaussian
    kernel = F.conv2d(disk[None, None], smoothing[None, None], padding=rim)
    return (kernel / kernel.sum())[0, 0]


def glass_blur(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Blurred, every pixel replaced by a near one, blurred again.

    A pixel takes its neighbour's value, which stays where it is: what the published code does in place of the
    exchange it describes, so what the published images show.
    """
    deviation, reach, rounds = constants[0], round(constants[1]), round(constants[2])
    side = images.shape[-1]
    before = _levels(_glass(images, deviation)).permute(0, 2, 3, 1).cpu().contiguous().numpy()
    shifts = torch.floor(draws.uniform(rounds, side, side, 2) * 2 * reach).to(torch.int64) - reach
    _replace(before, shifts.cpu().numpy(), reach)
    after = torch.from_numpy(before).to(images.device).permute(0, 3, 1, 2).double() / 255
    return _glass(after, deviation)


def _glass(images: Tensor, deviation: float) -> Tensor:
    return smoothed(images, deviation, mode="nearest", truncate=4.0)


def _levels(images: Tensor) -> Tensor:
    # A level of 7 may be 6.9999999 after the blur of an even area: only what is clearly below is cut.
    return (images.clamp(0, 1) * 255 + 1e-3).to(torch.uint8)


@numba.njit(cache=True)
def _replace(images, shifts, reach):  # type: ignore[no-untyped-def]
    """Replace pixels of images (n, h, h, 3) in place, from the last row and column backwards."""
    n, rounds, side = shifts.shape[0], shifts.shape[1], images.shape[1]
    for i in range(n):
        for r in range(rounds):
            for y in range(side - reach, reach, -1):
                for x in range(side - reach, reach, -1):
                    down, right = shifts[i, r, y, x]
                    images[i, y, x] = images[i, y + down, x + right]


def motion_blur(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """A streak at an angle of -45 to 45 degrees."""
    radius, deviation = constants
    return streak(images, 90 * draws.uniform() - 45, radius=radius, deviation=deviation)


def zoom_blur(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Mean of the image and of itself at several factors of zoom, 1 among them."""
    factors = np.arange(1, *constants)
    zoomed = sum((zoom(images, float(factor)) for factor in factors), torch.zeros_like(images))
    return (images + zoomed) / (len(factors) + 1)
