"""Images from satellites and microscopes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.errors import DataError
from bench.data.records import Images, Integers
from bench.data.sources.files import Options, check, held_out, image_files, missing, one_line, opened
from bench.data.sources.folders import class_folders

CHUNK_CACHE = 1 << 26  # bytes, of HDF5


def eurosat(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """EuroSAT (RGB), which has no official split: a fixed fifth of every class tests."""
    data = opened("eurosat", "EuroSAT", raw_root, download=download)
    return _fifth([path for path, _ in data.samples], np.asarray(data.targets, dtype=np.int64), split)


def resisc45(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """NWPU-RESISC45, which has no official split: a fixed fifth of every class tests, as many as in VTAB.

    Cheng et al. 2017, arXiv:1703.00121.
    """
    check("resisc45", raw_root)
    samples = class_folders("resisc45", raw_root / "NWPU-RESISC45")[1]
    return _fifth([path for path, _ in samples], np.array([label for _, label in samples], dtype=np.int64), split)


def pcam(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """PatchCamelyon: the official training and validation patches train, the test patches test.

    Veeling et al. 2018, arXiv:1806.03962. Reading its files needs the Python package h5py.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ModuleNotFoundError as error:
        raise DataError("pcam: its files need the Python package h5py: install it") from error
    names = {"train": ("train", "valid"), "test": ("test",)}[split]
    if download:
        for part in ("train", "val", "test"):
            opened("pcam", "PCAM", raw_root, split=part, download=True)
    check("pcam", raw_root)
    pixels: list[Any] = []
    labels: list[Integers] = []
    for name in names:
        stem = raw_root / "pcam" / f"camelyonpatch_level_2_split_{name}"
        try:
            # A compressed chunk larger than the default cache (1 MiB) would be unpacked anew for every patch.
            pixels.append(h5py.File(f"{stem}_x.h5", rdcc_nbytes=CHUNK_CACHE)["x"])
            with h5py.File(f"{stem}_y.h5") as file:
                labels.append(np.asarray(file["y"], dtype=np.int64).reshape(-1))
        except (OSError, KeyError) as error:
            raise missing("pcam", raw_root, one_line(error)) from error
    first = np.cumsum([0, *map(len, labels)])

    def image(i: int) -> Any:
        part = int(np.searchsorted(first, i, side="right")) - 1
        return np.asarray(pixels[part][i - first[part]], dtype=np.uint8)

    return Images(labels=np.concatenate(labels), image=image)


def _fifth(paths: list[Any], labels: Integers, split: str) -> Images:
    rows = held_out(labels, len(labels) // 5, split)
    return image_files([paths[i] for i in rows], labels[rows])
