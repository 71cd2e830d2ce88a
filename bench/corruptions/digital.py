"""Digital: contrast, elastic deformation, pixelation, JPEG. Signatures as in noise.py."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.corruptions.draws import Draws
from bench.corruptions.sampling import displaced, smoothed


def contrast(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Every channel drawn to its mean over the image."""
    (factor,) = constants
    means = images.mean(dim=(2, 3), keepdim=True)
    return (images - means) * factor + means


def elastic_transform(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """A random affine map (three corners of a square shifted), then smooth random displacements.

    Simard, Steinkraus and Platt 2003 (doi:10.1109/ICDAR.2003.1227801).
    """
    n, side = len(images), images.shape[-1]
    amplitude, deviation, shift = (constant * side for constant in constants)
    rows, columns = torch.meshgrid(*[torch.arange(side, dtype=torch.float64, device=images.device)] * 2, indexing="ij")
    centre, arm = side // 2, side // 3
    corners = [[centre + arm, centre + arm], [centre + arm, centre - arm], [centre - arm, centre - arm]]
    before = images.new_tensor(corners).expand(n, 3, 2)
    after = before + shift * (2 * draws.uniform(3, 2) - 1)
    # Where a pixel of the result comes from: the affine map (x, y, 1) -> (x, y) that takes `after` to `before`.
    back = torch.linalg.solve(torch.cat([after, after.new_ones(n, 3, 1)], dim=2), before)
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    sources = torch.einsum("hwk,nkc->nhwc", pixels, back)
    mapped = displaced(images, sources[..., 1], sources[..., 0], repeat_edge=False)
    if amplitude == 0:
        return mapped
    fields = 2 * draws.uniform(2, side, side, part=1) - 1
    fields = amplitude * smoothed(fields, deviation, mode="reflect", truncate=3.0)
    return displaced(mapped, rows + fields[:, 1], columns + fields[:, 0], repeat_edge=True)


def pixelate(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Shrunk to whole pixels by averaging and enlarged again."""
    side = images.shape[-1]
    small = max(1, int(side * constants[0]))

    def shrink_and_enlarge(image: Image.Image) -> Image.Image:
        shrunk = image.resize((small, small), Image.Resampling.BOX)
        return shrunk.resize((side, side), Image.Resampling.BOX)

    return _each(images, shrink_and_enlarge)


def jpeg_compression(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Compressed and decompressed by Pillow, colours at half the resolution."""

    def compress(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(constants[0]))
        return Image.open(file)

    return _each(images, compress)


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Every image changed by Pillow, at 256 levels."""
    levels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().contiguous().numpy()
    changed = np.stack([np.asarray(change(Image.fromarray(image))) for image in levels])
    return torch.from_numpy(changed).to(images.device).permute(0, 3, 1, 2).double() / 255
