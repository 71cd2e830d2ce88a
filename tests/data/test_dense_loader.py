"""The dense loader: windows into scenes, and their masks and boxes with them."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from bench.catalog import described
from bench.data import DataError, beton, dense, draws, open_split, windows
from bench.data.sources import scenes
from bench.spec import Data, Views, Word

TOY = Word("toy", (("of", "voc2012"),))
TOY_BOXES = Word("toy", (("of", "voc2007"),))


def describe(word, resolution, validation=8):
    entry = described(word)
    return Data(
        dataset=word, classes=entry.classes, resolution=resolution, loader="dense", mean=entry.mean, std=entry.std,
        validation=validation, task=entry.task,
    )  # fmt: skip


MASKS, BOXES = describe(Word("scenes_segmentation"), 64), describe(Word("scenes_detection"), 64)
CASES = {
    "masks": MASKS,
    "boxes": BOXES,
    "jpeg masks": describe(TOY, 48),
    "jpeg boxes": describe(TOY_BOXES, 48),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with 40 training and 6 test scenes, and the stand-ins of VOC, which are JPEG of 80 x 96 pixels."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "COUNTS", {"trainval": 40, "test": 6})
        for word, resolution in ((MASKS.dataset, 64), (BOXES.dataset, 64), (TOY, 96), (TOY_BOXES, 96)):
            for split in ("train", "test"):
                beton.write(word, split, data_root=root, resolution=resolution)
    return root


def opened(root, case, split="train", **changes):
    arguments = {"batch_size": 7, "augmentation": ("flip", "scale_crop"), "seed": 5, "shuffle": True} | changes
    return open_split(CASES[case], split, data_root=root, **arguments)


def read(root, case, split="train", epoch=0, start_step=0, **changes):
    return list(opened(root, case, split, **changes).batches(epoch, start_step))


def flat(batch):
    """All tensors of a batch."""
    labels = (
        [batch.labels] if isinstance(batch.labels, torch.Tensor) else [part for each in batch.labels for part in each]
    )
    return [batch.inputs, *labels, batch.indices]


def equal(batches, others):
    assert len(batches) == len(others)
    pairs = [(flat(batch), flat(other)) for batch, other in zip(batches, others, strict=True)]
    return all(len(x) == len(y) and all(map(torch.equal, x, y)) for x, y in pairs)


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_resumed_at_any_step_is_the_tail_of_the_epoch(root, case):
    whole = read(root, case, epoch=2)
    for step in (1, len(whole) - 1, len(whole)):
        assert equal(read(root, case, epoch=2, start_step=step), whole[step:])


@pytest.mark.parametrize("case", CASES)
def test_threads_and_the_number_of_batches_change_nothing(root, case):
    assert equal(read(root, case), read(root, case, threads=3))
    by_index = [
        {
            int(i): image
            for batch in read(root, case, batch_size=size)
            for i, image in zip(batch.indices, batch.inputs, strict=True)
        }
        for size in (7, 11)
    ]
    assert all(torch.equal(image, by_index[1][i]) for i, image in by_index[0].items())


@pytest.mark.parametrize("case", CASES)
def test_another_epoch_or_seed_shows_other_windows(root, case):
    first = read(root, case)
    assert not equal(first, read(root, case, epoch=1))
    assert not equal(first, read(root, case, seed=6))


@pytest.mark.parametrize("case", CASES)
def test_ranks_together_read_every_batch(root, case):
    parts = [read(root, case, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(read(root, case)):
        assert torch.equal(torch.cat([part[step].inputs for part in parts]), batch.inputs)
        labels = [part[step].labels for part in parts]
        if isinstance(batch.labels, torch.Tensor):
            assert torch.equal(torch.cat(labels), batch.labels)
        else:
            joined = [each for part in labels for each in part]
            assert len(joined) == len(batch.labels)
            assert all(torch.equal(a.boxes, b.boxes) for a, b in zip(joined, batch.labels, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_batches_have_the_shapes_that_networks_and_losses_expect(root, case):
    side = CASES[case].resolution
    for batch in read(root, case):
        b = len(batch.indices)
        assert batch.inputs.shape == (b, 3, side, side)
        assert batch.inputs.dtype == torch.float32
        assert 0 <= batch.inputs.min() < batch.inputs.max() <= 1
        if CASES[case].task == "segmentation":
            assert batch.labels.shape == (b, side, side)
            assert batch.labels.dtype == torch.int64
            assert set(batch.labels.unique().tolist()) <= {*range(CASES[case].classes), 255}
            continue
        assert len(batch.labels) == b
        for boxes, classes, difficult in batch.labels:
            assert (boxes.dtype, classes.dtype, difficult.dtype) == (torch.float32, torch.int64, torch.bool)
            assert boxes.shape == (len(classes), 4)
            assert len(difficult) == len(classes)
            assert (boxes >= 0).all()
            assert (boxes <= side).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()


def test_unaugmented_scenes_are_the_stored_ones(root):
    file = beton.read(MASKS.dataset, "test", data_root=root, resolution=64)
    pixels = np.stack([file.buffer[p : p + 64 * 64 * 3].reshape(64, 64, 3) for p in file.pointers])
    (batch,) = read(root, "masks", "test", augmentation=(), shuffle=False)
    assert (batch.inputs.numpy() == pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)).all()
    assert (batch.labels.numpy() == file.targets.masks.reshape(6, 64, 64)).all()


def test_unaugmented_boxes_are_those_of_the_whole_image_squeezed(root):
    file = beton.read(TOY_BOXES, "test", data_root=root, resolution=96)
    batch = read(root, "jpeg boxes", "test", augmentation=(), shuffle=False)[0]
    for i, found in enumerate(batch.labels):
        rows = file.targets.boxes[file.targets.boxes[:, 0] == i]
        # 80 x 96 pixels squeezed to 48 x 48; float32.
        assert np.allclose(found.boxes, rows[:, 1:5] * [0.5, 0.6, 0.5, 0.6], atol=1e-5)
        assert found.classes.tolist() == rows[:, 5].tolist()
        assert found.difficult.tolist() == (rows[:, 6] > 0).tolist()


def test_without_augmentation_a_segmented_image_is_cropped_centrally(root):
    file = beton.read(TOY, "test", data_root=root, resolution=96)
    batch = read(root, "jpeg masks", "test", augmentation=(), shuffle=False)[0]
    for i in range(7):
        mask = Image.fromarray(file.targets.masks[i * 80 * 96 : (i + 1) * 80 * 96].reshape(80, 96))
        shown = mask.resize((48, 48), Image.Resampling.NEAREST, box=(8, 0, 88, 80))
        assert (batch.labels[i].numpy() == np.asarray(shown)).all()


def cut(pixels, window, side, *, flip=False, outside=(0.25, 0.5, 0.75)):
    """One window of one raw image and of its first channel as a mask."""
    h, w = pixels.shape[:2]
    arguments = np.array([h]), np.array([w]), np.array([0]), np.array([window], np.float64), np.array([flip])
    out, mask = np.empty((1, 3, side, side), np.float32), np.empty((1, side, side), np.uint8)
    zero = np.zeros(1, np.int64)
    damaged = windows.cut_images(
        pixels.ravel(), zero, np.array([pixels.size]), np.array([False]), *arguments, np.array(outside, np.float32), out
    )
    assert damaged == -1
    windows.cut_masks(np.ascontiguousarray(pixels[:, :, 0]).ravel(), zero, *arguments, 255, mask)
    return out[0], mask[0]


RAMP = np.repeat(np.array([[10, 20, 30], [40, 50, 60]], np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    ("window", "flip", "image", "mask"),
    [
        # top, left, height, width: two by two pixels as they are, mirrored, and one to the right of the image.
        ((0, 0, 2, 2), False, [[10, 20], [40, 50]], [[10, 20], [40, 50]]),
        ((0, 0, 2, 2), True, [[20, 10], [50, 40]], [[20, 10], [50, 40]]),
        ((0, 2, 2, 2), False, [[30, None], [60, None]], [[30, 255], [60, 255]]),
        ((-1, 0, 2, 2), True, [[None, None], [20, 10]], [[255, 255], [20, 10]]),
        # Half a pixel to the right: means of neighbours, and the right one of them.
        ((0, 0.5, 2, 2), False, [[15, 25], [45, 55]], [[20, 30], [50, 60]]),
        # One pixel enlarged to two: a quarter of the way to the neighbours; the edge has none above.
        ((0, 1, 1, 1), False, [[17.5, 22.5], [25, 30]], [[20, 20], [20, 20]]),
    ],
)
def test_windows_by_hand(window, flip, image, mask):
    found, shown = cut(RAMP, window, 2, flip=flip)
    expected = [[np.nan if value is None else value for value in line] for line in image]
    # float32 sums of two products.
    assert np.allclose(np.where(np.isnan(expected), np.nan, found[1] * 255), expected, atol=1e-4, equal_nan=True)
    assert (found[:, np.isnan(expected)] == np.array([[0.25], [0.5], [0.75]])).all()
    assert shown.tolist() == mask


@pytest.mark.parametrize("window", [(3.25, 5.5, 20.0, 18.0), (0, 0, 40, 30), (10.5, 2, 6, 27), (1, 1, 5, 4)])
def test_windows_inside_are_resized_as_pillow_resizes_boxes(window):
    pixels = np.random.default_rng(0).integers(0, 255, size=(40, 30, 3), dtype=np.uint8)
    top, left, height, width = window
    box = (left, top, left + width, top + height)
    theirs = np.asarray(Image.fromarray(pixels).resize((12, 12), Image.Resampling.BILINEAR, box=box))
    found, mask = cut(pixels, window, 12)
    # Pillow rounds to bytes after each of two passes.
    assert np.abs(found.transpose(1, 2, 0) * 255 - theirs).max() <= 1.01
    nearest = Image.fromarray(pixels[:, :, 0]).resize((12, 12), Image.Resampling.NEAREST, box=box)
    assert (mask == np.asarray(nearest)).all()


H, W = np.full(4000, 300.0), np.full(4000, 200.0)


def test_scaled_windows_are_squares_of_half_to_twice_the_size_at_a_random_place():
    # A network of 100 pixels at half the scale of the file: windows of 100 / (0.5 * s) pixels.
    top, left, height, width = dense.scaled(H, W, 100, 0.5, seed=0, epoch=0).T
    assert (height == width).all()
    assert 100 <= height.min() < 101
    assert 395 < height.max() <= 400
    # The scale is uniform: the standard deviation of the mean of 4,000 draws on [0.5, 2] is 0.0068.
    assert abs((200 / height).mean() - 1.25) < 5 * 0.0068
    inside = height <= 200
    assert (left[inside] >= 0).all()
    assert (left + width <= 200)[inside].all()
    around = height > 300
    assert (top[around] <= 0).all()
    assert (top + height >= 300)[around].all()


def test_stretched_windows_have_sides_and_aspects_in_range():
    top, left, height, width = dense.stretched(H, W, seed=0, epoch=0).T
    tall, wide = height / 300, width / 200
    for share in (tall, wide):
        assert 0.5 <= share.min() < 0.51
        assert 1.19 < share.max() <= 1.2
    aspect = tall / wide
    assert 0.75 - 1e-9 <= aspect.min() < 0.76
    assert 1.32 < aspect.max() <= 4 / 3 + 1e-9
    small = tall <= 1
    assert (top[small] >= 0).all()
    assert (top + height <= 300 + 1e-9)[small].all()
    assert (left[wide > 1] <= 0).all()


def test_whole_and_central_windows():
    sizes = np.array([3.0, 5.0]), np.array([8.0, 5.0])
    assert dense.whole(*sizes).tolist() == [[0, 0, 3, 8], [0, 0, 5, 5]]
    assert dense.central(*sizes).tolist() == [[0, 2, 3, 3], [0, 0, 5, 5]]


def test_draws_are_of_kinds_of_their_own():
    from bench.data import views

    others = {
        draws.ORDER,
        draws.CROP,
        draws.FLIP,
        draws.RESIZED_CROP,
        *range(views.FIRST, views.FIRST + 2 * views.KINDS),
    }
    assert not {dense.SCALE, dense.PLACE} & others


def moved(root, rows, window, *, flip=False, crops=True):
    view = opened(root, "boxes", augmentation=("scale_crop",) if crops else ()).read.args[0]
    return dense.seen(np.array(rows, np.float32), np.array(window, np.float64), flip, view).tolist()


def test_boxes_move_with_the_window_and_are_cut_at_its_edges(root):
    # 64 pixels a side: a window of 32 x 16 pixels from (top 8, left 16) enlarges 2 times down and 4 times across.
    assert moved(root, [[18, 10, 24, 40, 3, 1]], (8, 16, 32, 16)) == [[8, 4, 32, 64, 3, 1]]
    assert moved(root, [[18, 10, 24, 40, 3, 1]], (8, 16, 32, 16), flip=True) == [[32, 4, 56, 64, 3, 1]]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((-12, 0, 4, 8), True),  # a quarter is left
        ((-13, 0, 4, 8), False),
        ((20, 20, 22, 22), True),
        ((20, 20, 21.9, 40), False),  # narrower than two pixels
        ((70, 0, 80, 8), False),
    ],
)
def test_boxes_of_which_little_is_left_are_dropped_where_windows_are_random(root, box, kept):
    assert len(moved(root, [[*box, 0, 0]], (0, 0, 64, 64))) == kept
    assert len(moved(root, [[*box, 0, 0]], (0, 0, 64, 64), crops=False)) == 1


def aligned(n=200):
    """Windows of both kinds into images of 60 x 50 pixels."""
    h, w = np.full(n, 60.0), np.full(n, 50.0)
    return np.concatenate([dense.scaled(h, w, 64, 1.0, seed=3, epoch=1), dense.stretched(h, w, seed=3, epoch=1)])


@pytest.mark.parametrize("flip", [False, True])
def test_image_mask_and_box_stay_aligned(root, flip):
    """The tight box of a white rectangle, found in the window's image and mask, is the rectangle's box moved."""
    pixels = np.zeros((60, 50, 3), np.uint8)
    pixels[20:45, 10:30] = 1
    checked = 0
    for window in aligned():
        image, mask = cut(pixels * 254, window, 64, flip=flip, outside=(0, 0, 0))
        _, classes = cut(pixels, window, 64, flip=flip)
        assert (mask[classes == 255] == 255).all()
        # Bilinear edges pass one half where the nearest pixel changes, but for windows that are sampled coarsely.
        assert ((image[0] * 255 >= 127) == (classes == 1)).mean() > 0.97
        boxes = moved(root, [[10, 20, 30, 45, 0, 0]], window, flip=flip, crops=False)[0]
        y, x = np.nonzero(classes == 1)
        if len(y) == 0:
            continue
        checked += 1
        tight = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        # A pixel belongs to the rectangle if its centre does: half a pixel on every side.
        assert np.abs(np.array(tight) - boxes[:4]).max() <= 0.5 + 1e-4
    assert checked > 300


def test_flips_mirror_image_and_mask(root):
    plain, flipped = (
        read(root, "masks", shuffle=False, augmentation=words) for words in (("scale_crop",), ("flip", "scale_crop"))
    )
    same = mirrored = 0
    for p, f in zip(plain, flipped, strict=True):
        for i in range(len(p.inputs)):
            same += torch.equal(p.inputs[i], f.inputs[i]) and torch.equal(p.labels[i], f.labels[i])
            mirrored += torch.equal(p.inputs[i].flip(2), f.inputs[i]) and torch.equal(p.labels[i].flip(1), f.labels[i])
    assert same + mirrored == 32
    assert min(same, mirrored) > 0


def test_beyond_the_image_is_the_mean_of_the_set_and_not_counted(root):
    batches = read(root, "jpeg masks", augmentation=("scale_crop",))
    mean = torch.tensor(CASES["jpeg masks"].mean)
    outside = 0
    for batch in batches:
        beyond = (batch.inputs == mean[None, :, None, None]).all(dim=1)
        outside += int(beyond.sum())
        assert (batch.labels[beyond] == 255).all()
    # The scale reaches from 0.5 to 2, and an image of 80 x 96 fills its window from 96 / 80 on.
    assert outside > 0


def test_a_damaged_scene_is_named(root, tmp_path):
    file = beton.read(TOY, "test", data_root=root, resolution=96)
    copy = tmp_path / "beton" / file.path.parent.name
    copy.mkdir(parents=True)
    for path in file.path.parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / file.path.name).open("r+b") as out:
        out.seek(int(file.pointers[3]))
        out.write(bytes(int(file.lengths[3])))
    with pytest.raises(DataError, match="image 3 does not decode"):
        read(tmp_path, "jpeg masks", "test")


DIGITS = Data(
    dataset=Word("digits"), classes=10, resolution=8, loader="resident", mean=(0.5,) * 3, std=(0.5,) * 3, validation=10
)  # fmt: skip


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (
            dataclasses.replace(MASKS, loader="resident"),
            {},
            "is a segmentation set, and the resident loader reads none",
        ),
        (dataclasses.replace(BOXES, loader="stream"), {}, "is a detection set, and the stream loader reads none"),
        (dataclasses.replace(DIGITS, loader="dense"), {}, "is a classification set, and the dense loader reads none"),
        (MASKS, {"augmentation": ("crop",)}, r"no augmentation 'crop' \(known: flip, scale_crop\)"),
        (MASKS, {"views": Views()}, "two views are of images without masks or boxes"),
    ],
)
def test_requests_that_do_not_fit_are_refused(root, data, changes, message):
    with pytest.raises(DataError, match=message):
        open_split(data, "train", data_root=root, batch_size=4, **changes)


def test_leaving_an_epoch_early_leaves_the_loader_usable(root):
    split = opened(root, "jpeg boxes", threads=2)
    batches = split.batches(0)
    next(batches)
    batches.close()
    assert len(list(split.batches(0))) == split.steps_per_epoch
