"""Stand-ins: a few digits or texts in the shape of another set, so that what reads that set can run without it."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bench.catalog import DATASETS
from bench.data.errors import DataError
from bench.data.records import Bytes, Images, Texts
from bench.spec import Scalar

SCENE = (80, 96)  # height and width


def toy(
    split: str, raw_root: Path, *, download: bool = False, options: Mapping[str, Scalar] | None = None
) -> Images | Texts:
    """96 training and 32 test images with the classes and the side of the set that `of` names.

    An image of class c shows the handwritten digit c mod 10 in a colour of its own; the classes follow each other, so
    of a set with more classes than images the first ones are there. JPEG sets get images a fifth wider than high.
    Of sets for segmentation and detection: drawn scenes with one to four such digits, of random classes. Of text sets:
    see bench.data.text_stand_ins. Raises DataError for an unknown set.
    """
    from sklearn.datasets import load_digits

    name = str((options or {}).get("of"))
    if name not in DATASETS or not DATASETS[name].classes:
        raise DataError(f"toy(of={name}): there is no stand-in for it; name a set of the catalog with a fixed shape")
    of, entry = DATASETS[name], DATASETS["toy"]
    if of.vocabulary:
        from bench.data import text_stand_ins

        return text_stand_ins.texts(name, split, raw_root)
    if of.task != "classification":
        return _scenes(name, split, raw_root)
    digits = load_digits()
    examples = [np.flatnonzero(digits.target == digit) for digit in range(10)]
    count, first = (entry.train, 0) if split == "train" else (entry.test, entry.train)
    labels = np.arange(count, dtype=np.int64) % of.classes
    width = of.resolution if of.storage == "raw" else of.resolution * 6 // 5

    def image(i: int) -> Bytes:
        label = int(labels[i])
        row = examples[label % 10]
        # Test images are other handwriting than training images.
        strokes = digits.images[row[(first + i) % len(row)]] / 16
        colour = np.array(colorsys.hsv_to_rgb((label * 0.381966) % 1, 0.6, 1.0))
        pixels = np.rint(255 * strokes[:, :, None] * colour).astype(np.uint8)
        return np.asarray(Image.fromarray(pixels).resize((width, of.resolution), Image.Resampling.BILINEAR))

    return Images(labels=labels, image=image)


def _scenes(name: str, split: str, raw_root: Path) -> Images:
    """Scenes with the classes of the set `name`, those of JPEG sets wider than high, in its files' own layout."""
    from bench.data.sources import scenes, voc

    of, entry = DATASETS[name], DATASETS["toy"]
    objects = of.classes - (of.task == "segmentation")
    names = voc.CLASSES if objects == len(voc.CLASSES) else scenes.NAMES
    size = SCENE if of.storage == "jpg" else (of.resolution, of.resolution)
    counts = {"trainval": entry.train, "test": entry.test}
    return scenes.drawn(raw_root / f"toy_{name}", split, of.task, names, counts=counts, size=size)
