"""Images per second: the two loaders against torch's DataLoader and FFCV's own pipelines, same augmentation.

All cases of a benchmark read the same generated images, each after a warm-up epoch (worker start-up and compilation are
not counted), in interleaved repeats. Two threads or two worker processes each.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.catalog import DATASETS
from bench.data import layout, resident, stream
from bench.data.beton import digest
from bench.data.encode import encode
from bench.data.records import Beton, Bytes, Images, Integers, View

THREADS = 2
SMALL, LARGE = 32, 224
STORED = 256  # shorter side of the stored JPEG images
SMALL_BATCH, LARGE_BATCH = 128, 64
MEAN, STD = DATASETS["cifar10"].mean, DATASETS["cifar10"].std

Epoch = Callable[[], int]  # reads one epoch, returns the images read


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows benchmark, case, value, unit, ratio (to the benchmark's first case); values are medians over `repeats`.

    quick: a tenth of the images and shorter timings, for a test that everything runs.
    """
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder:
            small = small_cases(Path(folder), n=1_024 if quick else 9_984)
            rows = compare(f"load {SMALL} px", small, repeats, seconds=0.1 if quick else 1.0)
            large = large_cases(Path(folder), n=64 if quick else 512)
            rows += compare(f"load {LARGE} px jpeg", large, repeats, seconds=0.1 if quick else 1.0)
    finally:
        torch.set_num_threads(threads)  # FFCV's loader changes it for the whole process
    # It reads the cases here, so it is imported when they are there.
    views: list[dict[str, Any]] = importlib.import_module("bench.perf.views").run(repeats, quick)
    return rows + views


def compare(benchmark: str, cases: dict[str, Epoch], repeats: int, *, seconds: float) -> list[dict[str, Any]]:
    """Median rate of every case, the cases taking turns; each measurement lasts whole epochs and at least `seconds`."""
    for epoch in cases.values():
        epoch()
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, epoch in cases.items():
            rates[name].append(rate(epoch, seconds))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    first = next(iter(medians.values()))
    return [
        {"benchmark": benchmark, "case": name, "value": value, "unit": "images/s", "ratio": value / first}
        for name, value in medians.items()
    ]


def rate(epoch: Epoch, seconds: float) -> float:
    """Images per second over whole epochs lasting at least `seconds` together."""
    images, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or not images:
        images += epoch()
    return images / elapsed


def small_cases(folder: Path, *, n: int) -> dict[str, Epoch]:
    """32 px: random crop with 4 pixels of padding, flip, normalisation to float32."""
    pixels = scenes(n, SMALL, SMALL)
    labels = np.arange(n, dtype=np.int64) % 10
    file = written(folder / "small.beton", Images(labels=labels, image=pixels.__getitem__), SMALL, "raw")
    view = view_of(file, SMALL, SMALL_BATCH, ("crop", "flip"))
    unit = resident.UNIT_LEVELS
    levels = (unit - np.array(MEAN, np.float32)[:, None]) / np.array(STD, np.float32)[:, None]
    return {
        "torch DataLoader, torchvision": torch_small(pixels, labels),
        "FFCV pipeline": ffcv_small(file),
        "resident": counted(lambda: (batch.inputs for batch in resident.batches(view, 0, 0, levels=levels))),
    }


def large_cases(folder: Path, *, n: int) -> dict[str, Epoch]:
    """224 px from JPEG files of about 256 px: random resized crop and flip."""
    sides = np.random.default_rng(0).integers(STORED, 400, size=n)
    pictures = [scenes(1, STORED, int(side), seed=i)[0] for i, side in enumerate(sides)]
    images = Images(labels=np.arange(n, dtype=np.int64) % 10, image=pictures.__getitem__)
    for i, picture in enumerate(pictures):
        path = folder / "large" / str(i % 10) / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)
    file = written(folder / "large.beton", images, STORED, "jpg")
    view = view_of(file, LARGE, LARGE_BATCH, ("resized_crop", "flip"))
    return {
        "torch DataLoader, torchvision": torch_large(folder / "large"),
        "FFCV pipeline, bytes": ffcv_large(file),
        "stream, bytes": counted(lambda: (pixels for _, pixels in stream.decoded(view, 0, 0, torch.uint8))),
        "stream": counted(lambda: (batch.inputs for batch in stream.batches(view, 0, 0))),
    }


def counted(images: Callable[[], Iterator[torch.Tensor]]) -> Epoch:
    """An epoch that reads all batches and counts their images."""
    return lambda: sum(len(batch) for batch in images())


class Pixels(Dataset[Any]):
    """Arrays in memory read through PIL, as torchvision's CIFAR10 is."""

    def __init__(self, pixels: Bytes, labels: Integers, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[i])), int(self.labels[i])


def torch_small(pixels: Bytes, labels: Integers) -> Epoch:
    """DataLoader with two worker processes and torchvision's PIL transforms."""
    from torchvision import transforms

    augment = transforms.Compose(
        [
            transforms.RandomCrop(SMALL, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return torch_epoch(Pixels(pixels, labels, augment), SMALL_BATCH)


def torch_large(folder: Path) -> Epoch:
    """DataLoader with two worker processes over an ImageFolder, torchvision's PIL transforms."""
    from torchvision import datasets, transforms

    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop(LARGE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return torch_epoch(datasets.ImageFolder(str(folder), augment), LARGE_BATCH)


def torch_epoch(images: Dataset[Any], batch_size: int) -> Epoch:
    """An epoch of a DataLoader whose two workers live on between epochs."""
    loader = DataLoader(images, batch_size, shuffle=True, num_workers=THREADS, persistent_workers=True)
    return counted(lambda: (batch for batch, _ in loader))


def ffcv_small(file: Beton) -> Epoch:
    """FFCV's compiled pipeline on the CPU: decode, translate, flip, normalise."""
    from ffcv import transforms
    from ffcv.fields.decoders import SimpleRGBImageDecoder

    pipeline = [
        SimpleRGBImageDecoder(),
        transforms.RandomTranslate(padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.NormalizeImage(255 * np.array(MEAN), 255 * np.array(STD), np.float32),
        transforms.ToTensor(),
        transforms.ToTorchImage(),
    ]
    return ffcv_epoch(file, SMALL_BATCH, pipeline)


def ffcv_large(file: Beton) -> Epoch:
    """FFCV's compiled pipeline on the CPU: decode, random resized crop, flip; bytes out."""
    from ffcv import transforms
    from ffcv.fields.decoders import RandomResizedCropRGBImageDecoder

    pipeline = [
        RandomResizedCropRGBImageDecoder((LARGE, LARGE)),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    return ffcv_epoch(file, LARGE_BATCH, pipeline)


def ffcv_epoch(file: Beton, batch_size: int, pipeline: list[Any]) -> Epoch:
    """An epoch of FFCV's loader with two threads, in random order."""
    from ffcv.loader import Loader, OrderOption

    loader = Loader(
        str(file.path),
        batch_size,
        num_workers=THREADS,
        order=OrderOption.RANDOM,
        drop_last=False,
        pipelines={"image": pipeline},
    )
    return counted(lambda: (batch for batch, _ in loader))


def scenes(n: int, height: int, width: int, seed: int = 0) -> Bytes:
    """(n, height, width, 3) uint8: smooth colours with detail, so that JPEG files have a photograph's size."""
    draw = np.random.default_rng(seed)
    scene: NDArray[np.float64] = draw.normal(128, 12, size=(n, height, width, 3))
    for cells in (4, 16):
        y, x = np.arange(height) * cells // height, np.arange(width) * cells // width
        scene += draw.normal(0, 30, size=(n, cells, cells, 3))[:, y[:, None], x[None, :]]
    return np.clip(scene, 0, 255).astype(np.uint8)


def written(path: Path, images: Images, resolution: int, storage: str) -> Beton:
    """The images as a `.beton` file."""
    with path.open("w+b") as out:
        layout.write(out, images.labels, encode(images, resolution=resolution, storage=storage))
    sidecar = {"n": len(images.labels), "classes": 10, "resolution": resolution, "storage": storage}
    return layout.mapped(path, images.labels, sidecar | {"sha256": digest(path)})


def view_of(file: Beton, resolution: int, batch_size: int, augmentation: tuple[str, ...]) -> View:
    """All of a file, shuffled, on the CPU."""
    return View(
        beton=file,
        rows=np.arange(len(file.labels), dtype=np.int64),
        resolution=resolution,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=0,
        shuffle=True,
        drop_last=False,
        device="cpu",
        threads=THREADS,
        rank=0,
        world_size=1,
    )
