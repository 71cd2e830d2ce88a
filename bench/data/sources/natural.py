"""Natural images, by torchvision's readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.records import Images, Integers
from bench.data.sources.files import Options, check, grey, held_out, image_files, missing, opened, per_class


def cifar10(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """CIFAR-10."""
    data = opened("cifar10", "CIFAR10", raw_root, train=split == "train", download=download)
    return Images(labels=np.asarray(data.targets, dtype=np.int64), image=data.data.__getitem__)


def cifar100(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """CIFAR-100, fine labels."""
    data = opened("cifar100", "CIFAR100", raw_root, train=split == "train", download=download)
    return Images(labels=np.asarray(data.targets, dtype=np.int64), image=data.data.__getitem__)


def svhn(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Street View House Numbers, without the `extra` images."""
    data = opened("svhn", "SVHN", raw_root, split=split, download=download)
    pixels = np.ascontiguousarray(data.data.transpose(0, 2, 3, 1))
    return Images(labels=np.asarray(data.labels, dtype=np.int64), image=pixels.__getitem__)


def fashion_mnist(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Fashion-MNIST."""
    data = opened("fashion_mnist", "FashionMNIST", raw_root, train=split == "train", download=download)
    return grey(data.data.numpy(), data.targets.numpy())


def stl10(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """STL-10, without the unlabelled images."""
    data = opened("stl10", "STL10", raw_root, split=split, download=download)
    pixels = data.data.transpose(0, 2, 3, 1)
    return Images(labels=np.asarray(data.labels, dtype=np.int64), image=lambda i: np.ascontiguousarray(pixels[i]))


def gtsrb(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """German traffic signs, 43 classes."""
    data = opened("gtsrb", "GTSRB", raw_root, split=split, download=download)
    return image_files([path for path, _ in data._samples], [label for _, label in data._samples])


def caltech101(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Caltech-101 without its background class: 30 images of every class, a fixed draw, train; the rest test."""
    if download:
        opened("caltech101", "Caltech101", raw_root, download=True)
    check("caltech101", raw_root)
    folder = raw_root / "caltech101" / "101_ObjectCategories"
    return _caltech("caltech101", raw_root, folder, 30, split, without="BACKGROUND_Google")


def caltech256(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Caltech-256 with its clutter class: 60 images of every class, a fixed draw, train; the rest test."""
    if download:
        opened("caltech256", "Caltech256", raw_root, download=True)
    check("caltech256", raw_root)
    return _caltech("caltech256", raw_root, raw_root / "caltech256" / "256_ObjectCategories", 60, split)


def flowers102(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Oxford Flowers 102: the official training and validation images train, the test images test."""
    parts = [
        opened("flowers102", "Flowers102", raw_root, split=part, download=download)
        for part in (("train", "val") if split == "train" else ("test",))
    ]
    return image_files([f for p in parts for f in p._image_files], [y for p in parts for y in p._labels])


def oxford_iiit_pet(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Oxford-IIIT Pet, 37 breeds: `trainval` trains, `test` tests."""
    part = "trainval" if split == "train" else "test"
    data = opened("oxford_iiit_pet", "OxfordIIITPet", raw_root, split=part, download=download)
    return image_files(data._images, data._labels)


def dtd(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Describable Textures, partition 1: the official training and validation images train, the test images test."""
    parts = [
        opened("dtd", "DTD", raw_root, split=part, partition=1, download=download)
        for part in (("train", "val") if split == "train" else ("test",))
    ]
    return image_files([f for p in parts for f in p._image_files], [y for p in parts for y in p._labels])


def food101(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Food-101, the official split."""
    data = opened("food101", "Food101", raw_root, split=split, download=download)
    return image_files(data._image_files, data._labels)


def fgvc_aircraft(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """FGVC-Aircraft, 100 variants: `trainval` trains, `test` tests."""
    part = "trainval" if split == "train" else "test"
    data = opened("fgvc_aircraft", "FGVCAircraft", raw_root, split=part, download=download)
    return image_files(data._image_files, data._labels)


def stanford_cars(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """Stanford Cars, 196 models, the official split."""
    data = opened("stanford_cars", "StanfordCars", raw_root, split=split, download=download)
    return image_files([path for path, _ in data._samples], [label for _, label in data._samples])


def sun397(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Images:
    """SUN397, all of it: a fixed fifth of every class tests. The published partitions are of smaller subsets."""
    data = opened("sun397", "SUN397", raw_root, download=download)
    # torchvision lists the files in the file system's order.
    samples = sorted(zip(map(str, data._image_files), data._labels, strict=True))
    labels = np.array([label for _, label in samples], dtype=np.int64)
    rows = held_out(labels, len(labels) // 5, split)
    return image_files([samples[i][0] for i in rows], labels[rows])


def _caltech(name: str, raw_root: Path, folder: Path, n_train: int, split: str, without: str = "") -> Images:
    """Classes in alphabetical order, without the one named; stray files beside the images are left out."""
    categories = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != without)
    files = [sorted(category.glob("*.jpg")) for category in categories]
    if not files or not all(files):
        raise missing(name, raw_root, f"{folder} has no class folders, or some without images")
    labels: Integers = np.repeat(np.arange(len(files)), [len(part) for part in files]).astype(np.int64)
    paths = [path for part in files for path in part]
    rows = per_class(labels, n_train, split)
    return image_files([paths[i] for i in rows], labels[rows])
