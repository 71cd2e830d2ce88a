"""The torchvision sets, read from small generated files in the layouts of the real ones."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from bench.catalog import DATASETS, load
from bench.data import DataError, beton
from bench.data.places import PLACES, looked_for
from bench.spec import Word

DRAW = np.random.default_rng(0)
KINDS = (
    "CIFAR10", "CIFAR100", "SVHN", "FashionMNIST", "STL10", "GTSRB", "Caltech101", "Caltech256", "Flowers102", "OxfordIIITPet",
    "DTD", "Food101", "FGVCAircraft", "StanfordCars", "SUN397", "EuroSAT", "PCAM", "CLEVRClassification", "Kitti",
    "VOCDetection", "VOCSegmentation",
)  # fmt: skip
NEEDS_FILES = [name for name, entry in DATASETS.items() if not entry.embedded]


def picture(path: Path, side: tuple[int, int] = (20, 16), value: int | None = None) -> None:
    """A photograph, of one grey value if one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = DRAW.integers(0, 256, size=(*side, 3)) if value is None else np.full((*side, 3), value)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_cifar(raw, monkeypatch, kind, folder, names, key):
    """Pickled batches of two images each; torchvision's checksums become those of the generated files."""
    (raw / folder).mkdir(parents=True)
    lists = {"train_list": names[:-1], "test_list": names[-1:]}
    for i, name in enumerate(names):
        pixels = np.stack([np.arange(3072) % 251, np.full(3072, i)]).astype(np.uint8)
        (raw / folder / name).write_bytes(pickle.dumps({"data": pixels, key: [i, 9 - i]}))
    (raw / folder / "meta").write_bytes(pickle.dumps({kind.meta["key"]: list("abcdefghij")}))
    for attribute, chosen in lists.items():
        monkeypatch.setattr(kind, attribute, [[name, md5(raw / folder / name)] for name in chosen])
    meta = {"filename": "meta", "key": kind.meta["key"], "md5": md5(raw / folder / "meta")}
    monkeypatch.setattr(kind, "meta", meta)


def read(word, split, raw, **options):
    return load(DATASETS[word].source)(split, raw, download=False, options=options)


def test_cifar10_batches_are_joined_and_turned_to_height_width_channel(tmp_path, monkeypatch):
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    make_cifar(tmp_path, monkeypatch, datasets.CIFAR10, "cifar-10-batches-py", names, "labels")
    train, test = read("cifar10", "train", tmp_path), read("cifar10", "test", tmp_path)
    assert train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert test.labels.tolist() == [5, 4]
    # The file holds 1,024 values of red, then of green, then of blue.
    assert train.image(0)[0, 1].tolist() == [1, 1025 % 251, 2049 % 251]
    assert (test.image(1) == 5).all()


def test_cifar100_has_its_fine_labels(tmp_path, monkeypatch):
    make_cifar(tmp_path, monkeypatch, datasets.CIFAR100, "cifar-100-python", ["train", "test"], "fine_labels")
    assert read("cifar100", "train", tmp_path).labels.tolist() == [0, 9]
    assert (read("cifar100", "test", tmp_path).image(1) == 1).all()


def test_svhn_calls_the_digit_ten_zero(tmp_path, monkeypatch):
    split_list = {}
    for split, labels in (("train", [10, 1, 2]), ("test", [9, 10])):
        pixels = DRAW.integers(0, 256, size=(32, 32, 3, len(labels)), dtype=np.uint8)
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": pixels, "y": np.array(labels)[:, None]})
        split_list[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)
    test = read("svhn", "test", tmp_path)
    assert read("svhn", "train", tmp_path).labels.tolist() == [0, 1, 2]
    assert test.labels.tolist() == [9, 0]
    assert (test.image(1) == pixels[..., 1]).all()


def test_fashion_mnist_becomes_three_equal_channels(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = DRAW.integers(0, 256, size=(3, 28, 28), dtype=np.uint8)
    for stem in ("train", "t10k"):
        header = b"".join(int(value).to_bytes(4, "big") for value in (0x0803, 3, 28, 28))
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = b"".join(int(value).to_bytes(4, "big") for value in (0x0801, 3))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(header + bytes([4, 0, 9]))
    images = read("fashion_mnist", "test", tmp_path)
    assert images.labels.tolist() == [4, 0, 9]
    assert (images.image(2) == pixels[2][:, :, None]).all()
    assert images.image(2).shape == (28, 28, 3)


def test_flowers_train_on_the_official_training_and_validation_images(tmp_path, monkeypatch):
    folder = tmp_path / "flowers-102"
    for i in range(1, 7):
        picture(folder / "jpg" / f"image_{i:05}.jpg", value=40 * i)
    savemat(folder / "imagelabels.mat", {"labels": np.array([1, 2, 3, 4, 5, 102])})
    savemat(folder / "setid.mat", {"trnid": np.array([3, 1]), "valid": np.array([2, 6]), "tstid": np.array([5, 4])})
    names = {"image": ("102flowers.tgz", ""), "label": ("imagelabels.mat",), "setid": ("setid.mat",)}
    known = {key: (value[0], "" if key == "image" else md5(folder / value[0])) for key, value in names.items()}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", known)
    train = read("flowers102", "train", tmp_path)
    assert train.labels.tolist() == [2, 0, 1, 101]
    assert [int(train.image(i).mean().round()) for i in range(4)] == [120, 40, 80, 240]
    assert read("flowers102", "test", tmp_path).labels.tolist() == [4, 3]


def test_pets_have_their_37_breeds_as_labels(tmp_path):
    folder = tmp_path / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for name in ("Abyssinian_1", "yorkshire_terrier_9"):
        picture(folder / "images" / f"{name}.jpg")
    (folder / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1 1\nyorkshire_terrier_9 37 2 25\n")
    (folder / "annotations" / "test.txt").write_text("yorkshire_terrier_9 37 2 25\n")
    assert read("oxford_iiit_pet", "train", tmp_path).labels.tolist() == [0, 36]
    test = read("oxford_iiit_pet", "test", tmp_path)
    assert test.labels.tolist() == [36]
    assert test.image(0).shape == (20, 16, 3)


def test_textures_train_on_training_and_validation_of_partition_1(tmp_path):
    folder = tmp_path / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for split, number in (("train", 1), ("val", 2), ("test", 3)):
        lines = [f"{name}/{name}_{number}.jpg" for name in ("banded", "zigzagged")]
        (folder / "labels" / f"{split}1.txt").write_text("\n".join(lines) + "\n")
        for line in lines:
            picture(folder / "images" / line, value=50 * number)
    train = read("dtd", "train", tmp_path)
    assert train.labels.tolist() == [0, 1, 0, 1]
    assert [int(train.image(i).mean().round()) for i in range(4)] == [50, 50, 100, 100]
    assert int(read("dtd", "test", tmp_path).image(1).mean().round()) == 150


def test_eurosat_keeps_a_fixed_fifth_of_every_class_for_testing(tmp_path):
    for name in ("Forest", "River"):
        for i in range(10):
            picture(tmp_path / "eurosat" / "2750" / name / f"{name}_{i}.jpg", value=10 * i)
    train, test = (read("eurosat", split, tmp_path) for split in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    forest = [
        int(images.image(i).mean().round()) for images in (train, test) for i in np.flatnonzero(images.labels == 0)
    ]
    assert sorted(forest) == list(range(0, 100, 10))


@pytest.mark.parametrize(("word", "options"), [("imagenet", {}), ("folder", {"name": "birds"})])
def test_folders_are_read_class_by_class(tmp_path, word, options):
    name = options.get("name", "imagenet")
    for split in ("train", "val"):
        for i, label in enumerate(("n01", "n02")):
            picture(tmp_path / name / split / label / "x.JPEG", value=100 * i + (split == "val") * 50)
    train, test = read(word, "train", tmp_path, **options), read(word, "test", tmp_path, **options)
    assert train.labels.tolist() == test.labels.tolist() == [0, 1]
    assert int(test.image(1).mean()) == 150


def test_folders_with_different_classes_are_refused(tmp_path):
    for path in ("train/cat/1.png", "train/dog/1.png", "val/cat/1.png"):
        picture(tmp_path / "imagenet" / path)
    with pytest.raises(DataError, match="different class folders, such as 'dog'"):
        read("imagenet", "train", tmp_path)


def test_an_image_that_is_not_one_is_named(tmp_path):
    for split in ("train", "val"):
        picture(tmp_path / "imagenet" / split / "cat" / "1.png")
    broken = tmp_path / "imagenet" / "train" / "cat" / "1.png"
    broken.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"train/cat/1.png: not a readable image .* Replace or remove it"):
        read("imagenet", "train", tmp_path).image(0)


@pytest.mark.parametrize("name", NEEDS_FILES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_files_name_where_they_were_looked_for_and_the_remedy(name, split, tmp_path):
    options = {"name": "birds", "classes": 3} if name == "folder" else {}
    with pytest.raises(DataError) as error:
        read(name, split, tmp_path / "raw", **options)
    message = str(error.value)
    for path in looked_for(name, tmp_path / "raw", "birds"):
        assert str(path) in message
    by_hand = PLACES[name].by_hand
    command = f"Run `python -m bench.prepare {name} --download --data {tmp_path}` on a machine with network"
    assert message.endswith(by_hand[1:] if by_hand else command)
    assert list(tmp_path.iterdir()) == []


def test_every_set_that_needs_files_has_a_place():
    assert list(PLACES) == NEEDS_FILES


def test_a_set_of_photographs_goes_through_a_file_and_back(tmp_path):
    for split in ("train", "val"):
        for i in range(3):
            picture(tmp_path / "raw" / "birds" / split / f"class{i}" / "1.png", side=(300 + i, 400), value=60 * i)
    word = Word("folder", (("name", "birds"), ("classes", 3)))
    beton.write(word, "test", data_root=tmp_path, resolution=256)
    file = beton.read(word, "test", data_root=tmp_path, resolution=256)
    assert file.jpeg.all()
    assert file.heights.tolist() == [256, 256, 256]
    assert file.widths.tolist() == [341, 340, 339]


@pytest.mark.parametrize("name", [name for name in NEEDS_FILES if not PLACES[name].by_hand])
def test_sources_take_no_network_unless_asked(name, tmp_path, monkeypatch):
    """With files there torchvision is told not to download; with download=True it is asked before they are looked for."""
    asked = []

    def constructor(**arguments):
        asked.append(arguments["download"])
        raise RuntimeError("stop here")

    for kind in KINDS:
        monkeypatch.setattr(datasets, kind, constructor)
    source = load(DATASETS[name].source)
    with pytest.raises(DataError, match="stop here"):
        source("train", tmp_path, download=True)
    for path in looked_for(name, tmp_path):
        path.mkdir(parents=True)
    with pytest.raises(DataError):
        source("train", tmp_path)
    # Caltech's folders and PatchCamelyon's files are read without torchvision.
    assert asked == ([True] if name in ("caltech101", "caltech256", "pcam") else [True, False])


@pytest.mark.parametrize("name", [name for name in NEEDS_FILES if PLACES[name].by_hand and name != "folder"])
def test_what_nothing_downloads_is_never_asked_for(name, tmp_path, monkeypatch):
    for kind in KINDS:
        monkeypatch.setattr(datasets, kind, lambda **_: pytest.fail("asked torchvision"))
    with pytest.raises(DataError, match="missing or damaged"):
        load(DATASETS[name].source)("train", tmp_path, download=True)
