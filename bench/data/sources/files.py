"""What the sources share: opening torchvision's sets, reading image files, fixed splits where none is published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.errors import DataError
from bench.data.places import PLACES, looked_for, remedy
from bench.data.records import Bytes, Images, Integers
from bench.data.subset import SPLIT_SEED, split_validation
from bench.spec import Scalar

Options = Mapping[str, Scalar]


def opened(name: str, kind: str, raw_root: Path, *, download: bool, **arguments: Any) -> Any:
    """torchvision's data set `kind`, its files fetched first if `download` and torchvision can.

    Raises DataError naming the paths, and the command or the work that gets the files there.
    """
    fetch = download and not PLACES[name].by_hand
    if not fetch:
        check(name, raw_root)
    from torchvision import datasets

    constructor: Callable[..., Any] = getattr(datasets, kind)
    # Only few of torchvision's sets take the argument where it can mean nothing.
    given = {} if PLACES[name].by_hand else {"download": fetch}
    try:
        return constructor(root=str(raw_root), **given, **arguments)
    # torchvision reports missing files as RuntimeError, a broken connection as URLError (an OSError), what it cannot
    # parse as ValueError or KeyError.
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise missing(name, raw_root, one_line(error)) from error


def check(name: str, raw_root: Path, folder: str = "<name>") -> None:
    """Raise DataError unless all paths of the set are there."""
    for path in looked_for(name, raw_root, folder):
        if not path.exists():
            raise missing(name, raw_root, f"no {path.name}", folder)


def missing(name: str, raw_root: Path, reason: str, folder: str = "<name>") -> DataError:
    """The error for a set whose files are missing or damaged."""
    looked = ", ".join(str(path) for path in looked_for(name, raw_root, folder))
    how = remedy(name, raw_root)
    return DataError(f"{name}: missing or damaged files (looked for {looked}; {reason}). {how[0].upper()}{how[1:]}")


def image_files(paths: Sequence[Any], labels: Any) -> Images:
    """Images read from files, one at a time."""
    return Images(labels=np.asarray(labels, dtype=np.int64), image=lambda i: read_rgb(Path(paths[i])))


def read_rgb(path: Path) -> Bytes:
    """An image file as (h, w, 3). Raises DataError that names it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{path}: not a readable image ({one_line(error)}). Replace or remove it") from error


def grey(pixels: Bytes, labels: Integers) -> Images:
    """Grey images (n, h, w), given three equal channels one at a time."""
    return Images(
        labels=np.asarray(labels, dtype=np.int64),
        image=lambda i: np.repeat(pixels[i][:, :, None], 3, axis=2),
    )


def held_out(labels: Integers, n_test: int, split: str) -> Integers:
    """Rows of `split` where none is published: n_test test, every class by its share, drawn with a fixed seed."""
    train, test = split_validation(labels, n_test, "stratified")
    return train if split == "train" else test


def per_class(labels: Integers, n_train: int, split: str) -> Integers:
    """Rows of `split` where n_train images of every class train and the rest test, drawn with a fixed seed."""
    train = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([SPLIT_SEED, int(label)])))
        train[generator.permutation(members)[:n_train]] = True
    return np.flatnonzero(train if split == "train" else ~train)


def one_line(error: BaseException) -> str:
    """The error's text without line breaks, nor torchvision's advice."""
    return " ".join(str(error).split()).removesuffix(". You can use download=True to download it")
