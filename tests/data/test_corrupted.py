"""The published corruption files: found, checked, sliced by severity, resized like other images."""

import numpy as np
import pytest
import torch

from bench.corruptions import CORRUPTIONS
from bench.data import DataError
from bench.data.corrupted import corrupted, present
from bench.spec import Word

SET = Word("cifar10")


def read(root, corruption="fog", severity=2, *, resolution=32, **changes):
    return list(
        corrupted(
            SET, corruption, severity, data_root=root, resolution=resolution, batch_size=4, device="cpu", **changes
        )
    )


@pytest.fixture
def root(tmp_path):
    """fog.npy, which is zero but in three places, and labels.npy. The rest of the file is a hole and takes no room."""
    folder = tmp_path / "raw" / "CIFAR-10-C"
    folder.mkdir(parents=True)
    images = np.lib.format.open_memmap(folder / "fog.npy", mode="w+", dtype=np.uint8, shape=(50_000, 32, 32, 3))
    images[10_000, :, :, 0] = 255
    images[10_001] = np.arange(32 * 32 * 3).reshape(32, 32, 3) % 251
    images[49_999] = 51
    images.flush()
    np.save(folder / "labels.npy", np.tile(np.arange(10_000) % 10, 5).astype(np.uint8))
    return tmp_path


def test_a_severity_is_its_slice_of_10000_in_batches_with_indices(root):
    found = read(root)
    assert [len(batch.labels) for batch in found] == [4] * 2500
    first = found[0]
    assert first.indices.tolist() == [0, 1, 2, 3]
    assert first.labels.tolist() == [0, 1, 2, 3]
    assert first.labels.dtype == torch.int64
    assert first.inputs.dtype == torch.float32
    assert first.inputs[0].mean(dim=(1, 2)).tolist() == [1.0, 0.0, 0.0]
    expected = torch.from_numpy(np.arange(32 * 32 * 3).reshape(32, 32, 3) % 251).permute(2, 0, 1)
    assert torch.equal((first.inputs[1] * 255).round().long(), expected)
    assert not first.inputs[2].any()


def test_rows_come_in_their_order_with_new_indices(root):
    (batch,) = read(root, severity=5, rows=np.array([9_999, 3]))
    assert batch.indices.tolist() == [0, 1]
    assert batch.labels.tolist() == [9, 3]
    assert batch.inputs[0].unique().tolist() == pytest.approx([0.2])
    assert not batch.inputs[1].any()


def test_the_resident_loader_sees_whole_images_resized(root):
    (half,) = read(root, resolution=16, rows=np.array([0, 1]))
    (full,) = read(root, rows=np.array([0, 1]))
    assert half.inputs[0].mean(dim=(1, 2)).tolist() == [1.0, 0.0, 0.0]
    blocks = full.inputs[1].view(3, 16, 2, 16, 2).mean(dim=(2, 4))
    assert torch.allclose(half.inputs[1], blocks, atol=0.501 / 255)  # whole blocks: their mean, rounded
    (double,) = read(root, resolution=64, rows=np.array([0]))
    assert double.inputs.shape == (1, 3, 64, 64)
    assert double.inputs.mean(dim=(2, 3)).tolist() == [[1.0, 0.0, 0.0]]


def test_the_stream_loader_sees_the_central_crop_resized(root):
    (batch,) = read(root, resolution=28, rows=np.array([1, 0]), loader="stream")
    (full,) = read(root, rows=np.array([1, 0]))
    # 28 of 32 px are the crop of evaluation, so that at 28 px nothing is left to resize.
    assert torch.equal(batch.inputs, full.inputs[:, :, 2:30, 2:30])
    assert batch.indices.tolist() == [0, 1]
    assert batch.labels.tolist() == [1, 0]


def test_a_set_is_present_when_all_its_files_are(root):
    assert not present(SET, root)
    for name in CORRUPTIONS:
        (root / "raw" / "CIFAR-10-C" / f"{name}.npy").touch()
    assert present(SET, root)
    assert not present(Word("cifar100"), root)
    assert not present(Word("svhn"), root)


def test_a_missing_file_says_where_it_was_looked_for_and_what_to_do(root):
    with pytest.raises(
        DataError, match=r"no snow.npy \(looked for .*CIFAR-10-C/snow.npy\). Unpack the published CIFAR-10-C"
    ):
        read(root, "snow")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fog", np.zeros((10_000, 32, 32, 3), np.uint8), r"\(10000, 32, 32, 3\) uint8, expected \(50000, 32, 32, 3\)"),
        ("fog", np.zeros((50_000, 1), np.uint8), r"expected \(50000, 32, 32, 3\) uint8"),
        ("labels", np.zeros(10_000, np.uint8), r"\(10000,\) uint8, expected \(50000,\) integers"),
        ("labels", np.full(50_000, 10), "labels 10 to 10, expected 10 classes"),
    ],
)
def test_files_of_another_shape_are_refused(root, name, content, message):
    np.save(root / "raw" / "CIFAR-10-C" / f"{name}.npy", content)
    with pytest.raises(DataError, match=message):
        read(root)


def test_a_truncated_file_is_refused(root):
    path = root / "raw" / "CIFAR-10-C" / "fog.npy"
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="is damaged"):
        read(root)


@pytest.mark.parametrize(
    ("word", "corruption", "severity"), [("svhn", "fog", 1), ("cifar10", "rain", 1), ("cifar10", "fog", 6)]
)
def test_what_is_not_published_is_refused(root, word, corruption, severity):
    with pytest.raises(DataError, match="the published corruptions are of cifar10, cifar100, at severities 1 to 5"):
        corrupted(Word(word), corruption, severity, data_root=root, resolution=32, batch_size=4, device="cpu")


def test_rows_outside_the_split_are_refused(root):
    with pytest.raises(DataError, match="rows of the corrupted test split are 0 to 9999"):
        read(root, rows=np.array([10_000]))
