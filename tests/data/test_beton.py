"""Writing, checking and reading `.beton` files."""

import io
import json
import multiprocessing
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from bench.data import DataError, beton, encode, layout
from bench.data.records import Images
from bench.spec import Word

DIGITS = Word("digits")


def toy(n=300, height=8, width=8):
    pixels = np.random.default_rng(0).integers(0, 256, size=(n, height, width, 3), dtype=np.uint8)
    return Images(labels=np.arange(n, dtype=np.int64) % 10, image=pixels.__getitem__)


def write_file(path, images, *, resolution, storage):
    with path.open("w+b") as out:
        layout.write(out, images.labels, encode.encode(images, resolution=resolution, storage=storage))


def paths(root, split="train"):
    return beton.files(DIGITS, split, data_root=root, resolution=8)


@pytest.fixture
def prepared(tmp_path):
    beton.write(DIGITS, "train", data_root=tmp_path, resolution=8)
    return tmp_path


def test_records_have_the_layout_of_ffcv():
    from ffcv import types

    ours = (layout.HEADER, layout.FIELD, layout.SAMPLE, layout.ALLOCATION)
    image = types.TYPE_ID_HANDLER[2]()
    label = types.TYPE_ID_HANDLER[1]()
    sample = types.get_metadata_type([image, label])
    theirs = (types.HeaderType, types.FieldDescType, sample, types.ALLOC_TABLE_TYPE)
    assert [dtype.itemsize for dtype in ours] == [dtype.itemsize for dtype in theirs]
    assert [dtype.fields for dtype in ours[:2]] == [dtype.fields for dtype in theirs[:2]]
    assert ours[2] == theirs[2]
    assert ours[3].fields == theirs[3].fields


def test_files_are_byte_for_byte_those_of_the_writer_of_ffcv(tmp_path):
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    images = toy(n=20, height=256, width=256)  # 10 images to a page, so that pages are turned
    pairs = [(images.image(i), int(images.labels[i])) for i in range(20)]
    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    DatasetWriter(str(tmp_path / "theirs"), fields, page_size=layout.PAGE, num_workers=1).from_indexed_dataset(pairs)
    write_file(tmp_path / "ours", images, resolution=256, storage="raw")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_set_written_is_the_set_read(prepared):
    from bench.data import sources

    file = beton.read(DIGITS, "train", data_root=prepared, resolution=8)
    source = sources.digits("train", prepared)
    assert (file.labels == source.labels).all()
    for i in (0, 500, 1296):
        stored = file.buffer[file.pointers[i] : file.pointers[i] + file.lengths[i]].reshape(8, 8, 3)
        assert (stored == source.image(i)).all()


def test_rendered_sets_are_reduced_by_whole_blocks():
    checks = np.zeros((4, 4, 3), np.uint8)
    checks[:2, :2], checks[0, 2] = 255, 255
    assert encode.resize_square(checks, 2)[..., 0].tolist() == [[255, 64], [0, 0]]


def test_other_sizes_are_interpolated():
    ramp = np.repeat(np.array([[0, 100], [0, 100]], np.uint8)[:, :, None], 3, axis=2)
    assert encode.resize_square(ramp, 4)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_jpeg_images_keep_their_shape_with_the_shorter_side_reduced():
    from PIL import Image

    grey = np.full((60, 90, 3), 77, np.uint8)
    encoded = encode.encode_image(grey, resolution=30, storage="jpg")
    assert (encoded.mode, encoded.height, encoded.width) == (layout.JPEG, 30, 45)
    assert np.asarray(Image.open(io.BytesIO(encoded.payload))).shape == (30, 45, 3)
    small = encode.encode_image(grey, resolution=300, storage="jpg")
    assert (small.height, small.width) == (60, 90)


def test_encoding_keeps_the_order_and_raises_what_a_source_raises():
    images = toy(n=200)
    payloads = [image.payload for image in encode.encode(images, resolution=8, storage="raw")]
    assert payloads == [images.image(i).tobytes() for i in range(200)]

    def broken(i):
        raise DataError(f"image {i} is not readable")

    with pytest.raises(DataError, match="image 0 is not readable"):
        list(encode.encode(Images(labels=images.labels, image=broken), resolution=8, storage="raw"))


def test_a_missing_set_names_the_paths_and_the_command(tmp_path):
    with pytest.raises(DataError) as error:
        beton.read(DIGITS, "test", data_root=tmp_path, resolution=16)
    assert all(str(path) in str(error.value) for path in beton.files(DIGITS, "test", data_root=tmp_path, resolution=16))
    assert f"`python -m bench.prepare digits --resolution 16 --data {tmp_path}`" in str(error.value)


def truncate(root):
    with paths(root)[0].open("r+b") as file:
        file.truncate(1000)


def swap_labels(root):
    np.save(paths(root)[1], np.zeros(1297, np.int64))


def forget_sidecar(root):
    paths(root)[2].write_text("{}")


def point_outside(root):
    with paths(root)[0].open("r+b") as file:
        file.seek(-16, os.SEEK_END)
        file.write(np.uint64(1 << 40).tobytes())


def another_set(root):
    beton.write(Word("digits_inverted"), "train", data_root=root, resolution=8)
    foreign = beton.files(Word("digits_inverted"), "train", data_root=root, resolution=8)
    for source, target in zip(foreign, paths(root), strict=True):
        source.replace(target)


@pytest.mark.parametrize("damage", [truncate, swap_labels, forget_sidecar, point_outside, another_set])
def test_a_damaged_or_foreign_file_is_refused_and_can_be_written_again(prepared, damage):
    damage(prepared)
    with pytest.raises(
        DataError, match=r"damaged or foreign.*Write it again with `python -m bench.prepare digits --data"
    ):
        beton.read(DIGITS, "train", data_root=prepared, resolution=8)
    beton.write(DIGITS, "train", data_root=prepared, resolution=8)
    assert len(beton.read(DIGITS, "train", data_root=prepared, resolution=8).labels) == 1297


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(beton.os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*No space left on device; [0-9]+ MiB free"):
        beton.write(DIGITS, "train", data_root=tmp_path, resolution=8)
    assert list(paths(tmp_path)[0].parent.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    killed = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    folder = paths(tmp_path)[0].parent
    folder.mkdir(parents=True)
    dead, alive = (folder / f".train-8.beton.{socket.gethostname()}.{pid}.part" for pid in (int(killed.stdout), 1))
    elsewhere = folder / ".train-8.beton.another-machine.1.part"
    for part in (dead, alive, elsewhere):
        part.touch()
    beton.write(DIGITS, "train", data_root=tmp_path, resolution=8)
    assert sorted(path.name for path in folder.glob(".*")) == sorted([alive.name, elsewhere.name])


def test_processes_that_write_the_same_set_at_once_leave_one_whole_set(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [
        spawn.Process(target=beton.write, args=(DIGITS, "test"), kwargs={"data_root": tmp_path, "resolution": 8})
        for _ in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    file = beton.read(DIGITS, "test", data_root=tmp_path, resolution=8)
    assert beton.digest(file.path) == file.sha256
    assert sorted(path.name for path in file.path.parent.iterdir()) == [
        "test-8.beton",
        "test-8.json",
        "test-8.labels.npy",
    ]


def test_labels_beyond_the_classes_of_the_catalog_are_refused(tmp_path, monkeypatch):
    images = Images(labels=np.array([0, 10]), image=toy().image)
    monkeypatch.setattr(beton, "load", lambda _: lambda *_args, **_options: images)
    with pytest.raises(DataError, match="labels 0 to 10, where 10 classes are expected"):
        beton.write(DIGITS, "train", data_root=tmp_path, resolution=8)


def test_words_with_options_have_folders_of_their_own(tmp_path):
    birds, cats = (Word("folder", (("name", name), ("classes", 3))) for name in ("birds", "../cats"))
    folders = [beton.files(word, "train", data_root=tmp_path, resolution=256)[0].parent for word in (birds, cats)]
    assert [folder.name for folder in folders] == ["folder-birds-3", "folder-.._cats-3"]


@pytest.mark.parametrize(
    ("name", "resolution", "loader", "stored"),
    [
        ("cifar10", 32, "resident", 32),
        ("cifar10", 16, "resident", 16),
        ("cifar10", 224, "stream", 32),
        ("digits", 16, "resident", 16),
        ("flowers102", 224, "stream", 256),
        ("flowers102", 64, "resident", 256),
        ("flowers102", 384, "stream", 384),
    ],
)
def test_small_images_are_enlarged_by_the_reader_and_large_ones_kept_large(name, resolution, loader, stored):
    assert beton.file_resolution(Word(name), resolution=resolution, loader=loader) == stored


def test_the_sidecar_says_what_the_files_hold(prepared):
    sidecar = json.loads(paths(prepared)[2].read_text())
    assert (sidecar["dataset"], sidecar["split"], sidecar["n"], sidecar["classes"]) == ("digits", "train", 1297, 10)
    assert sidecar["sha256"] == beton.digest(paths(prepared)[0])
