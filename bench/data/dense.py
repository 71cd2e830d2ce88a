"""Scenes for segmentation and detection: windows into stored images with their masks or boxes, by threads ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import buffers, draws
from bench.data.decode import check
from bench.data.pool import slices, submit
from bench.data.records import Batch, Beton, Bytes, Integers, Objects, Reals, View
from bench.data.targets import IGNORED
from bench.data.windows import cut_images, cut_masks

AHEAD = 3  # batches in preparation while one is consumed
GRAIN = 2  # images per task
SCALE, PLACE = 32, 33  # kinds of draws; bench.data.draws and bench.data.views have others
SCALES = (0.5, 2.0)  # of images that are segmented, over the scale at which the network sees whole ones
SIDES = (0.5, 1.2)  # of a window of detection, over the image's
ASPECT = 4 / 3  # most by which such a window changes the aspect ratio
LEFT, SMALLEST = 0.25, 2.0  # an object stays with this share of its box in the window, and sides of so many pixels

Windows = NDArray[np.float64]


class Drawn(NamedTuple):
    """Of every example of a split: its window (n, 4), as in bench.data.windows, and whether it is mirrored (n,)."""

    windows: Windows
    mirrored: NDArray[np.bool_]


class Pending(NamedTuple):
    chosen: Integers
    pixels: Tensor
    masks: Tensor | None
    tasks: list[Future[None]]


def batches(view: View, epoch: int, start_step: int) -> Iterator[Batch]:
    """The batches of an epoch from start_step on; nothing before it is decoded.

    Labels: masks (b, s, s) int64, 255 not counted, or a list of b `Objects`, on the view's device. Outside of an image
    its window shows the set's mean, and a mask 255. Leaving the iterator early drops what was in preparation.
    """
    n = len(view.rows)
    visited = draws.order(n, seed=view.seed, epoch=epoch, shuffle=view.shuffle)
    drawn = draw(view, epoch)
    waiting: deque[Pending] = deque()
    try:
        for step in range(start_step, draws.steps(n, view.batch_size, view.drop_last)):
            chosen = draws.share(visited, step, batch_size=view.batch_size, rank=view.rank, world_size=view.world_size)
            waiting.append(begin(view, drawn, chosen))
            if len(waiting) > AHEAD:
                yield finish(view, drawn, waiting.popleft())
        while waiting:
            yield finish(view, drawn, waiting.popleft())
    finally:
        for pending in waiting:
            for task in pending.tasks:
                task.cancel()


def draw(view: View, epoch: int) -> Drawn:
    """Windows and flips of an epoch."""
    file = view.beton
    heights, widths = (sizes[view.rows].astype(np.float64) for sizes in (file.heights, file.widths))
    masks = file.targets is not None and file.targets.masks is not None
    if "scale_crop" not in view.augmentation:
        windows = central(heights, widths) if masks else whole(heights, widths)
    elif masks:
        zoom = view.resolution / file.resolution
        windows = scaled(heights, widths, view.resolution, zoom, seed=view.seed, epoch=epoch)
    else:
        windows = stretched(heights, widths, seed=view.seed, epoch=epoch)
    mirrored = np.zeros(len(view.rows), bool)
    if "flip" in view.augmentation:
        mirrored = draws.flips(len(view.rows), seed=view.seed, epoch=epoch)
    return Drawn(windows, mirrored)


def central(heights: Windows, widths: Windows) -> Windows:
    """The central square of the shorter side, on whole pixels."""
    side = np.minimum(heights, widths)
    return np.stack([(heights - side) // 2, (widths - side) // 2, side, side], axis=1)


def whole(heights: Windows, widths: Windows) -> Windows:
    """The whole image, squeezed to a square: average precision does not change when an axis is scaled."""
    zero = np.zeros_like(heights)
    return np.stack([zero, zero, heights, widths], axis=1)


def scaled(heights: Windows, widths: Windows, resolution: int, zoom: float, *, seed: int, epoch: int) -> Windows:
    """Squares of `resolution` pixels of images enlarged `zoom` times a factor uniform in SCALES, at a random place.

    An image smaller than its square lies at a random place in it. Chen et al. 2018, arXiv:1802.02611.
    """
    low, high = SCALES
    factors = low + (high - low) * draws.generator(seed, epoch, SCALE).random(len(heights))
    side = resolution / (zoom * factors)
    return _somewhere(heights, widths, side, side, seed=seed, epoch=epoch)


def stretched(heights: Windows, widths: Windows, *, seed: int, epoch: int) -> Windows:
    """Windows whose sides over the image's are uniform in SIDES, their ratio within ASPECT, at a random place.

    One side, either with equal chance, is drawn first, and the other where the ratio lets it.
    """
    low, high = SIDES
    uniform = draws.generator(seed, epoch, SCALE).random((len(heights), 3))
    first = low + (high - low) * uniform[:, 0]
    least, most = np.maximum(low, first / ASPECT), np.minimum(high, first * ASPECT)
    second = least + (most - least) * uniform[:, 1]
    upright = uniform[:, 2] < 0.5
    tall, wide = np.where(upright, first, second), np.where(upright, second, first)
    return _somewhere(heights, widths, tall * heights, wide * widths, seed=seed, epoch=epoch)


def _somewhere(heights: Windows, widths: Windows, tall: Windows, wide: Windows, *, seed: int, epoch: int) -> Windows:
    """Windows of these sides, uniformly where they lie in the image, or the image in them, along each axis."""
    uniform = draws.generator(seed, epoch, PLACE).random((len(heights), 2))
    return np.stack([uniform[:, 0] * (heights - tall), uniform[:, 1] * (widths - wide), tall, wide], axis=1)


def begin(view: View, drawn: Drawn, chosen: Integers) -> Pending:
    """Hand the batch's images and masks to the threads."""
    side, file = view.resolution, view.beton
    pinned = torch.device(view.device).type == "cuda"
    shape = (len(chosen), 3, side, side)
    pixels = torch.empty(shape, pin_memory=True) if pinned else buffers.empty(shape)
    masks = None
    if file.targets is not None and file.targets.masks is not None:
        masks = torch.empty((len(chosen), side, side), dtype=torch.uint8, pin_memory=pinned)
    work = partial(cut_part, view, drawn, chosen, pixels.numpy(), None if masks is None else masks.numpy())
    parts = slices(len(chosen), -(-len(chosen) // GRAIN))
    return Pending(chosen, pixels, masks, submit(work, parts, threads=view.threads))


def cut_part(view: View, drawn: Drawn, chosen: Integers, pixels: Reals, masks: Bytes | None, part: slice) -> None:
    """Cut the windows of one slice of a batch. Raises DataError naming a damaged image."""
    file, positions = view.beton, chosen[part]
    rows, windows, mirrored = view.rows[positions], drawn.windows[positions], drawn.mirrored[positions]
    damaged = cut_images(
        file.buffer, file.pointers, file.lengths, file.jpeg, file.heights, file.widths,
        rows, windows, mirrored, np.array(view.mean, np.float32), pixels[part],
    )  # fmt: skip
    check(file.path, damaged)
    if masks is not None:
        assert file.targets is not None
        cut_masks(
            file.targets.masks, file.targets.pointers, file.heights, file.widths,
            rows, windows, mirrored, IGNORED, masks[part],
        )  # fmt: skip


def finish(view: View, drawn: Drawn, pending: Pending) -> Batch:
    """The batch on the view's device, once its last image is cut."""
    for task in pending.tasks:
        task.result()
    images = pending.pixels.to(view.device, non_blocking=True)
    indices = torch.from_numpy(pending.chosen)
    if pending.masks is not None:
        return Batch(images, pending.masks.to(view.device, non_blocking=True).long(), indices)
    found = [
        seen(boxes_of(view.beton, int(view.rows[i])), drawn.windows[i], bool(drawn.mirrored[i]), view)
        for i in pending.chosen
    ]
    return Batch(images, [on_device(rows, view.device) for rows in found], indices)


def boxes_of(file: Beton, row: int) -> Reals:
    """Boxes of a stored image, (m, 6): left, top, right, bottom, class, difficult."""
    assert file.targets is not None
    assert file.targets.boxes is not None
    boxes = file.targets.boxes
    first, end = np.searchsorted(boxes[:, 0], [row, row + 1])
    return boxes[first:end, 1:]


def seen(boxes: Reals, window: Windows, mirrored: bool, view: View) -> Reals:
    """The boxes (m, 6) in pixels of the window as the view shows it, cut at its edges.

    Where windows are random: without those of which less than LEFT of the area, or less than SMALLEST pixels of a side,
    is left.
    """
    side = view.resolution
    top, left, high, wide = window
    corner, scale = np.array([left, top, left, top]), side / np.array([wide, high, wide, high])
    moved = (boxes[:, :4].astype(np.float64) - corner) * scale
    if mirrored:
        moved = np.stack([side - moved[:, 2], moved[:, 1], side - moved[:, 0], moved[:, 3]], axis=1)
    cut = moved.clip(0, side)
    if "scale_crop" in view.augmentation:
        sides, full = cut[:, 2:] - cut[:, :2], moved[:, 2:] - moved[:, :2]
        kept = (sides.prod(axis=1) >= LEFT * full.prod(axis=1)) & (sides.min(axis=1) >= SMALLEST)
        boxes, cut = boxes[kept], cut[kept]
    return np.concatenate([cut.astype(np.float32), boxes[:, 4:]], axis=1)


def on_device(rows: Reals, device: object) -> Objects:
    """The rows (m, 6) as tensors."""
    found = torch.from_numpy(np.ascontiguousarray(rows)).to(device)  # type: ignore[call-overload]
    return Objects(found[:, :4].contiguous(), found[:, 4].long(), found[:, 5] > 0)
