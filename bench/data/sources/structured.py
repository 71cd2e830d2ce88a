"""Scenes whose label is a count, a distance or a pose, as the structured tasks of VTAB (Zhai et al. 2019) define it.

arXiv:1910.04867. The splits that VTAB draws by TensorFlow's shuffled files are fixed draws of the same sizes here.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from bench.data.errors import DataError
from bench.data.places import looked_for
from bench.data.records import Bytes, Images, Integers
from bench.data.sources.files import Options, check, held_out, image_files, missing, one_line, opened

FEWEST_OBJECTS = 3  # in a scene of CLEVR; the most are 10
VEHICLES = ("Car", "Van", "Truck")
DISTANCES_M = (8.0, 20.0, 999.0)  # upper ends of the classes near, middle and far; the last class is "no vehicle"
KITTI_TEST = 711 / 7481  # of the annotated images
POSES = 16  # classes that the 32 positions and the 40 orientations of dSprites are grouped into


def clevr_count(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Number of objects in a scene of CLEVR v1.0, 3 to 10 as classes 0 to 7; the official `val` scenes test.

    Johnson et al. 2017, arXiv:1612.06890.
    """
    part = "train" if split == "train" else "val"
    data = opened("clevr_count", "CLEVRClassification", raw_root, split=part, download=download)
    return image_files(data._image_files, np.asarray(data._labels, dtype=np.int64) - FEWEST_OBJECTS)


def kitti_distance(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Distance of the closest car, van or truck in a street scene of KITTI: up to 8 m, up to 20 m, farther, none.

    The annotated images only; a fixed draw of 711 of them tests. They are frames of drives, and frames of one drive
    are in both splits. Geiger et al. 2012, doi:10.1109/CVPR.2012.6248074.
    """
    data = opened("kitti_distance", "Kitti", raw_root, train=True, download=download)
    try:
        pairs = sorted(zip(data.images, (_closest_vehicle(Path(path)) for path in data.targets), strict=True))
    except (OSError, ValueError, IndexError) as error:
        raise missing("kitti_distance", raw_root, one_line(error)) from error
    labels = np.array([label for _, label in pairs], dtype=np.int64)
    rows = held_out(labels, round(len(labels) * KITTI_TEST), split)
    return image_files([pairs[i][0] for i in rows], labels[rows])


def dsprites_location(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Horizontal position of a sprite, in 16 bins; a fixed tenth of every bin tests."""
    return _dsprites("dsprites_location", raw_root, split, factor=4, values=32)


def dsprites_orientation(
    split: str, raw_root: Path, *, download: bool = False, options: Options | None = None
) -> Images:
    """Orientation of a sprite, in 16 bins; a fixed tenth of every bin tests."""
    return _dsprites("dsprites_orientation", raw_root, split, factor=3, values=40)


def _closest_vehicle(path: Path) -> int:
    """Class of a KITTI annotation file, one object a line: the type first, its distance in metres the 14th entry."""
    lines = [line.split() for line in path.read_text().splitlines()]
    closest = min((float(line[13]) for line in lines if line[0] in VEHICLES), default=np.inf)
    return int(np.searchsorted(DISTANCES_M, closest, side="left"))


def _dsprites(name: str, raw_root: Path, split: str, *, factor: int, values: int) -> Images:
    """The sprites (64 x 64) with one of their factors as label. The whole file, 3 GB of pixels, is held in memory.

    Matthey et al. 2017, dSprites: disentanglement testing sprites.
    """
    check(name, raw_root)
    path = looked_for(name, raw_root)[0]
    try:
        pixels, factors = _sprites(path)
        labels = np.asarray(factors[:, factor] * POSES // values, dtype=np.int64)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise missing(name, raw_root, one_line(error)) from error
    if len(pixels) != len(labels):
        raise DataError(f"{path}: {len(pixels)} images, {len(labels)} labels. Replace it")
    rows = held_out(labels, len(labels) // 10, split)
    # The file has pixels of 0 and 1.
    return Images(labels=labels[rows], image=lambda i: np.repeat(255 * pixels[rows[i]][:, :, None], 3, axis=2))


@functools.lru_cache(maxsize=1)
def _sprites(path: Path) -> tuple[Bytes, Integers]:
    with np.load(path) as file:
        return file["imgs"], file["latents_classes"]
