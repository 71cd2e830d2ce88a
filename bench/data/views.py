"""Two views of every image, as contrastive pre-training compares them (see bench.recipe.Views).

A random resized crop, a flip, colour jitter, grey, blur: SimCLR (Chen et al. 2020, arXiv:2002.05709) and MoCo v2 (Chen
et al. 2020, arXiv:2003.04297). All draws of an epoch are made at once, each kind and view with a generator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.data import buffers, draws
from bench.data.records import Integers, Reals, View
from bench.data.views_batched import cut_views, recolour_views
from bench.data.views_colours import recolour_planes
from bench.data.views_crops import cut_rows, cut_stored
from bench.spec import Views

# Kinds of draws, each of the first view and, KINDS further on, of the second; bench.data.draws has those before FIRST.
FIRST, KINDS = 64, 8
BOX, FLIP, JITTERED, ORDER, FACTORS, GREY, BLURRED, SIGMA = range(FIRST, FIRST + KINDS)
ORDERS = np.array(list(permutations(range(4))), np.int8)


class Drawn(NamedTuple):
    """What happens to views: boxes (m, 4) int32 top, left, height, width; mirrored (m,) bool; order (m, 4) int8, the
    operations of the jitter one after another, -1 for none; factors (m, 4) float32, by operation: of brightness,
    contrast and saturation, and the shift of hue in turns; grey (m,) bool; sigmas (m,) float32, 0 for no blur.

    Of an epoch: with (2, n) in place of m.
    """

    boxes: NDArray[np.int32]
    mirrored: NDArray[np.bool_]
    order: NDArray[np.int8]
    factors: Reals
    grey: NDArray[np.bool_]
    sigmas: Reals

    @property
    def colours(self) -> tuple[NDArray[np.int8], Reals, NDArray[np.bool_], Reals]:
        return self.order, self.factors, self.grey, self.sigmas

    def of(self, chosen: Integers) -> Drawn:
        """Of an epoch's: those of a batch of b examples, (2b,): their first views, then their second ones."""
        return Drawn._make(field[:, chosen].reshape(-1, *field.shape[2:]) for field in self)


def draw(views: Views, heights: Integers, widths: Integers, *, seed: int, epoch: int) -> Drawn:
    """The epoch's draws for n images of these sizes: a function of (seed, epoch, position) alone."""
    first, second = (_draw(views, heights, widths, seed, epoch, shift) for shift in (0, KINDS))
    return Drawn._make(np.array(pair) for pair in zip(first, second, strict=True))


def _draw(views: Views, heights: Integers, widths: Integers, seed: int, epoch: int, shift: int) -> Drawn:
    n = len(heights)

    def uniform(kind: int, *shape: int) -> NDArray[np.float64]:
        return draws.generator(seed, epoch, kind + shift).random((n, *shape))

    boxes = draws.resized_crop_boxes(
        heights, widths, seed=seed, epoch=epoch, scale=views.crop_scale, purpose=BOX + shift
    )
    orders = ORDERS[draws.generator(seed, epoch, ORDER + shift).integers(0, len(ORDERS), size=n)]
    jittered = uniform(JITTERED) < views.jitter_share
    # Strengths are at most 1, so that no factor is negative.
    factors = np.array([1, 1, 1, 0]) + np.array(views.jitter) * (2 * uniform(FACTORS, 4) - 1)
    low, high = views.blur_sigma
    sigmas = np.where(uniform(BLURRED) < views.blur_share, low + (high - low) * uniform(SIGMA), 0)
    return Drawn(
        boxes=boxes,
        mirrored=uniform(FLIP) < views.flip_share,
        order=np.where(jittered[:, None], orders, np.int8(-1)),
        factors=factors.astype(np.float32),
        grey=uniform(GREY) < views.grey_share,
        sigmas=sigmas.astype(np.float32),
    )


def blur_radius(views: Views, side: int) -> int:
    """Pixels on each side that the Gaussian reaches: three standard deviations of the widest, less than the view."""
    return min(math.ceil(3 * views.blur_sigma[1]), (side - 1) // 2)


def of_resident(view: View, images: Tensor, epoch: int) -> Callable[[Integers], Tensor]:
    """Of positions (b,) of the split, their views (2b, 3, s, s); images: the decoded file (n, 3, s, s) uint8."""
    assert view.views is not None
    side, radius = images.shape[2], blur_radius(view.views, images.shape[2])
    sides = np.full(len(view.rows), side)
    drawn = draw(view.views, sides, sides, seed=view.seed, epoch=epoch)

    def views_of(chosen: Integers) -> Tensor:
        ours, rows = drawn.of(chosen), view.rows[chosen]
        if images.device.type == "cpu":
            out = buffers.empty((2 * len(chosen), 3, side, side))
            cut_rows(images.numpy(), rows, ours.boxes, ours.mirrored, out.numpy())
            recolour_planes(out.numpy(), *ours.colours, radius)
            return out
        return recolour_views(cut_views(images, np.tile(rows, 2), ours.boxes, ours.mirrored), *ours.colours, radius)

    return views_of


def decode_views(
    view: View, stored: tuple[Any, ...], drawn: Drawn, first: NDArray[np.generic], second: NDArray[np.generic]
) -> int:
    """Fill first and second (b, 3, s, s) with the views of b images, decoded once; -1, or the damaged row.

    Crops are rounded to bytes, as PIL's. float32: the views, in [0, 1]; uint8: their crops, for `recolour_bytes`.
    stored: the arguments of bench.data.decode.decode up to rows; drawn: of the first, then of the second views.
    """
    assert view.views is not None
    as_bytes, radius = first.dtype == np.uint8, blur_radius(view.views, view.resolution)
    damaged = cut_stored(stored, drawn.boxes, drawn.mirrored, np.float32(1 if as_bytes else 1 / 255), first, second)
    order, factors, grey, sigmas = drawn.colours
    if not as_bytes and damaged < 0:
        for images, part in (first, slice(len(first))), (second, slice(len(first), None)):
            recolour_planes(images, order[part], factors[part], grey[part], sigmas[part], radius)
    return int(damaged)


def recolour_bytes(view: View, drawn: Drawn, crops: Tensor) -> Tensor:
    """The views (2b, 3, s, s) of their crops uint8, on the device of the crops."""
    assert view.views is not None
    return recolour_views(crops.float().mul_(1 / 255), *drawn.colours, blur_radius(view.views, view.resolution))
