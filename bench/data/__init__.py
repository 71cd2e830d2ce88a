"""Sets of images and texts: prepared once as `.beton` files, read by a loader. Importing it imports no torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.catalog import LOADERS, TASKS, described, load
from bench.data import beton, draws
from bench.data.errors import DataError
from bench.data.records import Batch, Beton, Integers, Split, View
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
    cut; test is the official test split, and some sets have further ones. Examples keep their order in the file.
    examples: no more of them than that, by class as in the whole split, drawn with their own seed. Of texts that are
    windows of a question's passage, questions are counted. views: two views of every image, see bench.recipe.Views.
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
    task = described(data.dataset).task
    if views is not None and task != "classification":
        raise DataError(f"{data.dataset}: two views are of images without masks or boxes, and it is a {task} set")
    stored = beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader)
    source = "train" if split == "validation" else split
    file = beton.read(data.dataset, source, data_root=data_root, resolution=stored)
    rows = _rows(data, split, file, examples, examples_seed)
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
        task=task,
        views=views,
        mean=data.mean,
    )
    return Split(
        labels=file.labels[rows],
        steps_per_epoch=draws.steps(len(rows), batch_size, drop_last),
        read=partial(loader.batches, view),
    )


def _rows(data: Data, split: str, file: Beton, examples: int | None, examples_seed: int) -> Integers:
    """The file's rows that the split has, sorted."""
    asked = file.targets.questions.question if file.targets is not None and file.targets.questions is not None else None
    labels = file.labels if asked is None else file.labels[np.unique(asked, return_index=True)[1]]
    chosen = np.arange(len(labels), dtype=np.int64)
    if split in ("train", "validation"):
        train, chosen = split_validation(labels, data.validation, data.validation_rule)
        if split == "train":
            chosen = take_fraction(labels, train, data.fraction, data.fraction_rule, data.subset_seed)
    if examples is not None:
        chosen = take_examples(labels, chosen, examples, examples_seed)
    # An answer is looked for in all windows of its question's passage.
    return chosen if asked is None else np.flatnonzero(np.isin(asked, chosen))


def _loader(data: Data, split: str, augmentation: tuple[str, ...]) -> Any:
    """The module that reads the set. Raises DataError for a split, a loader or an augmentation that is not known."""
    entry = described(data.dataset)
    splits = (*SPLITS, *entry.splits)
    if split not in splits or data.loader not in LOADERS:
        raise DataError(
            f"{data.dataset}, split {split!r} (known: {', '.join(splits)}), loader {data.loader!r} (known: "
            f"{', '.join(LOADERS)})"
        )
    own = TASKS[entry.task].loader
    if data.loader != own if own else data.loader in {task.loader for task in TASKS.values()}:
        raise DataError(
            f"{data.dataset} is a {entry.task} set, and the {data.loader} loader reads none: "
            f"{f'{own} does' if own else 'it is for other tasks'}"
        )
    known = LOADERS[data.loader].augmentations
    for word in augmentation:
        if word not in known:
            raise DataError(
                f"{data.dataset}: the {data.loader} loader has no augmentation {word!r} (known: "
                f"{', '.join(known) or 'none'})"
            )
    return load(LOADERS[data.loader].module)
