"""Masks and boxes beside `.beton` files."""

import io
import json
from functools import partial

import numpy as np
import pytest

from bench import prepare
from bench.catalog import DATASETS
from bench.data import DataError, beton, targets
from bench.data.records import Images
from bench.data.sources import scenes
from bench.spec import Word

BOXES, MASKS = Word("scenes_detection"), Word("scenes_segmentation")
COUNTS = {"trainval": 10, "test": 4}
MASK = np.array([[0, 1, 2, 255], [0, 1, 2, 255]], np.uint8)


@pytest.fixture
def few(monkeypatch):
    """Ten training and four test scenes instead of hundreds."""
    monkeypatch.setattr(scenes, "COUNTS", COUNTS)


@pytest.fixture
def prepared(few, tmp_path):
    for word in (BOXES, MASKS):
        beton.write(word, "train", data_root=tmp_path, resolution=64)
    return tmp_path


def paths(root, word):
    return beton.files(word, "train", data_root=root, resolution=64)


def read(root, word):
    return beton.read(word, "train", data_root=root, resolution=64)


def written(images, shapes, resolution, storage, classes=3):
    out = io.BytesIO()
    targets.write(out, images, np.array(shapes), classes=classes, resolution=resolution, storage=storage)
    return out.getvalue()


def image(i):
    raise AssertionError("images are not read again")


def with_mask(mask):
    return Images(labels=np.zeros(1, np.int64), image=image, masks=lambda i: mask)


def with_objects(*rows):
    found = [np.array(row, np.float32) for row in rows]
    return Images(labels=np.zeros(len(rows), np.int64), image=image, objects=found.__getitem__)


def test_a_mask_is_resized_by_the_nearest_pixel_to_the_stored_image():
    # 2 x 4 at one pixel: shorter side 1, so 1 x 2; centres fall on line 1 and columns 1 and 3.
    assert list(written(with_mask(MASK), [(2, 4)], 1, "jpg")) == [1, 255]
    # Four pixels square, as raw images are: every line twice.
    assert list(written(with_mask(MASK), [(2, 4)], 4, "raw")) == [0, 1, 2, 255] * 4
    # JPEG images are never enlarged.
    assert list(written(with_mask(MASK), [(2, 4)], 8, "jpg")) == [0, 1, 2, 255] * 2


def test_boxes_are_cut_at_the_edges_of_the_image_and_scaled_to_the_stored_one():
    images = with_objects([[1, 0, 3, 2, 2, 1], [-0.5, 0.5, 4.5, 1, 0, 0]], np.zeros((0, 6)), [[0, 0, 4, 2, 1, 0]])
    found = np.load(io.BytesIO(written(images, [(2, 4)] * 3, 8, "raw")))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 2, 0, 6, 8, 2, 1], [0, 0, 2, 8, 4, 0, 0], [2, 0, 0, 8, 8, 1, 0]]


def test_a_set_without_objects_has_an_empty_table():
    found = np.load(io.BytesIO(written(with_objects(np.zeros((0, 6))), [(2, 4)], 8, "raw")))
    assert found.shape == (0, 7)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (with_mask(MASK.T), "image 0 has 2 x 4 pixels, its mask 4 x 2"),
        (with_mask(MASK + 1), "image 0: a mask with class 3, where 3 are expected"),
        (with_objects([[0, 0, 1, 1, 3, 0]]), "none of 3 classes"),
        (with_objects([[4, 0, 6, 1, 0, 0]]), r"has an object \[4.0, 0.0, 6.0, 1.0, 0.0, 0.0\]"),
        (Images(labels=np.zeros(1, np.int64), image=image), "without masks and without objects"),
    ],
)
def test_targets_that_do_not_fit_their_image_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        written(images, [(2, 4)], 2, "jpg")


def test_a_set_written_is_the_set_read(prepared):
    source = partial(
        scenes.drawn, prepared / "raw/digit_scenes", "train", names=scenes.NAMES, counts=COUNTS, size=(64, 64)
    )
    masks, boxes = read(prepared, MASKS), read(prepared, BOXES)
    drawn_masks, drawn_boxes = source(task="segmentation"), source(task="detection")
    assert masks.labels.tolist() == drawn_masks.labels.tolist()
    assert boxes.labels.tolist() == drawn_boxes.labels.tolist()
    stored = masks.targets.masks.reshape(10, 64, 64)
    for i in range(10):
        assert (stored[i] == drawn_masks.masks(i)).all()
        found = boxes.targets.boxes[boxes.targets.boxes[:, 0] == i]
        assert found[:, 1:].tolist() == drawn_boxes.objects(i).tolist()
        pixels = masks.buffer[masks.pointers[i] : masks.pointers[i] + masks.lengths[i]].reshape(64, 64, 3)
        assert (pixels == drawn_masks.image(i)).all()
    assert (masks.targets.boxes, boxes.targets.masks) == (None, None)


def test_the_sidecar_says_what_the_targets_are(prepared):
    files = paths(prepared, MASKS)
    assert [path.name for path in files] == ["train-64.beton", "train-64.labels.npy", "train-64.json", "train-64.masks"]
    sidecar = json.loads(files[2].read_text())
    assert (sidecar["task"], sidecar["targets_bytes"]) == ("segmentation", 10 * 64 * 64)
    assert sidecar["targets_sha256"] == beton.digest(files[3])
    assert paths(prepared, BOXES)[3].name == "train-64.boxes.npy"
    assert not list(prepared.rglob("*.part"))


def test_sidecars_of_classification_sets_are_as_they_were(tmp_path):
    beton.write(Word("digits"), "test", data_root=tmp_path, resolution=8)
    files = beton.files(Word("digits"), "test", data_root=tmp_path, resolution=8)
    assert len(files) == 3
    assert list(json.loads(files[2].read_text())) == [
        "format", "dataset", "options", "split", "resolution", "classes", "storage", "n", "bytes", "sha256", "labels_sha256",
    ]  # fmt: skip


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def scribble(path):
    with path.open("r+b") as file:
        file.seek(-1, io.SEEK_END)
        file.write(b"\x07")


@pytest.mark.parametrize(
    ("word", "damage"), [(MASKS, shorten), (BOXES, shorten), (BOXES, scribble)], ids=["masks", "boxes", "bytes"]
)
def test_damaged_targets_are_refused(prepared, word, damage):
    damage(paths(prepared, word)[3])
    with pytest.raises(DataError, match=rf"damaged or foreign .*Write it again with `python -m bench.prepare {word}"):
        read(prepared, word)


def test_missing_targets_are_named(prepared):
    paths(prepared, MASKS)[3].unlink()
    with pytest.raises(DataError, match=r"train-64\.masks is missing"):
        read(prepared, MASKS)


def test_a_mask_that_is_not_as_written_is_written_again(few, tmp_path, capsys):
    """Reading does not compute the digest of what is as large as the images; preparing does."""
    assert prepare.main(["scenes_segmentation", "--data", str(tmp_path)]) == 0
    path = paths(tmp_path, MASKS)[3]
    whole = path.read_bytes()
    scribble(path)
    assert not beton.intact(read(tmp_path, MASKS))
    assert prepare.main(["scenes_segmentation", "--data", str(tmp_path)]) == 0
    assert "written in" in capsys.readouterr().out.splitlines()[1]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "resolution", "stored"),
    [("scenes_detection", 32, 64), ("scenes_segmentation", 128, 64), ("voc2012", 64, 513), ("voc2012", 600, 600)],
)
def test_scenes_are_kept_as_they_are_for_the_loader_to_resize(name, resolution, stored):
    assert DATASETS[name].task != "classification"
    assert beton.file_resolution(Word(name), resolution=resolution, loader="dense") == stored
