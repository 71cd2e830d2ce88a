"""Sets that are folders of images, one per class."""

from __future__ import annotations

from pathlib import Path

from bench.data.errors import DataError
from bench.data.records import Images
from bench.data.sources.files import Options, check, image_files, missing

Samples = list[tuple[str, int]]


def folder(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Your own images: `<name>/train/<class>/*` and `<name>/val/<class>/*`, classes in alphabetical order.

    Without the option `name` the folder is `imagenet`.
    """
    name = str((options or {}).get("name", "imagenet"))
    check("folder" if options else "imagenet", raw_root, name)
    return _folders(name, raw_root / name / "train", raw_root / name / "val", split)


def visda2017(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """VisDA-2017 classification, 12 classes: the rendered images train, the published validation images test.

    Labels and order are those of `image_list.txt` (`<class>/<file> <label>`) where both splits have one, else of the
    folders in alphabetical order, which gives the same labels. Peng et al. 2017, arXiv:1710.06924.
    """
    check("visda2017", raw_root)
    train, test = raw_root / "visda2017" / "train", raw_root / "visda2017" / "validation"
    if not all((part / "image_list.txt").is_file() for part in (train, test)):
        return _folders("visda2017", train, test, split)
    part = train if split == "train" else test
    lines = [line.rsplit(maxsplit=1) for line in (part / "image_list.txt").read_text().splitlines() if line.strip()]
    try:
        return image_files([part / file for file, _ in lines], [int(label) for _, label in lines])
    except ValueError as error:
        raise missing("visda2017", raw_root, f"{part / 'image_list.txt'} is not a list of files and labels") from error


def class_folders(name: str, root: Path) -> tuple[list[str], Samples]:
    """Names of the class folders in alphabetical order, and (file, label) of every image below them, sorted.

    Raises DataError if there are none.
    """
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        names, index = find_classes(root)
        return names, make_dataset(root, index, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise DataError(f"{name}: {error}") from error


def _folders(name: str, train: Path, test: Path, split: str) -> Images:
    names, samples = class_folders(name, train)
    test_names, test_samples = class_folders(name, test)
    if names != test_names:
        odd = sorted(set(names) ^ set(test_names))
        raise DataError(f"{name}: {train} and {test} have different class folders, such as {odd[0]!r}")
    chosen = samples if split == "train" else test_samples
    return image_files([path for path, _ in chosen], [label for _, label in chosen])
