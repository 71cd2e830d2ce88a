"""The two views of a batch computed by torch on its device: what the compiled kernels give, up to rounding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.records import Integers, Reals
from bench.data.views_colours import BLUE, BRIGHTNESS, CONTRAST, GREEN, HUE, RED, SATURATION


def cut_views(images: Tensor, rows: Integers, boxes: NDArray[np.int32], mirrored: NDArray[np.bool_]) -> Tensor:
    """(m, 3, s, s) float32 in [0, 1]: boxes (m, 4) of the rows (m,) of images (n, 3, s, s) uint8, enlarged to s.

    Bilinear. Boxes are no larger than the view: nothing is antialiased.
    """
    device, side = images.device, images.shape[2]
    box = torch.from_numpy(boxes).to(device, torch.float64)
    y, y_weight = _pairs(box[:, 0:1], box[:, 2:3], side)
    x, x_weight = _pairs(box[:, 1:2], box[:, 3:4], side)
    flip = torch.from_numpy(mirrored).to(device)[:, None]
    x = [torch.where(flip, at.flip(1), at) for at in x]
    x_weight = torch.where(flip, x_weight.flip(1), x_weight)
    index = torch.from_numpy(rows).to(device)[:, None, None, None]
    channel = torch.arange(3, device=device)[None, :, None, None]
    lines = []
    for at in y:
        left, right = (images[index, channel, at[:, None, :, None], column[:, None, None, :]].float() for column in x)
        lines.append(torch.lerp(left, right, x_weight[:, None, None, :]))
    return torch.lerp(lines[0], lines[1], y_weight[:, None, :, None]).div_(255).clamp_(max=1)


def _pairs(first: Tensor, length: Tensor, side: int) -> tuple[list[Tensor], Tensor]:
    """Of the intervals (m, 1), `side` points each: the pixels before and after them (m, s) and the latter's weights."""
    at = (torch.arange(side, device=first.device, dtype=torch.float64) + 0.5) * (length / side) - 0.5
    at = at.clamp(min=0).minimum(length - 1)
    low = at.floor()
    pair = [(first + low).long(), (first + (low + 1).minimum(length - 1)).long()]
    return pair, (at - low).float()


def recolour_views(
    images: Tensor, order: NDArray[np.int8], factors: Reals, grey: NDArray[np.bool_], sigmas: Reals, radius: int
) -> Tensor:
    """Jitter, grey and blur images (m, 3, s, s) in [0, 1] in place; arguments as bench.data.views.Drawn has them."""
    device = images.device
    # Which views have which operation next is known here: one transfer of all indices, and no waiting for the device.
    parts = [np.flatnonzero(order[:, slot] == operation) for slot in range(4) for operation in range(4)]
    parts += [np.flatnonzero(grey), np.flatnonzero(sigmas)]
    indices = torch.split(torch.from_numpy(np.concatenate(parts)).to(device), [len(part) for part in parts])
    amounts = torch.from_numpy(factors).to(device)
    for step, index in enumerate(indices[:16]):
        if len(index):
            factor = amounts[index, step % 4][:, None, None, None]
            images[index] = ADJUSTMENTS[step % 4](images[index], factor)
    if len(indices[16]):
        images[indices[16]] = grey_of(images[indices[16]]).expand(-1, 3, -1, -1)
    if len(indices[17]):
        sigma = torch.from_numpy(sigmas).to(device)[indices[17]]
        images[indices[17]] = blurred(images[indices[17]], sigma, radius)
    return images


def grey_of(images: Tensor) -> Tensor:
    """(m, 1, s, s): torchvision's luma."""
    r, g, b = images.chunk(3, dim=1)
    return float(RED) * r + float(GREEN) * g + float(BLUE) * b


def brighter(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp_(0, 1)


def contrasted(images: Tensor, factor: Tensor) -> Tensor:
    mean = grey_of(images).mean(dim=(1, 2, 3), keepdim=True)
    return (factor * images + (1 - factor) * mean).clamp_(0, 1)


def saturated(images: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * grey_of(images)).clamp_(0, 1)


def turned(images: Tensor, turns: Tensor) -> Tensor:
    """Hue moved by `turns`: the formula of bench.data.views_colours.turn."""
    r, g, b = images.chunk(3, dim=1)
    value, chroma = images.amax(1, keepdim=True), images.amax(1, keepdim=True) - images.amin(1, keepdim=True)
    divisor = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == r, (g - b) / divisor, torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor)
    )
    shift = torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None]
    k = (hue + 6 * turns + shift).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)


ADJUSTMENTS = {BRIGHTNESS: brighter, CONTRAST: contrasted, SATURATION: saturated, HUE: turned}


def blurred(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """images (m, 3, s, s) under Gaussians of sigma (m,) pixels cut off at `radius`, edges reflected.

    A sum over shifts and no convolution: its precision does not depend on torch's settings (TF32).
    """
    at = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (at / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, :, None, None, None]
    for dim in (2, 3):
        padded = torch.nn.functional.pad(
            images, (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0), "reflect"
        )
        images = torch.zeros_like(images)
        for t in range(2 * radius + 1):
            images.addcmul_(padded.narrow(dim, t, images.shape[dim]), kernel[:, t])
    return images.clamp_(max=1)
