"""Where every image set comes from: one function per entry of `bench.catalog.DATASETS`.

All have the signature (split, raw_root, *, download, options) -> Images with split "train" or "test". Files lie under
`raw_root` in torchvision's own layouts. Nothing is fetched unless `download` is True.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import glyphs
from bench.data.errors import DataError
from bench.data.records import Bytes, Images, Integers
from bench.data.subset import split_validation
from bench.spec import Scalar

Options = Mapping[str, Scalar]
TEST_DIGITS = 500


def digits(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Handwritten digits of scikit-learn (8 x 8, the UCI optical digits), 1,297 to train on and 500 to test."""
    return grey(*_digits(split))


def digits_inverted(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """The digits, dark on bright."""
    pixels, labels = _digits(split)
    return grey(255 - pixels, labels)


def digits_noisy(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """The digits, fainter, over a striped background with clutter cut from other digits and Gaussian noise."""
    pixels, labels = _digits(split)
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([3, split == "test"])))
    n, h, w = pixels.shape
    y, x = np.mgrid[:h, :w]
    wave = draw.uniform(-1.5, 1.5, size=(2, n, 1, 1))
    stripes = 0.12 * (1 + np.sin(wave[0] * y + wave[1] * x + draw.uniform(0, 2 * np.pi, size=(n, 1, 1))))
    clutter = np.roll(pixels[draw.permutation(n)], (h // 2, w // 2), axis=(1, 2)) * draw.uniform(0, 0.4, size=(n, 1, 1))
    noisy = 0.85 * pixels / 255 + stripes + clutter / 255 + draw.normal(0, 0.12, size=pixels.shape)
    return grey(np.rint(255 * np.clip(noisy, 0, 1)).astype(np.uint8), labels)


def letters(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Letters A to Z rendered with jitter: 7,800 to train on, 1,300 to test, with separate draws."""
    return grey(*glyphs.render(glyphs.LETTERS, {"train": 7800, "test": 1300}[split], seed=_seed(1, split)))


def digit_glyphs(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Digits rendered like the letters: 1,297 to train on, 500 to test, with separate draws."""
    return grey(*glyphs.render(glyphs.DIGITS, {"train": 1297, "test": 500}[split], seed=_seed(2, split)))


def cifar10(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """CIFAR-10 from `cifar-10-batches-py`."""
    return _cifar("cifar10", "CIFAR10", "cifar-10-batches-py", split, raw_root, download)


def cifar100(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """CIFAR-100 (fine labels) from `cifar-100-python`."""
    return _cifar("cifar100", "CIFAR100", "cifar-100-python", split, raw_root, download)


def svhn(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Street View House Numbers from `<split>_32x32.mat`, without the `extra` images."""
    data = _open("svhn", "SVHN", [raw_root / f"{split}_32x32.mat"], raw_root, split=split, download=download)
    pixels = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))
    return Images(labels=np.asarray(data.labels, dtype=np.int64), image=pixels.__getitem__)


def fashion_mnist(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Fashion-MNIST from `FashionMNIST/raw`."""
    looked = [raw_root / "FashionMNIST" / "raw"]
    data = _open("fashion_mnist", "FashionMNIST", looked, raw_root, train=split == "train", download=download)
    return grey(data.data.numpy(), data.targets.numpy())


def flowers102(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Oxford Flowers 102: the official training and validation images train, the test images test."""
    folder = raw_root / "flowers-102"
    looked = [folder / "jpg", folder / "imagelabels.mat", folder / "setid.mat"]
    parts = [
        _open("flowers102", "Flowers102", looked, raw_root, split=part, download=download)
        for part in (("train", "val") if split == "train" else ("test",))
    ]
    return _files([f for p in parts for f in p._image_files], [y for p in parts for y in p._labels])


def oxford_iiit_pet(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Oxford-IIIT Pet, 37 breeds: `trainval` trains, `test` tests."""
    folder = raw_root / "oxford-iiit-pet"
    part = "trainval" if split == "train" else "test"
    looked = [folder / "images", folder / "annotations" / f"{part}.txt"]
    data = _open("oxford_iiit_pet", "OxfordIIITPet", looked, raw_root, split=part, download=download)
    return _files(data._images, data._labels)


def dtd(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Describable Textures, partition 1: the official training and validation images train, the test images test."""
    folder = raw_root / "dtd" / "dtd"
    parts = []
    for part in ("train", "val") if split == "train" else ("test",):
        looked = [folder / "images", folder / "labels" / f"{part}1.txt"]
        parts.append(_open("dtd", "DTD", looked, raw_root, split=part, partition=1, download=download))
    return _files([f for p in parts for f in p._image_files], [y for p in parts for y in p._labels])


def eurosat(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """EuroSAT (RGB), which has no official split: a fixed fifth of every class tests."""
    data = _open("eurosat", "EuroSAT", [raw_root / "eurosat" / "2750"], raw_root, download=download)
    labels = np.asarray(data.targets, dtype=np.int64)
    train, test = split_validation(labels, len(labels) // 5, "stratified")
    chosen = train if split == "train" else test
    return _files([data.samples[i][0] for i in chosen], labels[chosen])


def folder(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Your own images: `<name>/train/<class>/*` and `<name>/val/<class>/*`, classes in alphabetical order.

    Without the option `name` the folder is `imagenet`.
    """
    name = str((options or {}).get("name", "imagenet"))
    train, val = raw_root / name / "train", raw_root / name / "val"
    if not (train.is_dir() and val.is_dir()):
        looked = ", ".join(str(path) for path in (train, val))
        raise DataError(f"{name}: no image folders (looked for {looked}). Put or link <class>/<image> folders there")
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        (names, index), (val_names, _) = find_classes(train), find_classes(val)
        if names != val_names:
            odd = sorted(set(names) ^ set(val_names))
            raise DataError(f"{name}: {train} and {val} have different class folders, such as {odd[0]!r}")
        samples = make_dataset(train if split == "train" else val, index, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise DataError(f"{name}: {error}") from error
    return _files([path for path, _ in samples], [label for _, label in samples])


def grey(pixels: Bytes, labels: Integers) -> Images:
    """Grey images (n, h, w), given three equal channels one at a time."""
    return Images(
        labels=np.asarray(labels, dtype=np.int64),
        image=lambda i: np.repeat(pixels[i][:, :, None], 3, axis=2),
    )


@functools.cache
def _digits(split: str) -> tuple[Bytes, Integers]:
    from sklearn.datasets import load_digits

    data = load_digits()
    labels = data.target.astype(np.int64)
    chosen = split_validation(labels, TEST_DIGITS, "stratified")[split == "test"]
    # Counts of 0 to 16 pixels of a 4 x 4 block.
    return np.rint(data.images[chosen] * (255 / 16)).astype(np.uint8), labels[chosen]


def _seed(number: int, split: str) -> int:
    """A seed of its own for every rendered (set, split), so that no draw of training returns in the test."""
    return 2 * number + (split == "test")


def _cifar(name: str, kind: str, folder: str, split: str, raw_root: Path, download: bool) -> Images:
    data = _open(name, kind, [raw_root / folder], raw_root, train=split == "train", download=download)
    return Images(labels=np.asarray(data.targets, dtype=np.int64), image=data.data.__getitem__)


def _open(name: str, kind: str, looked: list[Path], raw_root: Path, **arguments: Any) -> Any:
    """torchvision's data set `kind`. Raises DataError naming the paths and the command where files are missing."""
    from torchvision import datasets

    opened: Callable[..., Any] = getattr(datasets, kind)
    try:
        return opened(root=str(raw_root), **arguments)
    # torchvision reports missing files as RuntimeError, a broken connection as URLError (an OSError).
    except (RuntimeError, OSError) as error:
        where = ", ".join(str(path) for path in looked)
        raise DataError(
            f"{name}: missing or damaged files (looked for {where}; {_one_line(error)}). "
            f"Run `python -m bench.prepare {name} --download --data {raw_root.parent}` on a machine with network"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).removesuffix(". You can use download=True to download it")


def _files(paths: list[Any], labels: Any) -> Images:
    return Images(labels=np.asarray(labels, dtype=np.int64), image=lambda i: _read_rgb(Path(paths[i])))


def _read_rgb(path: Path) -> Bytes:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{path}: not a readable image ({_one_line(error)}). Replace or remove it") from error
