"""Image sets: prepared once as `.beton` files, read by one of two loaders. Importing this package imports no torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.catalog import LOADERS, described, load
from bench.data import beton, draws
from bench.data.errors import DataError
from bench.data.records import Batch, Split, View
from bench.data.subset import EXAMPLES_SEED, split_validation, take_examples, take_fraction
from bench.spec import Data, Views

__all__ = ["Batch", "DataError", "Split", "open_split"]

SPLITS = ("train", "validation", "test")


def open_split(
    data: Data,
    split: str,
    *,
    data_root: Path,
    batch_size: int,
    augmentation: tuple[str, ...] = (),
    seed: int = 0,
    shuffle: bool = False,
    drop_last: bool = False,
    device: Any = "cpu",
    threads: int = 1,
    rank: int = 0,
    world_size: int = 1,
    examples: int | None = None,
    examples_seed: int = EXAMPLES_SEED,
    views: Views | None = None,
) -> Split:
    """A split of the set as `data` describes it, read with data.loader.

    train is what the validation split leaves of the official training split, cut to data.fraction; validation is not
    cut; test is the official test split. Examples keep their order in the file. examples: no more of them than that,
    by class as in the whole split, drawn with their own seed. views: two views of every image, see bench.recipe.Views.
    batch_size counts all ranks: rank r of world_size reads its contiguous slice of every batch (a batch of fewer
    examples than ranks whole), and all ranks take equally many steps. Order and augmentation are a function of
    (seed, epoch, example) alone.
    Raises DataError where files are missing or damaged or the arguments do not fit the set.
    """
    loader = _loader(data, split, augmentation)
    if batch_size < 1 or threads < 1 or not 0 <= rank < world_size:
        raise DataError(
            f"batch_size {batch_size}, threads {threads}, rank {rank} of {world_size}: all must be positive"
        )
    if views is not None and data.loader == "dense":
        raise DataError(f"{data.dataset}: two views are of images without masks or boxes, and it has them")
    stored = beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader)
    source = "test" if split == "test" else "train"
    file = beton.read(data.dataset, source, data_root=data_root, resolution=stored)
    rows = np.arange(len(file.labels), dtype=np.int64)
    if split != "test":
        train, validation = split_validation(file.labels, data.validation, data.validation_rule)
        rows = validation
        if split == "train":
            rows = take_fraction(file.labels, train, data.fraction, data.fraction_rule, data.subset_seed)
    if examples is not None:
        rows = take_examples(file.labels, rows, examples, examples_seed)
    if len(rows) == 0:
        raise DataError(f"{data.dataset}: the {split} split is empty (validation examples asked: {data.validation})")
    view = View(
        beton=file,
        rows=rows,
        resolution=data.resolution,
        batch_size=batch_size,
        augmentation=augmentation,
        seed=seed,
        shuffle=shuffle,
        drop_last=drop_last,
        device=device,
        threads=threads,
        rank=rank,
        world_size=world_size,
        views=views,
        mean=data.mean,
    )
    return Split(
        labels=file.labels[rows],
        steps_per_epoch=draws.steps(len(rows), batch_size, drop_last),
        read=partial(loader.batches, view),
    )


def _loader(data: Data, split: str, augmentation: tuple[str, ...]) -> Any:
    """The module that reads the set. Raises DataError for a split, a loader or an augmentation that is not known."""
    if split not in SPLITS or data.loader not in LOADERS:
        raise DataError(
            f"split {split!r} (known: {', '.join(SPLITS)}), loader {data.loader!r} (known: {', '.join(LOADERS)})"
        )
    task = described(data.dataset).task
    if (task == "classification") == (data.loader == "dense"):
        raise DataError(
            f"{data.dataset} is a {task} set, and the {data.loader} loader reads none: scenes with masks or boxes are "
            "read by dense, other sets by the other loaders"
        )
    known = LOADERS[data.loader].augmentations
    for word in augmentation:
        if word not in known:
            raise DataError(
                f"{data.dataset}: the {data.loader} loader has no augmentation {word!r} (known: {', '.join(known)})"
            )
    return load(LOADERS[data.loader].module)
