"""How corruptions read pixels between and beside the pixels: shifted, zoomed, displaced, smoothed."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.nn import functional as F


def zoom(images: Tensor, factor: float) -> Tensor:
    """The centre of images (n, c, h, h), enlarged bilinearly by `factor` >= 1 and cut back to h.

    By whole pixels, as the published generators do: the crop is ceil(h / factor) px, so small factors can leave small
    images as they are.
    """
    side = images.shape[-1]
    crop = math.ceil(side / factor)
    top = (side - crop) // 2
    size = round(crop * factor)
    cut = images[..., top : top + crop, top : top + crop]
    enlarged = F.interpolate(cut, size=(size, size), mode="bilinear", align_corners=True)
    trim = (size - side) // 2
    return enlarged[..., trim : trim + side, trim : trim + side]


def streak(images: Tensor, degrees: Tensor, *, radius: float, deviation: float) -> Tensor:
    """Images (n, c, h, h) smeared along `degrees` (n,) by half a Gaussian of `deviation` px, cut at 2 radius + 1 px.

    By whole pixels, with the edge repeated, as ImageMagick's motion blur does.
    """
    width = math.ceil(2 * radius) + 1
    steps = torch.arange(width, dtype=torch.float64, device=images.device)
    kernel = torch.exp(-(steps**2) / (2 * deviation**2))
    kernel = kernel / kernel.sum()
    angles = torch.deg2rad(degrees)
    rows = torch.ceil(steps * torch.sin(angles)[:, None] - 0.5).long()
    columns = torch.ceil(steps * torch.cos(angles)[:, None] - 0.5).long()
    smeared = torch.zeros_like(images)
    for i in range(width):
        smeared += kernel[i] * shifted(images, rows[:, i], columns[:, i])
    return smeared


def shifted(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Image i read `down[i]` rows and `right[i]` columns further on, the edge repeated."""
    n, side = len(images), images.shape[-1]
    positions = torch.arange(side, device=images.device)
    rows = (positions + down[:, None]).clamp(0, side - 1)
    columns = (positions + right[:, None]).clamp(0, side - 1)
    which = torch.arange(n, device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[which, channels, rows[:, None, :, None], columns[:, None, None, :]]


def displaced(images: Tensor, rows: Tensor, columns: Tensor, *, repeat_edge: bool) -> Tensor:
    """Images (n, c, h, h) read bilinearly at rows and columns (n, h, h) in pixels, mirrored beyond the edge.

    repeat_edge: mirrored at the outer edge of the last pixel, else at its centre.
    """
    n, channels, side = len(images), images.shape[1], images.shape[-1]
    top, left = rows.floor(), columns.floor()
    flat = images.flatten(2)
    result = torch.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - (rows - top - down).abs()) * (1 - (columns - left - right).abs())
            at_rows = _mirrored((top + down).long(), side, repeat_edge)
            at_columns = _mirrored((left + right).long(), side, repeat_edge)
            at = (at_rows * side + at_columns).view(n, 1, -1).expand(-1, channels, -1)
            result += weight[:, None] * flat.gather(2, at).view(n, channels, side, side)
    return result


def _mirrored(positions: Tensor, side: int, repeat_edge: bool) -> Tensor:
    period = 2 * side if repeat_edge else 2 * side - 2
    positions = positions.remainder(period)
    return torch.minimum(positions, period - int(repeat_edge) - positions)


def smoothed(images: Tensor, deviation: float, *, mode: str, truncate: float) -> Tensor:
    """Images (..., h, h) float64 blurred by a Gaussian of `deviation` px; mode and truncate are scipy's."""
    matrix = _smoothing(images.shape[-1], deviation, mode, truncate).to(images.device)
    return matrix @ images @ matrix.T


@functools.cache
def _smoothing(side: int, deviation: float, mode: str, truncate: float) -> Tensor:
    blurred = gaussian_filter1d(np.eye(side), deviation, axis=0, mode=mode, truncate=truncate)
    return torch.from_numpy(blurred)


def plasma(uniform: Tensor, decay: float) -> Tensor:
    """Clouds (n, h, h) in [0, 1] by the diamond-square algorithm on a torus; h is a power of two.

    uniform (n, h, h) in (0, 1). The k-th finer grid is rougher by decay**(-2k), as in the published generators.
    Fournier, Fussell and Carpenter 1982 (doi:10.1145/358523.358553).
    """
    side = uniform.shape[-1]
    noise = 2 * uniform - 1
    clouds = torch.zeros_like(uniform)
    step, roughness = side, 100.0**2
    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middle = (slice(None), slice(half, None, step), slice(half, None, step))
        clouds[middle] = (pairs + pairs.roll(-1, 2)) / 4 + roughness * noise[middle]
        centres = clouds[middle]
        upper = (slice(None), slice(0, None, step), slice(half, None, step))
        clouds[upper] = (corners + corners.roll(-1, 2) + centres + centres.roll(1, 1)) / 4 + roughness * noise[upper]
        left = (slice(None), slice(half, None, step), slice(0, None, step))
        clouds[left] = (pairs + centres + centres.roll(1, 2)) / 4 + roughness * noise[left]
        step, roughness = half, roughness / decay**2
    low, high = clouds.amin(dim=(1, 2), keepdim=True), clouds.amax(dim=(1, 2), keepdim=True)
    return (clouds - low) / (high - low)
