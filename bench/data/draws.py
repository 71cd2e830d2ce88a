"""Order and augmentation of an epoch, drawn for all examples at once from (seed, epoch).

Nothing here depends on batch size, threads, ranks or where an epoch is resumed. Each kind of draw has a generator
of its own (numpy's Philox), so that asking for flips does not change the crops.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.data.records import Integers

ORDER, CROP, FLIP, RESIZED_CROP = range(4)
CENTRE_RATIO = 224 / 256  # side of the evaluation crop over the shorter side: Resize(256), CenterCrop(224)
TRIES = 10  # of a random resized crop, as in torchvision
CHUNK = 65_536  # examples per step of a vectorised draw: bounds its memory on ImageNet


def generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    """The generator of one kind of draw in one epoch."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, purpose])))


def order(n: int, *, seed: int, epoch: int, shuffle: bool) -> Integers:
    """Positions 0..n-1 in the order in which the epoch visits them."""
    if not shuffle:
        return np.arange(n, dtype=np.int64)
    return generator(seed, epoch, ORDER).permutation(n).astype(np.int64)


def offsets(n: int, *, pad: int, seed: int, epoch: int) -> NDArray[np.int32]:
    """(n, 2) shifts down and right in [-pad, pad]: a random crop of the image padded by `pad` pixels a side."""
    return generator(seed, epoch, CROP).integers(-pad, pad, size=(n, 2), dtype=np.int32, endpoint=True)


def flips(n: int, *, seed: int, epoch: int) -> NDArray[np.bool_]:
    """(n,) True where the example is mirrored, with probability 1/2."""
    return generator(seed, epoch, FLIP).integers(0, 2, size=n, dtype=np.uint8).astype(bool)


def centre_boxes(heights: Integers, widths: Integers) -> NDArray[np.int32]:
    """(n, 4) top, left, height, width of the central square of CENTRE_RATIO times the shorter side."""
    side = _square_side(heights, widths)
    return np.stack([(heights - side) // 2, (widths - side) // 2, side, side], axis=1).astype(np.int32)


def shifted_boxes(heights: Integers, widths: Integers, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """(n, 4) the square of `centre_boxes` at a uniformly random place: Resize(256), RandomCrop(224)."""
    side = _square_side(heights, widths)
    draws = generator(seed, epoch, CROP).random((len(heights), 2))
    top = (draws[:, 0] * (heights - side + 1)).astype(np.int64)
    left = (draws[:, 1] * (widths - side + 1)).astype(np.int64)
    return np.stack([top, left, side, side], axis=1).astype(np.int32)


def resized_crop_boxes(
    heights: Integers,
    widths: Integers,
    *,
    seed: int,
    epoch: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    purpose: int = RESIZED_CROP,
) -> NDArray[np.int32]:
    """(n, 4) top, left, height, width of Inception-style crops: area uniform in `scale`, aspect log-uniform in `ratio`.

    The first of ten tries that fits inside the image; failing all, the largest central crop within `ratio`, as
    torchvision.transforms.RandomResizedCrop does. Szegedy et al. 2015, arXiv:1409.4842.
    """
    draw = generator(seed, epoch, purpose)
    boxes = np.empty((len(heights), 4), dtype=np.int32)
    for start in range(0, len(heights), CHUNK):
        h, w = heights[start : start + CHUNK], widths[start : start + CHUNK]
        uniform = draw.random((len(h), 2 * TRIES + 2))
        area = (h * w)[:, None] * (scale[0] + (scale[1] - scale[0]) * uniform[:, :TRIES])
        low, high = np.log(ratio)
        aspect = np.exp(low + (high - low) * uniform[:, TRIES : 2 * TRIES])
        tried_w = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        tried_h = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = (tried_w > 0) & (tried_w <= w[:, None]) & (tried_h > 0) & (tried_h <= h[:, None])
        first = (np.arange(len(h)), fits.argmax(axis=1))
        fallback_h, fallback_w = _largest_within(h, w, ratio)
        found = fits.any(axis=1)
        crop_h = np.where(found, tried_h[first], fallback_h)
        crop_w = np.where(found, tried_w[first], fallback_w)
        top = np.where(found, uniform[:, -2] * (h - crop_h + 1), (h - crop_h) // 2).astype(np.int64)
        left = np.where(found, uniform[:, -1] * (w - crop_w + 1), (w - crop_w) // 2).astype(np.int64)
        boxes[start : start + CHUNK] = np.stack([top, left, crop_h, crop_w], axis=1)
    return boxes


def _square_side(heights: Integers, widths: Integers) -> Integers:
    return np.maximum(np.rint(CENTRE_RATIO * np.minimum(heights, widths)).astype(np.int64), 1)


def _largest_within(heights: Integers, widths: Integers, ratio: tuple[float, float]) -> tuple[Integers, Integers]:
    """Height and width of the largest box of the image whose aspect lies in `ratio`."""
    crop_h = np.minimum(heights, np.rint(widths / ratio[0]).astype(np.int64))
    crop_w = np.minimum(widths, np.rint(heights * ratio[1]).astype(np.int64))
    return crop_h, crop_w


def steps(n: int, batch_size: int, drop_last: bool) -> int:
    """Batches of an epoch over n examples."""
    return n // batch_size if drop_last else -(-n // batch_size)


def share(visited: Integers, step: int, *, batch_size: int, rank: int, world_size: int) -> Integers:
    """This rank's contiguous slice of the global batch `step` of the visited positions, in the same order.

    Slices differ by at most one example. A last batch of fewer examples than ranks is every rank's as a whole, so
    that none is left without: the training loop weights slices by their size and whole batches alike.
    """
    batch = visited[step * batch_size : (step + 1) * batch_size]
    if len(batch) < world_size:
        return batch
    return batch[len(batch) * rank // world_size : len(batch) * (rank + 1) // world_size]
