"""Images per second that are read as two augmented views: the two loaders against torch's DataLoader and torchvision.

All cases of a benchmark read the same generated images and draw the same kinds of augmentation; see bench.perf.loader.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import datasets, transforms

from bench.data import resident, stream
from bench.data.records import Images
from bench.data.views import blur_radius
from bench.perf.loader import (
    LARGE,
    LARGE_BATCH,
    SMALL,
    SMALL_BATCH,
    STORED,
    Epoch,
    Pixels,
    compare,
    counted,
    scenes,
    torch_epoch,
    view_of,
    written,
)  # fmt: skip
from bench.spec import Views

VIEWS = Views(blur_share=0.5)


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows as those of bench.perf.loader.run; an image counts once, not once for each view."""
    seconds = 0.1 if quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        small = small_cases(Path(folder), n=256 if quick else 4_992)
        rows = compare(f"two views {SMALL} px", small, repeats, seconds=seconds)
        large = large_cases(Path(folder), n=32 if quick else 256)
        rows += compare(f"two views {LARGE} px jpeg", large, repeats, seconds=seconds)
    return rows


def small_cases(folder: Path, *, n: int) -> dict[str, Epoch]:
    """32 px in memory."""
    pixels, labels = scenes(n, SMALL, SMALL), np.arange(n, dtype=np.int64) % 10
    file = written(folder / "small.beton", Images(labels=labels, image=pixels.__getitem__), SMALL, "raw")
    view = dataclasses.replace(view_of(file, SMALL, SMALL_BATCH, ()), views=VIEWS)
    return {
        "torch DataLoader, torchvision": torch_epoch(Pixels(pixels, labels, Twice(SMALL)), SMALL_BATCH),
        "resident": counted(lambda: (batch.indices for batch in resident.batches(view, 0, 0))),
    }


def large_cases(folder: Path, *, n: int) -> dict[str, Epoch]:
    """224 px from JPEG files of about 256 px."""
    sides = np.random.default_rng(0).integers(STORED, 400, size=n)
    pictures = [scenes(1, STORED, int(side), seed=i)[0] for i, side in enumerate(sides)]
    for i, picture in enumerate(pictures):
        path = folder / "large" / str(i % 10) / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, quality=90)
    images = Images(labels=np.arange(n, dtype=np.int64) % 10, image=pictures.__getitem__)
    file = written(folder / "large.beton", images, STORED, "jpg")
    view = dataclasses.replace(view_of(file, LARGE, LARGE_BATCH, ()), views=VIEWS)
    return {
        "torch DataLoader, torchvision": torch_epoch(
            datasets.ImageFolder(str(folder / "large"), Twice(LARGE)), LARGE_BATCH
        ),
        "stream": counted(lambda: (batch.indices for batch in stream.batches(view, 0, 0))),
    }


class Twice:
    """torchvision's transforms of a PIL image, applied twice: (2, 3, side, side)."""

    def __init__(self, side: int) -> None:
        brightness, contrast, saturation, hue = VIEWS.jitter
        jitter = transforms.ColorJitter(brightness, contrast, saturation, hue)
        blur = transforms.GaussianBlur(2 * blur_radius(VIEWS, side) + 1, VIEWS.blur_sigma)
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(side, VIEWS.crop_scale),
                transforms.RandomHorizontalFlip(VIEWS.flip_share),
                transforms.RandomApply([jitter], VIEWS.jitter_share),
                transforms.RandomGrayscale(VIEWS.grey_share),
                transforms.RandomApply([blur], VIEWS.blur_share),
                transforms.ToTensor(),
            ]
        )

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return torch.stack([self.transform(image), self.transform(image)])
