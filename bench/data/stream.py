"""Large sets: read from the memory-mapped file, decoded by threads a few batches ahead of the consumer."""

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

from bench.data import buffers, draws, views
from bench.data.decode import check, decode, decode_planes
from bench.data.pool import slices, submit
from bench.data.records import Batch, Integers, View
from bench.data.resident import UNIT_LEVELS

AHEAD = 3  # batches in preparation while one is consumed
GRAIN = 8  # images per task: small enough that no thread waits long for the last one of a batch


class Draws(NamedTuple):
    """An epoch's crop boxes (n, 4) and flips (n,), by position in the split."""

    boxes: NDArray[np.int32]
    mirrored: NDArray[np.bool_]


class Pending(NamedTuple):
    chosen: Integers
    pixels: Tensor
    tasks: list[Future[None]]


def batches(view: View, epoch: int, start_step: int) -> Iterator[Batch]:
    """The batches of an epoch from start_step on; nothing before it is decoded.

    Leaving the iterator early drops what was in preparation.
    """
    on_cpu = torch.device(view.device).type == "cpu"
    labels, drawn = view.beton.labels[view.rows], draw(view, epoch)
    for chosen, pixels in decoded(view, epoch, start_step, torch.float32 if on_cpu else torch.uint8, drawn=drawn):
        images = pixels if on_cpu else pixels.to(view.device, non_blocking=True)
        if isinstance(drawn, views.Drawn) and not on_cpu:
            images = views.recolour_bytes(view, drawn.of(chosen), images)
        elif not on_cpu:
            images = to_planes(images)
        yield Batch(images, torch.from_numpy(labels[chosen]).to(view.device), torch.from_numpy(chosen))


def decoded(
    view: View, epoch: int, start_step: int, dtype: torch.dtype, *, drawn: Draws | views.Drawn | None = None
) -> Iterator[tuple[Integers, Tensor]]:
    """Positions (b,) and images of every batch, on the CPU, in order; drawn: what `draw` gives, if it is at hand.

    float32: (b, 3, h, w) in [0, 1]; uint8: (b, h, w, 3), in pinned memory where the view's device is another one.
    Two views are (2b, 3, h, w) as either; as uint8 they are cut and nothing else.
    """
    n = len(view.rows)
    visited = draws.order(n, seed=view.seed, epoch=epoch, shuffle=view.shuffle)
    drawn = draw(view, epoch) if drawn is None else drawn
    waiting: deque[Pending] = deque()
    try:
        for step in range(start_step, draws.steps(n, view.batch_size, view.drop_last)):
            chosen = draws.share(visited, step, batch_size=view.batch_size, rank=view.rank, world_size=view.world_size)
            waiting.append(begin(view, drawn, chosen, dtype))
            if len(waiting) > AHEAD:
                yield finish(waiting.popleft())
        while waiting:
            yield finish(waiting.popleft())
    finally:
        for pending in waiting:
            for task in pending.tasks:
                task.cancel()


def draw(view: View, epoch: int) -> Draws | views.Drawn:
    """Crop boxes and flips of an epoch, or its two views. Without a crop in the augmentation: the evaluation crop."""
    file = view.beton
    heights, widths = file.heights[view.rows], file.widths[view.rows]
    if view.views is not None:
        return views.draw(view.views, heights, widths, seed=view.seed, epoch=epoch)
    if "resized_crop" in view.augmentation:
        boxes = draws.resized_crop_boxes(heights, widths, seed=view.seed, epoch=epoch)
    elif "crop" in view.augmentation:
        boxes = draws.shifted_boxes(heights, widths, seed=view.seed, epoch=epoch)
    else:
        boxes = draws.centre_boxes(heights, widths)
    mirrored = np.zeros(len(view.rows), bool)
    if "flip" in view.augmentation:
        mirrored = draws.flips(len(view.rows), seed=view.seed, epoch=epoch)
    return Draws(boxes, mirrored)


def begin(view: View, drawn: Draws | views.Drawn, chosen: Integers, dtype: torch.dtype) -> Pending:
    """Hand the batch's images to the threads."""
    side = view.resolution
    n = 2 * len(chosen) if view.views else len(chosen)
    if dtype == torch.uint8:
        pinned = torch.device(view.device).type == "cuda"
        shape = (n, 3, side, side) if view.views else (n, side, side, 3)
        pixels = torch.empty(shape, dtype=dtype, pin_memory=pinned)
    else:
        pixels = buffers.empty((n, 3, side, side))
    parts = slices(len(chosen), -(-len(chosen) // GRAIN))
    work = partial(decode_part, view, drawn, chosen, pixels.numpy())
    return Pending(chosen, pixels, submit(work, parts, threads=view.threads))


def decode_part(
    view: View, drawn: Draws | views.Drawn, chosen: Integers, out: NDArray[np.generic], part: slice
) -> None:
    """Decode the images of one slice of a batch into `out`. Raises DataError naming a damaged image."""
    file, positions = view.beton, chosen[part]
    stored = file.buffer, file.pointers, file.lengths, file.jpeg, file.heights, file.widths, view.rows[positions]
    if isinstance(drawn, views.Drawn):
        damaged = views.decode_views(
            view, stored, drawn.of(positions), out[: len(chosen)][part], out[len(chosen) :][part]
        )
    elif out.dtype == np.uint8:
        damaged = decode(*stored, drawn.boxes[positions], drawn.mirrored[positions], out[part])
    else:
        damaged = decode_planes(*stored, drawn.boxes[positions], drawn.mirrored[positions], UNIT_LEVELS, out[part])
    check(file.path, damaged)


def finish(pending: Pending) -> tuple[Integers, Tensor]:
    """The batch, once its last image is decoded."""
    for task in pending.tasks:
        task.result()
    return pending.chosen, pending.pixels


def to_planes(images: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 to (b, 3, h, w) float32 in [0, 1], contiguous, on the same device."""
    # A tensor divisor, as in resident.gather.
    return images.permute(0, 3, 1, 2).contiguous().float() / torch.tensor(255.0, device=images.device)
