"""Small sets: decoded once per process, kept as uint8 on the device, augmented a batch at a time.

Images are stored as planes (n, 3, h, w). On the CPU one compiled pass per batch crops, mirrors and converts to float;
on other devices a gather does the same to the last bit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import beton, buffers, draws, views
from bench.data.decode import check, decode
from bench.data.errors import DataError
from bench.data.pool import ahead
from bench.data.records import Batch, Beton, Bytes, Integers, Reals, View

CACHED_SETS = 16  # decoded (file, device) pairs a process keeps; the least recently used one goes
INLINE = 1 << 17  # values of a batch below which handing it to a thread costs more than it saves
UNIT_LEVELS: Reals = np.repeat((np.arange(256, dtype=np.float32) / np.float32(255))[None], 3, axis=0)


def batches(view: View, epoch: int, start_step: int, *, levels: Reals = UNIT_LEVELS) -> Iterator[Batch]:
    """The batches of an epoch from start_step on; nothing is computed for the steps before it.

    levels (3, 256), CPU only: the float that each value of each channel becomes, in place of value / 255.
    """
    images = decoded(view)
    n, pad = len(view.rows), crop_pad(view.resolution)
    visited = draws.order(n, seed=view.seed, epoch=epoch, shuffle=view.shuffle)
    shifts = np.zeros((n, 2), np.int32)
    if "crop" in view.augmentation:
        shifts = draws.offsets(n, pad=pad, seed=view.seed, epoch=epoch)
    mirrored = np.zeros(n, bool)
    if "flip" in view.augmentation:
        mirrored = draws.flips(n, seed=view.seed, epoch=epoch)
    two_views = None if view.views is None else views.of_resident(view, images, epoch)
    labels = view.beton.labels[view.rows]

    def batch(step: int) -> Batch:
        chosen = draws.share(visited, step, batch_size=view.batch_size, rank=view.rank, world_size=view.world_size)
        if two_views is not None:
            pixels = two_views(chosen)
        else:
            arguments = images, view.rows[chosen], shifts[chosen], mirrored[chosen]
            pixels = augment(*arguments, levels=levels) if images.device.type == "cpu" else gather(*arguments)
        return Batch(pixels, torch.from_numpy(labels[chosen]).to(view.device), torch.from_numpy(chosen))

    steps = range(start_step, draws.steps(n, view.batch_size, view.drop_last))
    small = view.batch_size * images[0].numel() < INLINE
    inline = small or view.threads == 1 or images.device.type != "cpu"
    return map(batch, steps) if inline else ahead(batch, steps, threads=view.threads)


def crop_pad(resolution: int) -> int:
    """Zero pixels added on each side before a random crop: 4 at 32 pixels, in proportion at other sizes."""
    return max(1, resolution // 8)


def augment(
    images: Tensor, rows: Integers, shifts: NDArray[np.int32], mirrored: NDArray[np.bool_], *, levels: Reals
) -> Tensor:
    """(b, 3, h, w) float32 on the CPU: the rows of images (n, 3, h, w) uint8, shifted, then mirrored.

    shifts (b, 2): output pixel (y, x) shows image pixel (y + shift_y, x + shift_x), black outside the image.
    levels (3, 256): the float that each value of each channel becomes; a normalisation costs nothing extra.
    """
    out = buffers.empty((len(rows), *images.shape[1:]))
    crop_flip(images.numpy(), rows, shifts, mirrored, levels, out.numpy())
    return out


@numba.njit(nogil=True, cache=True)
def crop_flip(images, rows, shifts, mirrored, levels, out):  # type: ignore[no-untyped-def]
    """Fill out (b, 3, h, w); arguments as in `augment`."""
    height, width = images.shape[2], images.shape[3]
    for i in range(len(rows)):
        dy, dx = shifts[i, 0], shifts[i, 1]
        top, bottom = max(0, -dy), min(height, height - dy)  # lines that show the image
        first, end = max(0, -dx), min(width, width - dx)  # columns that do, before mirroring
        left = width - end if mirrored[i] else first
        count = end - first
        for c in range(3):
            level, image, plane = levels[c], images[rows[i], c], out[i, c]
            plane[:top] = level[0]
            plane[bottom:] = level[0]
            for y in range(top, bottom):
                line = plane[y]
                for x in range(left):
                    line[x] = level[0]
                for x in range(left + count, width):
                    line[x] = level[0]
                # Slices from 0 spare the inner loops numba's test for negative indices.
                source, shown = image[y + dy][first + dx : end + dx], line[left : left + count]
                if mirrored[i]:
                    for x in range(count):
                        shown[count - 1 - x] = level[source[x]]
                else:
                    for x in range(count):
                        shown[x] = level[source[x]]


def gather(images: Tensor, rows: Integers, shifts: NDArray[np.int32], mirrored: NDArray[np.bool_]) -> Tensor:
    """What `augment` gives with values divided by 255, computed by torch on the device of the images."""
    device, (height, width) = images.device, images.shape[2:]
    index = torch.from_numpy(rows).to(device)[:, None, None, None]
    shift = torch.from_numpy(shifts).to(device).long()
    y = torch.arange(height, device=device) + shift[:, :1]
    x = torch.arange(width, device=device) + shift[:, 1:]
    x = torch.where(torch.from_numpy(mirrored).to(device)[:, None], x.flip(1), x)
    inside = ((y >= 0) & (y < height))[:, None, :, None] & ((x >= 0) & (x < width))[:, None, None, :]
    y, x = y.clamp(0, height - 1)[:, None, :, None], x.clamp(0, width - 1)[:, None, None, :]
    channel = torch.arange(3, device=device)[None, :, None, None]
    # A tensor divisor: by a number, CUDA multiplies with the reciprocal, which is not always the same float.
    return torch.where(inside, images[index, channel, y, x], 0).float() / torch.tensor(255.0, device=device)


def decoded(view: View) -> Tensor:
    """The whole file as planes (n, 3, h, w) uint8 on the view's device, decoded once per process."""
    return _decoded(view.beton, view.resolution, torch.device(view.device))


@functools.lru_cache(maxsize=CACHED_SETS)
def _decoded(file: Beton, resolution: int, device: torch.device) -> Tensor:
    if beton.digest(file.path) != file.sha256:
        raise DataError(f"{file.path}: its sha256 is not that of its sidecar. Delete it and run bench.prepare again")
    return torch.from_numpy(planes(file, resolution)).to(device)


def planes(file: Beton, resolution: int) -> Bytes:
    """(n, 3, resolution, resolution): raw images as they are, JPEG images through the evaluation crop."""
    n = len(file.labels)
    if file.storage == "jpg":
        boxes = draws.centre_boxes(file.heights, file.widths)
    else:
        zero = np.zeros_like(file.heights)
        boxes = np.stack([zero, zero, file.heights, file.widths], axis=1).astype(np.int32)
    out = np.empty((n, 3, resolution, resolution), np.uint8)
    for start in range(0, n, 1024):
        rows = np.arange(start, min(start + 1024, n))
        chunk = np.empty((len(rows), resolution, resolution, 3), np.uint8)
        damaged = decode(
            file.buffer, file.pointers, file.lengths, file.jpeg, file.heights, file.widths,
            rows, boxes[rows], np.zeros(len(rows), bool), chunk,
        )  # fmt: skip
        check(file.path, damaged)
        out[rows] = chunk.transpose(0, 3, 1, 2)
    return out
