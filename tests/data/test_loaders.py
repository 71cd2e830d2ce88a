"""The resident and the stream loader, through `open_split`."""

import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bench.catalog import DATASETS
from bench.data import DataError, beton, open_split, resident, sources, stream
from bench.spec import Data, Word


def describe(name, loader, *, resolution, validation=0, options=(), **changes):
    word = Word(name, options, label=name)
    classes = dict(options).get("classes") or DATASETS[name].classes
    return Data(
        dataset=word, classes=classes, resolution=resolution, loader=loader, mean=(0.5,) * 3, std=(0.5,) * 3,
        validation=validation, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the digits and with 40 JPEG photographs of various sizes in 2 classes."""
    root = tmp_path_factory.mktemp("data")
    draw = np.random.default_rng(0)
    for split, n in (("train", 40), ("val", 6)):
        for i in range(n):
            path = root / "raw" / "photos" / split / f"class{i % 2}" / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (int(draw.integers(250, 320)), int(draw.integers(250, 320)))
            coarse = Image.fromarray(draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8))
            coarse.resize(size, Image.Resampling.BICUBIC).save(path)
    for word, resolution in ((Word("digits"), 8), (PHOTOS.dataset, 256)):
        for split in ("train", "test"):
            beton.write(word, split, data_root=root, resolution=resolution)
    return root


PHOTOS = describe("folder", "stream", resolution=64, validation=8, options=(("name", "photos"), ("classes", 2)))
DIGITS = describe("digits", "resident", resolution=8, validation=200)
ENLARGED = describe("digits", "stream", resolution=24, validation=200)

CASES = {
    "resident": (DIGITS, ("crop", "flip"), 128),
    "stream jpeg": (PHOTOS, ("resized_crop", "flip"), 7),
    "stream raw": (ENLARGED, ("resized_crop", "flip"), 300),
    "stream crop": (PHOTOS, ("crop",), 7),
}


def read(root, case, split="train", epoch=0, start_step=0, **changes):
    data, augmentation, batch_size = CASES[case]
    arguments = {"batch_size": batch_size, "augmentation": augmentation, "seed": 5, "shuffle": True} | changes
    return list(open_split(data, split, data_root=root, **arguments).batches(epoch, start_step))


def equal(batches, others):
    assert len(batches) == len(others)
    return all(torch.equal(x, y) for b, o in zip(batches, others, strict=True) for x, y in zip(b, o, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_resumed_at_any_step_is_the_tail_of_the_epoch(root, case):
    whole = read(root, case, epoch=2)
    for step in (1, len(whole) - 1, len(whole)):
        assert equal(read(root, case, epoch=2, start_step=step), whole[step:])


@pytest.mark.parametrize("case", CASES)
def test_the_number_of_threads_changes_nothing(root, case, monkeypatch):
    monkeypatch.setattr(resident, "INLINE", 0)
    assert equal(read(root, case, threads=1), read(root, case, threads=3))


@pytest.mark.parametrize("case", CASES)
def test_the_batch_size_changes_no_image(root, case):
    def by_index(batches):
        images, indices = torch.cat([b.inputs for b in batches]), torch.cat([b.indices for b in batches])
        return images[indices.argsort()]

    assert torch.equal(by_index(read(root, case)), by_index(read(root, case, batch_size=11)))


@pytest.mark.parametrize("case", CASES)
def test_another_epoch_or_seed_shows_other_images(root, case):
    first = read(root, case)
    assert not equal(first, read(root, case, epoch=1))
    assert not equal(first, read(root, case, seed=6))


@pytest.mark.parametrize("case", CASES)
def test_ranks_together_read_every_batch(root, case):
    whole = read(root, case)
    parts = [read(root, case, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([part[step].inputs for part in parts]), batch.inputs)
        assert torch.equal(torch.cat([part[step].indices for part in parts]), batch.indices)


@pytest.mark.parametrize("case", CASES)
def test_every_example_comes_once_with_its_label(root, case):
    data, augmentation, batch_size = CASES[case]
    split = open_split(data, "train", data_root=root, batch_size=batch_size, augmentation=augmentation, shuffle=True)
    batches = list(split.batches(0))
    indices = torch.cat([b.indices for b in batches])
    assert len(batches) == split.steps_per_epoch
    assert sorted(indices.tolist()) == list(range(split.n_examples))
    assert torch.cat([b.labels for b in batches]).tolist() == split.labels[indices].tolist()


@pytest.mark.parametrize("case", CASES)
def test_images_are_float_planes_between_0_and_1(root, case):
    batch = read(root, case)[0]
    side = CASES[case][0].resolution
    assert batch.inputs.shape[1:] == (3, side, side)
    assert batch.inputs.dtype == torch.float32
    assert 0 <= batch.inputs.min() < batch.inputs.max() <= 1
    assert batch.inputs.is_contiguous()


@pytest.mark.parametrize("case", CASES)
def test_dropping_the_last_batch_keeps_the_others(root, case):
    whole = read(root, case, batch_size=9)
    kept = read(root, case, batch_size=9, drop_last=True)
    assert len(whole[-1].inputs) < 9
    assert equal(kept, whole[:-1])


def test_unaugmented_digits_are_the_source_over_255(root):
    batches = read(root, "resident", split="test", augmentation=(), shuffle=False)
    images, source = torch.cat([b.inputs for b in batches]), sources.digits("test", root)
    expected = np.stack([source.image(i) for i in range(500)]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(
        255
    )
    assert (images.numpy() == expected).all()


def test_training_and_validation_share_the_training_file(root):
    train, validation = (open_split(DIGITS, s, data_root=root, batch_size=64) for s in ("train", "validation"))
    assert (train.n_examples, validation.n_examples) == (1097, 200)
    assert np.bincount(validation.labels).min() >= 19


def test_a_fraction_shortens_training_only(root):
    tenth = dataclasses.replace(DIGITS, fraction=0.1)
    sizes = [open_split(tenth, s, data_root=root, batch_size=64).n_examples for s in ("train", "validation", "test")]
    assert sizes == [109, 200, 500]


IMAGE = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).repeat(1, 3, 1, 1)


@pytest.mark.parametrize(
    ("shift", "mirrored", "expected"),
    [
        ((0, 0), False, [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ((0, 0), True, [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),
        ((1, 0), False, [[4, 5, 6], [7, 8, 9], [0, 0, 0]]),
        ((0, -1), False, [[0, 1, 2], [0, 4, 5], [0, 7, 8]]),
        ((-1, 1), True, [[0, 0, 0], [0, 3, 2], [0, 6, 5]]),
    ],
)
def test_crops_shift_the_image_over_black_and_then_mirror_it(shift, mirrored, expected):
    arguments = IMAGE, np.array([0]), np.array([shift], np.int32), np.array([mirrored])
    levels = np.repeat(np.arange(256, dtype=np.float32)[None], 3, axis=0)
    assert resident.augment(*arguments, levels=levels)[0, 1].tolist() == expected


def test_the_gather_of_other_devices_equals_the_compiled_pass_bit_for_bit():
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.integers(0, 256, size=(50, 3, 12, 12), dtype=np.uint8))
    rows = draw.integers(0, 50, size=200)
    shifts = draw.integers(-3, 4, size=(200, 2), dtype=np.int32)
    mirrored = draw.random(200) < 0.5
    compiled = resident.augment(images, rows, shifts, mirrored, levels=resident.UNIT_LEVELS)
    assert torch.equal(resident.gather(images, rows, shifts, mirrored), compiled)


def test_bytes_for_other_devices_become_the_floats_of_the_cpu(root):
    split = open_split(PHOTOS, "train", data_root=root, batch_size=7, augmentation=("resized_crop", "flip"))
    view = split.read.args[0]
    as_bytes = [stream.to_planes(pixels) for _, pixels in stream.decoded(view, 1, 0, torch.uint8)]
    assert all(torch.equal(x, y.inputs) for x, y in zip(as_bytes, split.batches(1), strict=True))


def test_photographs_are_cropped_as_torchvision_crops_them(root):
    """Area resizing against bilinear with antialiasing, and the JPEG loss: equal to a few levels of 255."""
    from torchvision.transforms import functional as F

    split = open_split(PHOTOS, "test", data_root=root, batch_size=6)
    images = next(split.batches(0)).inputs
    for i, path in enumerate(sorted((root / "raw/photos/val").glob("*/*.jpg"))):
        resized = F.resize(F.center_crop(F.resize(Image.open(path), 256), 224), 64)
        assert (images[i] - F.to_tensor(resized)).abs().mean() < 3 / 255


def test_flips_mirror_the_crop(root):
    plain = read(root, "stream jpeg", augmentation=("resized_crop",))
    flipped = read(root, "stream jpeg")
    same = mirrored = 0
    for p, f in zip(plain, flipped, strict=True):
        for a, b in zip(p.inputs, f.inputs, strict=True):
            same, mirrored = same + torch.equal(a, b), mirrored + torch.equal(a.flip(2), b)
    assert same + mirrored == 32
    assert min(same, mirrored) > 0


def test_jpeg_sets_can_be_resident(root):
    data = dataclasses.replace(PHOTOS, loader="resident")
    resident_images = next(open_split(data, "test", data_root=root, batch_size=6).batches(0)).inputs
    streamed = next(open_split(PHOTOS, "test", data_root=root, batch_size=6).batches(0)).inputs
    assert torch.equal(resident_images, streamed)


def test_a_set_is_decoded_once_per_process(root):
    first, second = (open_split(DIGITS, s, data_root=root, batch_size=64) for s in ("train", "validation"))
    assert resident.decoded(first.read.args[0]) is resident.decoded(second.read.args[0])


def test_leaving_an_epoch_early_leaves_the_loader_usable(root):
    split = open_split(PHOTOS, "train", data_root=root, batch_size=4, threads=2)
    batches = split.batches(0)
    next(batches)
    batches.close()
    assert len(list(split.batches(0))) == split.steps_per_epoch


def damaged_copy(root, tmp_path, data):
    """The set with the middle of its file overwritten, sizes and sidecar unchanged."""
    (tmp_path / "beton").symlink_to(root / "beton")
    file = beton.read(data.dataset, "test", data_root=tmp_path, resolution=256 if data is PHOTOS else 8)
    copy = tmp_path / "copy" / "beton" / file.path.parent.name
    copy.mkdir(parents=True)
    for path in file.path.parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / file.path.name).open("r+b") as out:
        out.seek(int(file.pointers[3]))
        out.write(bytes(int(file.lengths[3])))
    return tmp_path / "copy"


def test_a_damaged_photograph_is_named(root, tmp_path):
    split = open_split(PHOTOS, "test", data_root=damaged_copy(root, tmp_path, PHOTOS), batch_size=6)
    with pytest.raises(DataError, match="image 3 does not decode"):
        list(split.batches(0))


def test_a_damaged_resident_file_is_refused(root, tmp_path):
    split = open_split(DIGITS, "test", data_root=damaged_copy(root, tmp_path, DIGITS), batch_size=6)
    with pytest.raises(DataError, match="sha256"):
        list(split.batches(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "known: train, validation, test"),
        ({"augmentation": ("resized_crop",)}, r"no augmentation 'resized_crop' \(known: crop, flip\)"),
        ({"batch_size": 0}, "must be positive"),
        ({"rank": 2, "world_size": 2}, "must be positive"),
        ({"data": dataclasses.replace(DIGITS, loader="lazy")}, "known: resident, stream"),
        ({"data": dataclasses.replace(DIGITS, validation=0), "split": "validation"}, "validation split is empty"),
        ({"data": dataclasses.replace(DIGITS, validation=1297)}, "leave at least one"),
        ({"data": dataclasses.replace(DIGITS, resolution=9)}, "bench.prepare digits --resolution 9"),
    ],
)
def test_requests_that_do_not_fit_are_refused_in_one_sentence(root, changes, message):
    arguments = {"data": DIGITS, "split": "train", "batch_size": 8} | changes
    with pytest.raises(DataError, match=message):
        open_split(arguments.pop("data"), arguments.pop("split"), data_root=root, **arguments)


def test_a_step_outside_the_epoch_is_refused(root):
    with pytest.raises(DataError, match="step 99 lies outside an epoch of 8 steps"):
        open_split(DIGITS, "test", data_root=root, batch_size=64).batches(0, 99)


def test_importing_the_package_imports_neither_torch_nor_numba_nor_ffcv():
    code = "import sys, bench.data, bench.prepare; print(sorted({'torch', 'numba', 'ffcv', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_reading_does_not_import_the_python_part_of_ffcv(root):
    code = (
        "import sys, pathlib, pickle; from bench.data import open_split\n"
        "data = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "next(open_split(data, 'test', data_root=pathlib.Path(sys.argv[2]), batch_size=4).batches(0))\n"
        "print('ffcv' in sys.modules)"
    )
    arguments = [sys.executable, "-c", code, pickle.dumps(PHOTOS).hex(), str(root)]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout == "False\n"
