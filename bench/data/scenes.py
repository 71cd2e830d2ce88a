"""Scenes for segmentation and detection: handwritten digits on textured backgrounds, with exact masks and boxes.

Pure functions of a seed; bench.data.sources.scenes writes what they draw in the layout of PASCAL VOC.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bench.data.records import Bytes, Reals

BORDER = 255  # in a mask: not counted
MOST_DIGITS = 4
SIDES = (14, 26)  # of an enlarged digit, in pixels
TINY_SIDES, TINY = (9, 12), 0.1  # of digits that are difficult to see, and how many of them there are
# Share of the smaller digit's square that is covered: usually, of some digits, and how many those are.
OVERLAP, COVERED, COVERING = 0.1, 0.6, 0.1
PLACES = 30  # tries to find room for a digit
INK = 0.5  # opacity from which a pixel belongs to a digit
HIDDEN = 0.6  # a digit of which less is seen is difficult
SPECK = 12  # pixels: a digit of which fewer are seen is no object
CONTRAST = 0.3  # of a digit's luminance to the mean of its background, in [0, 1]
LUMINANCE = np.array([0.299, 0.587, 0.114])

Generator = np.random.Generator
Floats = NDArray[np.float64]


class Scene(NamedTuple):
    """image (h, w, 3); mask (h, w): 0 background, class + 1, 255 the pixels next to objects; objects (m, 6) as in
    bench.data.records.Images: the tight boxes of the pixels that are seen. m is at least 1.
    """

    image: Bytes
    mask: Bytes
    objects: Reals


class Digit(NamedTuple):
    """opacity (side, side) in [0, 1] at (top, left) in a colour."""

    opacity: Floats
    top: int
    left: int
    colour: Floats
    label: int


def scene(draw: Generator, size: tuple[int, int], classes: int, strokes: Callable[[int, Generator], Bytes]) -> Scene:
    """A scene of `size` (height, width) pixels with 1 to 4 digits of random classes in [0, classes).

    strokes(c, draw): a handwritten digit c mod 10 as (8, 8) bytes. Up to ten classes have random bright colours, each
    of more has a colour of its own. Tiny digits and those mostly hidden by later ones are difficult.
    """
    image = background(draw, size)
    owner = np.zeros(size, np.int64)  # of every pixel: 1 + position of the digit seen there
    digits: list[Digit] = []
    for _ in range(1 + int(draw.integers(MOST_DIGITS))):
        digit = _placed(draw, size, classes, strokes, digits, image)
        if digit is None:
            continue
        digits.append(digit)
        h, w = digit.opacity.shape
        square = np.s_[digit.top : digit.top + h, digit.left : digit.left + w]
        alpha = digit.opacity[:, :, None]
        image[square] = (1 - alpha) * image[square] + alpha * digit.colour
        owner[square][digit.opacity >= INK] = len(digits)
    image += draw.normal(0, 0.02, size=image.shape)
    mask = np.zeros(size, np.uint8)
    mask[ndimage.binary_dilation(owner > 0, np.ones((3, 3), bool))] = BORDER
    objects = []
    for position, digit in enumerate(digits, start=1):
        seen = owner == position
        if seen.sum() < SPECK:
            mask[seen] = BORDER
            continue
        mask[seen] = digit.label + 1
        hidden = seen.sum() < HIDDEN * (digit.opacity >= INK).sum()
        objects.append((*box(seen), digit.label, hidden or max(digit.opacity.shape) <= TINY_SIDES[1]))
    return Scene(np.rint(255 * image.clip(0, 1)).astype(np.uint8), mask, np.array(objects, np.float32))


def box(seen: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels that are True, the last two exclusive."""
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def background(draw: Generator, size: tuple[int, int]) -> Floats:
    """(height, width, 3) in [0, 1]: a gradient, stripes, a checkerboard or smooth noise of two or more dark colours."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    first, second = draw.uniform(0.0, 0.5, size=(2, 3))
    angle, phase = draw.uniform(0, 2 * np.pi, size=2)
    across = np.cos(angle) * x + np.sin(angle) * y
    family = int(draw.integers(4))
    if family == 0:
        share = (across - across.min()) / np.ptp(across)
    elif family == 1:
        share = (1 + np.sin(2 * np.pi * across / draw.uniform(5, 16) + phase)) / 2
    elif family == 2:
        cell = draw.uniform(5, 14)
        share = ((np.floor(y / cell + phase) + np.floor(x / cell)) % 2).astype(np.float64)
    else:
        return np.stack([_smooth(draw.uniform(0, 0.55, size=(6, 6)), size) for _ in range(3)], axis=2)
    mixed: Floats = first + share[:, :, None] * (second - first)
    return mixed


def _placed(
    draw: Generator,
    size: tuple[int, int],
    classes: int,
    strokes: Callable[[int, Generator], Bytes],
    others: list[Digit],
    image: Floats,
) -> Digit | None:
    """A digit at a place where it hides little of the others; None where no place is found, but for the first one."""
    label = int(draw.integers(classes))
    low, high = TINY_SIDES if others and draw.random() < TINY else SIDES
    side = min(int(draw.integers(low, high + 1)), *size)
    allowed = COVERED if draw.random() < COVERING else OVERLAP
    thick = _smooth(strokes(label, draw) / 255, (side, side))
    opacity = ((thick - 0.25) / 0.35).clip(0, 1)
    for _ in range(PLACES):
        top, left = (int(draw.integers(extent - side + 1)) for extent in size)
        if all(_covers(top, left, side, other) <= allowed for other in others):
            around = float((image[top : top + side, left : left + side] @ LUMINANCE).mean())
            return Digit(opacity, top, left, _colour(draw, label, classes, around), label)
    return None


def _covers(top: int, left: int, side: int, other: Digit) -> float:
    """Shared part of two digits' squares over the smaller one."""
    theirs = len(other.opacity)
    high = min(top + side, other.top + theirs) - max(top, other.top)
    wide = min(left + side, other.left + theirs) - max(left, other.left)
    return max(high, 0) * max(wide, 0) / min(side, theirs) ** 2


def _colour(draw: Generator, label: int, classes: int, around: float) -> Floats:
    hue = draw.random() if classes <= 10 else (label * 0.381966) % 1
    saturation = draw.uniform(0.2, 0.7) if classes <= 10 else 0.6
    colour = np.array(colorsys.hsv_to_rgb(hue, saturation, 1.0))
    # Blue is dark to the eye and to a grey camera: whiten it until it stands out.
    missing = (around + CONTRAST - colour @ LUMINANCE) / (1 - colour @ LUMINANCE)
    whitened: Floats = colour + max(0.0, min(1.0, missing)) * (1 - colour)
    return whitened


def _smooth(coarse: Floats, size: tuple[int, int]) -> Floats:
    """The array enlarged to (height, width) by bicubic interpolation."""
    grown = Image.fromarray(coarse.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(grown, dtype=np.float64)
