"""Sets that need no files: handwritten digits of scikit-learn, and letters and digits rendered from fonts."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from bench.data import glyphs
from bench.data.records import Bytes, Images, Integers
from bench.data.sources.files import Options, grey
from bench.data.subset import split_validation

TEST_DIGITS = 500


def digits(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Handwritten digits of scikit-learn (8 x 8, the UCI optical digits), 1,297 to train on and 500 to test."""
    return grey(*_digits(split))


def digits_inverted(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """The digits, dark on bright."""
    pixels, labels = _digits(split)
    return grey(255 - pixels, labels)


def digits_noisy(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """The digits, fainter, over a striped background with clutter cut from other digits and Gaussian noise."""
    pixels, labels = _digits(split)
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, split == "test"])))
    n, h, w = pixels.shape
    y, x = np.mgrid[:h, :w]
    wave = draw.uniform(-1.5, 1.5, size=(2, n, 1, 1))
    stripes = 0.12 * (1 + np.sin(wave[0] * y + wave[1] * x + draw.uniform(0, 2 * np.pi, size=(n, 1, 1))))
    clutter = np.roll(pixels[draw.permutation(n)], (h // 2, w // 2), axis=(1, 2)) * draw.uniform(0, 0.4, size=(n, 1, 1))
    noisy = 0.85 * pixels / 255 + stripes + clutter / 255 + draw.normal(0, 0.12, size=pixels.shape)
    return grey(np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8), labels)


def letters(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Letters A to Z rendered with jitter: 7,800 to train on, 1,300 to test, with separate draws."""
    return grey(*glyphs.render(glyphs.LETTERS, {"train": 7800, "test": 1300}[split], seed=_seed(1, split)))


def digit_glyphs(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Digits rendered like the letters: 1,297 to train on, 500 to test, with separate draws."""
    return grey(*glyphs.render(glyphs.DIGITS, {"train": 1297, "test": 500}[split], seed=_seed(2, split)))


@functools.cache
def _digits(split: str) -> tuple[Bytes, Integers]:
    from sklearn.datasets import load_digits

    data = load_digits()
    labels = data.target.astype(np.int64)
    chosen = split_validation(labels, TEST_DIGITS, "stratified")[split == "test"]
    # Counts of 0 to 16 pixels of a 4 x 4 block.
    return np.rint(data.images[chosen] * (255 / 16)).astype(np.uint8), labels[chosen]


def _seed(number: int, split: str) -> int:
    """A seed of its own for every rendered (set, split), so that no draw of training returns in the test."""
    return 2 * number + (split == "test")
