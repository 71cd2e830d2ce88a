"""Stand-ins: the shape of another set, a few handwritten digits."""

import numpy as np
import pytest

from bench import prepare
from bench.catalog import DATASETS, described
from bench.data import DataError, open_split
from bench.data.stand_ins import toy
from bench.inputs import describe_data
from bench.recipes import PROTOCOLS
from bench.spec import Word

STOOD_FOR = [name for name, entry in DATASETS.items() if entry.classes and not entry.vocabulary]
SCENES = [name for name in STOOD_FOR if DATASETS[name].task != "classification"]
PHOTOGRAPHS = [name for name in STOOD_FOR if name not in SCENES]


def word(of):
    return Word("toy", (("of", of),), f"toy(of={of})")


def read(of, split, root):
    return toy(split, root, options={"of": of})


@pytest.mark.parametrize("of", STOOD_FOR)
def test_a_stand_in_is_described_as_the_set_but_for_its_size_and_source(of):
    found, entry = described(word(of)), DATASETS[of]
    side = min(entry.resolution, 96) if of in SCENES else entry.resolution
    assert (found.classes, found.resolution, found.storage) == (entry.classes, side, entry.storage)
    assert found.task == entry.task
    assert (found.mean, found.std) == (entry.mean, entry.std)
    assert (found.train, found.test, found.validation) == (96, 32, 32)
    assert found.embedded
    assert found.source == "bench.data.stand_ins:toy"


@pytest.mark.parametrize("of", ["digits", "cifar10", "cifar100"])
def test_other_sets_are_described_as_in_the_catalog(of):
    assert described(Word(of)) is DATASETS[of]


@pytest.mark.parametrize("of", PHOTOGRAPHS)
def test_images_have_the_side_of_the_set_and_labels_are_of_its_classes(of, tmp_path):
    entry = DATASETS[of]
    for split, size in (("train", 96), ("test", 32)):
        images = read(of, split, tmp_path)
        # Class after class, so that a set of few classes has all of them.
        assert images.labels.tolist() == [i % entry.classes for i in range(size)]
        # JPEG sets hold images of any shape; here a fifth wider than high.
        width = entry.resolution if entry.storage == "raw" else entry.resolution * 6 // 5
        assert images.image(size - 1).shape == (entry.resolution, width, 3)
        assert images.image(size - 1).dtype == np.uint8


def test_training_and_test_images_are_of_other_handwriting(tmp_path):
    from sklearn.datasets import load_digits

    # Its own size for digits: one colour times the strokes, so that the brightest channel is the digit itself.
    own = {np.rint(255 * image / 16).astype(np.uint8).tobytes(): i for i, image in enumerate(load_digits().images)}
    found = {}
    for split in ("train", "test"):
        images = read("digits", split, tmp_path)
        found[split] = [own[images.image(i).max(axis=2).tobytes()] for i in range(len(images.labels))]
        assert load_digits().target[found[split]].tolist() == images.labels.tolist()
    assert len({*found["train"], *found["test"]}) == 96 + 32


def test_an_image_shows_the_digit_of_its_class_in_a_colour_of_the_class(tmp_path):
    images = read("cifar100", "train", tmp_path)
    colours = [images.image(i).reshape(-1, 3).max(axis=0) for i in range(96)]
    assert len({tuple(colour) for colour in colours}) > 90
    assert images.labels[3] == 3
    assert images.labels[13] == 13
    assert not np.array_equal(colours[3], colours[13])


def test_images_are_the_same_in_every_process(tmp_path):
    first, second = read("svhn", "test", tmp_path), read("svhn", "test", tmp_path)
    assert all((first.image(i) == second.image(i)).all() for i in range(32))


@pytest.mark.parametrize("of", ["cifar11", "toy", "folder"])
def test_a_set_without_a_fixed_shape_has_no_stand_in(of, tmp_path):
    with pytest.raises(DataError, match=rf"toy\(of={of}\): there is no stand-in for it; name a set of the catalog"):
        read(of, "train", tmp_path)


@pytest.mark.parametrize(
    ("of", "loader", "resolution"),
    [("cifar10", "resident", 32), ("eurosat", "resident", 64), ("flowers102", "stream", 64)],
)
def test_a_prepared_stand_in_is_read_as_its_set_is(of, loader, resolution, tmp_path):
    """Through the file format, the loader and the resolution that the set itself would have."""
    own, data = (
        describe_data(PROTOCOLS["demo"], Word("resnet20"), dataset, fraction=1.0, seed=0)
        for dataset in (Word(of), word(of))
    )
    assert (data.loader, data.resolution) == (own.loader, own.resolution) == (loader, resolution)
    assert (data.classes, data.mean, data.std) == (own.classes, own.mean, own.std)
    assert prepare.main([f"toy(of={of})", "--data", str(tmp_path)]) == 0
    sizes = {}
    for split in ("train", "validation", "test"):
        opened = open_split(data, split, data_root=tmp_path, batch_size=40)
        (batch, *_) = opened.batches(0)
        assert batch.inputs.shape[1:] == (3, resolution, resolution)
        sizes[split] = opened.n_examples
    assert sizes == {"train": 64, "validation": 32, "test": 32}


@pytest.mark.parametrize("of", SCENES)
def test_stand_ins_of_scenes_have_masks_or_boxes_of_the_classes_of_the_set(of, tmp_path):
    entry = DATASETS[of]
    for split, size in (("train", 96), ("test", 32)):
        images = read(of, split, tmp_path)
        assert len(images.labels) == size
        shape = (80, 96) if entry.storage == "jpg" else (64, 64)
        assert images.image(size - 1).shape == (*shape, 3)
        if entry.task == "segmentation":
            found = set(np.concatenate([images.masks(i).ravel() for i in range(size)]).tolist()) - {255}
            assert images.masks(0).shape == shape
        else:
            found = set(np.concatenate([images.objects(i) for i in range(size)])[:, 4].astype(int).tolist())
        assert found <= set(range(entry.classes))
        # Of about 240 or 80 objects.
        assert split == "test" or len(found) == entry.classes


def test_a_prepared_stand_in_of_scenes_is_read_at_the_side_of_a_network(tmp_path):
    data = describe_data(PROTOCOLS["demo"], Word("resnet20"), word("voc2012"), fraction=1.0, seed=0)
    assert (data.loader, data.task, data.classes) == ("dense", "segmentation", 21)
    assert prepare.main(["toy(of=voc2012)", "--data", str(tmp_path)]) == 0
    opened = open_split(data, "test", data_root=tmp_path, batch_size=4)
    batch = next(opened.batches(0))
    assert batch.inputs.shape == (4, 3, data.resolution, data.resolution)
    assert batch.labels.shape == (4, data.resolution, data.resolution)
