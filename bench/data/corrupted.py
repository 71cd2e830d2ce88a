"""CIFAR-10-C and CIFAR-100-C as published: per corruption one array of the test images at five severities.

Hendrycks and Dietterich 2019, arXiv:1903.12261. The archives (doi:10.5281/zenodo.2535967 and 3555552) are unpacked as
`raw/CIFAR-10-C/<corruption>.npy`, (50000, 32, 32, 3) uint8, severity 1 first, beside `labels.npy`, (50000,).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.catalog import DATASETS, LOADERS, load
from bench.corruptions import CORRUPTIONS, SEVERITIES
from bench.data.encode import resize_square
from bench.data.errors import DataError
from bench.data.records import Batch, Beton, Bytes, Integers, View
from bench.spec import Word

FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}
N, SIDE = 10_000, 32


def present(dataset: Word, data_root: Path) -> bool:
    """Are all published files of the set there?"""
    if dataset.name not in FOLDERS:
        return False
    names = (*CORRUPTIONS, "labels")
    return all((_folder(dataset, data_root) / f"{name}.npy").is_file() for name in names)


def corrupted(
    dataset: Word,
    corruption: str,
    severity: int,
    *,
    data_root: Path,
    resolution: int,
    batch_size: int,
    device: Any,
    loader: str = "resident",
    rows: Integers | None = None,
) -> Iterator[Batch]:
    """The test images under one corruption in batches, or those of the `rows` (n,), in their order.

    Images (b, 3, h, h) float32 in [0, 1] on the device, cropped and resized as `loader` does with the clean ones.
    Raises DataError for a set without published files, a file that is missing or of another shape, labels that are not
    the set's, and rows outside the split.
    """
    if dataset.name not in FOLDERS or corruption not in CORRUPTIONS or severity not in SEVERITIES:
        known = f"of {', '.join(FOLDERS)}, at severities {SEVERITIES[0]} to {SEVERITIES[-1]}: {', '.join(CORRUPTIONS)}"
        raise DataError(f"{dataset} under {corruption} {severity}: the published corruptions are {known}")
    folder = _folder(dataset, data_root)
    images = _open(dataset, folder / f"{corruption}.npy", (len(SEVERITIES) * N, SIDE, SIDE, 3))
    labels = _open(dataset, folder / "labels.npy", (len(SEVERITIES) * N,)).astype(np.int64)
    classes = DATASETS[dataset.name].classes
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{folder / 'labels.npy'}: labels {labels.min()} to {labels.max()}, expected {classes} classes")
    if rows is None:
        rows = np.arange(N, dtype=np.int64)
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= N:
        raise DataError(f"{dataset}: rows of the corrupted test split are 0 to {N - 1}, at least one")
    rows = (severity - 1) * N + rows
    if loader == "resident":
        return _whole(images, labels, rows, resolution, batch_size, device)
    beton = _beton(folder / f"{corruption}.npy", images, labels, classes)
    return _streamed(beton, rows, resolution, batch_size, device)


def _whole(
    images: Bytes, labels: Integers, rows: Integers, resolution: int, batch_size: int, device: Any
) -> Iterator[Batch]:
    """Whole images, resized as the sets of the resident loader are when they are prepared."""
    import torch

    from bench.data.stream import to_planes

    for start in range(0, len(rows), batch_size):
        chosen = np.arange(start, min(start + batch_size, len(rows)), dtype=np.int64)
        pixels = np.stack([resize_square(images[row], resolution) for row in rows[chosen]])
        shown = torch.from_numpy(labels[rows[chosen]]).to(device)
        yield Batch(to_planes(torch.from_numpy(pixels).to(device)), shown, torch.from_numpy(chosen))


def _streamed(beton: Beton, rows: Integers, resolution: int, batch_size: int, device: Any) -> Iterator[Batch]:
    view = View(
        beton=beton,
        rows=rows,
        resolution=resolution,
        batch_size=batch_size,
        augmentation=(),
        seed=0,
        shuffle=False,
        drop_last=False,
        device=device,
        threads=1,
        rank=0,
        world_size=1,
    )
    found: Iterator[Batch] = load(LOADERS["stream"].module).batches(view, 0, 0)
    return found


def _folder(dataset: Word, data_root: Path) -> Path:
    return Path(data_root) / "raw" / FOLDERS[dataset.name]


def _open(dataset: Word, path: Path, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    remedy = f"Unpack the published {FOLDERS[dataset.name]} archive into {path.parent}, or take origin=generated"
    try:
        found: np.memmap[Any, Any] = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise DataError(f"{dataset}: no {path.name} (looked for {path}). {remedy}") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is damaged ({error}). {remedy}") from error
    kind = "uint8" if len(shape) > 1 else "integers"
    fits = found.dtype == np.uint8 if len(shape) > 1 else np.issubdtype(found.dtype, np.integer)
    if found.shape != shape or not fits or not found.flags.c_contiguous:
        raise DataError(f"{path}: {found.shape} {found.dtype}, expected {shape} {kind} in C order. {remedy}")
    return found


def _beton(path: Path, images: np.memmap[Any, Any], labels: Integers, classes: int) -> Beton:
    """The file as one of raw images, which is what the images of an array are."""
    n, size = len(images), SIDE * SIDE * 3
    buffer: Bytes = np.memmap(path, np.uint8, mode="r")
    sides = np.full(n, SIDE, np.int64)
    return Beton(
        path=path,
        sha256="",
        classes=classes,
        resolution=SIDE,
        storage="raw",
        labels=labels,
        buffer=buffer,
        pointers=images.offset + size * np.arange(n, dtype=np.int64),
        lengths=np.full(n, size, np.int64),
        heights=sides,
        widths=sides,
        jpeg=np.zeros(n, np.bool_),
    )
