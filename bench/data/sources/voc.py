"""PASCAL VOC's layout: JPEGImages, Annotations, SegmentationClass, and lists of images under ImageSets.

Everingham et al. 2010, doi:10.1007/s11263-009-0275-4. Lists of files come from torchvision's sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from bench.data.errors import DataError
from bench.data.places import looked_for
from bench.data.records import Bytes, Images, Reals
from bench.data.sources.files import Options, one_line, opened, read_rgb

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
IGNORED = 255  # in a mask: not counted
UNPACK = "Replace it, or unpack the archive of that year again"


def voc2007(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Detection: `trainval` of 2007 and of 2012 train, `test` of 2007 tests. Difficult objects are kept, and marked."""
    parts = (("2007", "trainval"), ("2012", "trainval")) if split == "train" else (("2007", "test"),)
    sets = [_part("voc2007", "VOCDetection", raw_root, year, part, download) for year, part in parts]
    return detection(sets, CLASSES, remedy=UNPACK)


def voc2012(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Segmentation: `train` trains, `val` tests. Class 0 is the background."""
    part = "train" if split == "train" else "val"
    return segmentation([_part("voc2012", "VOCSegmentation", raw_root, "2012", part, download)], CLASSES, remedy=UNPACK)


def detection(sets: Sequence[Any], names: Sequence[str], *, remedy: str) -> Images:
    """The images and boxes of torchvision's VOCDetection sets; a label is the class of the largest object, or 0.

    Every annotation is read here, images when they are asked for.
    Raises DataError naming the file that is damaged, or has an object that is none of the `names`.
    """
    paths = [path for each in sets for path in each.images]
    found = [objects(Path(path), names, remedy=remedy) for each in sets for path in each.annotations]
    labels = np.array([largest(rows) for rows in found], dtype=np.int64)
    return Images(labels=labels, image=lambda i: read_rgb(Path(paths[i])), objects=found.__getitem__)


def segmentation(sets: Sequence[Any], names: Sequence[str], *, remedy: str) -> Images:
    """The images and masks of torchvision's VOCSegmentation sets; a label is the most frequent class but for the
    background, or 0.

    Every mask is read here once, and again when it is asked for.
    Raises DataError naming the mask that is missing, damaged, or holds something else than 0 to len(names) and 255.
    """
    paths = [path for each in sets for path in each.images]
    masks = [Path(path) for each in sets for path in each.masks]

    def read(i: int) -> Bytes:
        return mask(masks[i], len(names), remedy=remedy)

    labels = np.array([most_frequent(read(i)) for i in range(len(masks))], dtype=np.int64)
    return Images(labels=labels, image=lambda i: read_rgb(Path(paths[i])), masks=read)


def objects(path: Path, names: Sequence[str], *, remedy: str) -> Reals:
    """Objects of an annotation, (m, 6) as in bench.data.records.Images.

    VOC counts pixels from 1 and includes the last one: 1 to 3 becomes 0.0 to 3.0. A few coordinates are fractions.
    """
    try:
        rows = [_row(element, names) for element in ElementTree.parse(path).getroot().findall("object")]
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: not a readable annotation ({one_line(error)}). {remedy}") from error
    return np.array(rows, dtype=np.float32).reshape(-1, 6)


def _row(element: ElementTree.Element, names: Sequence[str]) -> tuple[float, ...]:
    """One object. Raises ValueError for an unknown class, a number that is none, and a box without area."""
    name = (element.findtext("name") or "").strip()
    if name not in names:
        raise ValueError(f"an object of class {name!r}, known: {', '.join(names)}")
    left, top, right, bottom = (
        float(element.findtext(f"bndbox/{side}") or "nan") for side in ("xmin", "ymin", "xmax", "ymax")
    )
    if not (0 < right - left + 1 < np.inf and 0 < bottom - top + 1 < np.inf):
        raise ValueError(f"{name}: a box from ({left}, {top}) to ({right}, {bottom})")
    difficult = int(element.findtext("difficult") or 0)
    return left - 1, top - 1, right, bottom, names.index(name), difficult != 0


def mask(path: Path, classes: int, *, remedy: str) -> Bytes:
    """A mask (h, w): the palette's indices, 0 to `classes` and 255."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise OSError(f"an image of mode {image.mode}, not of palette indices")
            found: Bytes = np.asarray(image)
    except (OSError, SyntaxError) as error:  # PIL's word for a broken PNG
        raise DataError(f"{path}: not a readable mask ({one_line(error)}). {remedy}") from error
    foreign = np.setdiff1d(found, [*range(classes + 1), IGNORED])
    if len(foreign):
        raise DataError(f"{path}: class {foreign[0]} in a mask of classes 0 to {classes} and {IGNORED}. {remedy}")
    return found


def largest(rows: Reals) -> int:
    """Class of the object with the largest box, the first one of equals; 0 if there is none."""
    if len(rows) == 0:
        return 0
    return int(rows[np.argmax((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])), 4])


def most_frequent(found: Bytes) -> int:
    """The class of most pixels but for background and those not counted, the lowest one of equals; 0 if none."""
    counts = np.bincount(found.ravel(), minlength=IGNORED + 1)[1:IGNORED]
    return int(counts.argmax()) + 1 if counts.any() else 0


def _part(name: str, kind: str, raw_root: Path, year: str, part: str, download: bool) -> Any:
    """torchvision's set of one year and list, asked to fetch only what is not there: it would unpack it again."""
    there = all(path.exists() for path in looked_for(name, raw_root))
    return opened(name, kind, raw_root, year=year, image_set=part, download=download and not there)
