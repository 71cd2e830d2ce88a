"""Rendered scenes: drawn once into files in the layout of PASCAL VOC, then read as VOC is."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from bench.data import beton, scenes
from bench.data.errors import DataError
from bench.data.records import Bytes, Images, Reals
from bench.data.sources import embedded, voc
from bench.data.sources.files import Options, one_line

NAMES = tuple("0123456789")
COUNTS = {"trainval": 600, "test": 200}
SIZE = (64, 64)
QUALITY = 96  # of JPEG
SEED = 20_220_601


def scenes_detection(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Digits on textured backgrounds, with boxes: 600 scenes train, 200 with other handwriting test."""
    return drawn(raw_root / "digit_scenes", split, "detection", NAMES, counts=COUNTS, size=SIZE)


def scenes_segmentation(
    split: str, raw_root: Path, *, download: bool = False, options: Options | None = None
) -> Images:
    """The scenes of `scenes_detection`, with masks: background, ten digits, and a border that is not counted."""
    return drawn(raw_root / "digit_scenes", split, "segmentation", NAMES, counts=COUNTS, size=SIZE)


def drawn(
    root: Path, split: str, task: str, names: Sequence[str], *, counts: dict[str, int], size: tuple[int, int]
) -> Images:
    """A split of the scenes under `root`, which are drawn if they are not there yet.

    counts: scenes of the lists trainval and test; size: height and width. Training digits are in no test scene.
    Raises DataError where they cannot be written, or were damaged since.
    """
    from torchvision import datasets

    folder = root / "VOCdevkit"
    if not folder.is_dir():
        write(folder, names, counts=counts, size=size)
    remedy = f"Delete {folder} and run bench.prepare again"
    kind = datasets.VOCDetection if task == "detection" else datasets.VOCSegmentation
    try:
        part: Any = kind(root=str(root), year="2007", image_set="trainval" if split == "train" else "test")
    except (RuntimeError, OSError) as error:
        raise DataError(f"{folder}: not what was drawn there ({one_line(error)}). {remedy}") from error
    reader = voc.detection if task == "detection" else voc.segmentation
    return reader([part], names, remedy=remedy)


def write(folder: Path, names: Sequence[str], *, counts: dict[str, int], size: tuple[int, int]) -> None:
    """Draw all scenes into `folder`, which appears whole; of two processes that draw, the first one wins."""
    part = folder.with_name(f".{folder.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beton.sweep(folder.parent)
        _fill(part / "VOC2007", names, counts=counts, size=size)
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise DataError(f"{folder}: the scenes cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(year: Path, names: Sequence[str], *, counts: dict[str, int], size: tuple[int, int]) -> None:
    """VOC's folder of one year. A scene depends on its list and its number there alone."""
    for kind in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (year / kind).mkdir(parents=True)
    number = 0
    for part, count in counts.items():
        digits = embedded.digits("test" if part == "test" else "train", year)
        members = [np.flatnonzero(digits.labels == digit) for digit in range(10)]

        def strokes(label: int, draw: np.random.Generator) -> Bytes:
            own = members[label % 10]  # noqa: B023
            return digits.image(int(own[draw.integers(len(own))]))[:, :, 0]  # noqa: B023

        stems = []
        for i in range(count):
            sequence = np.random.SeedSequence([SEED, part == "test", i])
            scene = scenes.scene(np.random.Generator(np.random.Philox(sequence)), size, len(names), strokes)
            number += 1
            stems.append(f"{number:06}")
            save(year, stems[-1], scene, names)
        for kind in ("Main", "Segmentation"):
            (year / "ImageSets" / kind / f"{part}.txt").write_text("".join(f"{stem}\n" for stem in stems))


def save(year: Path, stem: str, scene: scenes.Scene, names: Sequence[str]) -> None:
    """The three files of a scene."""
    Image.fromarray(scene.image).save(year / "JPEGImages" / f"{stem}.jpg", quality=QUALITY, subsampling=0)
    mask = Image.fromarray(scene.mask)
    mask.putpalette(palette())
    mask.save(year / "SegmentationClass" / f"{stem}.png")
    (year / "Annotations" / f"{stem}.xml").write_bytes(annotation(stem, scene.image.shape[:2], scene.objects, names))


def annotation(stem: str, size: Sequence[int], objects: Reals, names: Sequence[str]) -> bytes:
    """VOC's XML: pixels are counted from 1, the last one included."""
    root = ElementTree.Element("annotation")
    _add(root, "filename", f"{stem}.jpg")
    shape = _add(root, "size")
    for name, value in zip(("width", "height", "depth"), (size[1], size[0], 3), strict=True):
        _add(shape, name, value)
    for left, top, right, bottom, label, difficult in objects.astype(np.int64).tolist():
        element = _add(root, "object")
        _add(element, "name", names[label])
        _add(element, "difficult", difficult)
        box = _add(element, "bndbox")
        for name, value in zip(("xmin", "ymin", "xmax", "ymax"), (left + 1, top + 1, right, bottom), strict=True):
            _add(box, name, value)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root))


def palette() -> bytes:
    """VOC's 256 colours, in which the bits of an index are spread over red, green and blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def _add(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    element.text = None if text is None else str(text)
    return element
