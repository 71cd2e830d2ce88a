"""Two views of every image: draws, operations, and both loaders."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from bench.catalog import DATASETS
from bench.data import beton, open_split, resident, stream, views, views_batched, views_colours, views_crops
from bench.data.views_colours import BRIGHTNESS, CONTRAST, HUE, SATURATION
from bench.spec import Data, Views, Word

EVERYTHING = Views(blur_share=0.5)
CROPS_ONLY = Views(flip_share=0, jitter_share=0, grey_share=0)
# Rounding of single operations in float32 on values of at most 1: a few units of 1.2e-7.
ROUNDING = 2e-6
UNIT = np.float32(1 / 255)
SIDES = np.full(20_000, 32)


def drawn(settings=EVERYTHING, n=20_000, seed=0, epoch=0):
    return views.draw(settings, SIDES[:n], SIDES[:n], seed=seed, epoch=epoch)


def image(side=24, seed=0):
    """Colours with black, white, grey, and equal channels among them."""
    pixels = np.random.default_rng(seed).integers(0, 256, size=(3, side, side), dtype=np.uint8)
    pixels[:, 0, :4] = [[0, 255, 77, 200], [0, 255, 77, 200], [0, 255, 77, 10]]
    return torch.from_numpy(pixels)


OPERATIONS = {
    "brightness": (BRIGHTNESS, F.adjust_brightness, (0.0, 0.3, 1.0, 1.7)),
    "contrast": (CONTRAST, F.adjust_contrast, (0.0, 0.3, 1.0, 1.7)),
    "saturation": (SATURATION, F.adjust_saturation, (0.0, 0.3, 1.0, 1.7)),
    "hue": (HUE, F.adjust_hue, (-0.5, -0.2, 0.01, 0.5)),
}


NOTHING = np.full(4, -1, np.int8)


def recoloured(original, *, order=NOTHING, factor=1.0, grey=False, sigma=0.0, radius=1):
    images = original.clone()[None]
    arguments = np.array([order], np.int8), np.full((1, 4), factor, np.float32), np.array([grey])
    views_colours.recolour_planes(images.numpy(), *arguments, np.array([sigma], np.float32), radius)
    return images[0]


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_adjustment_is_torchvisions(name):
    operation, reference, amounts = OPERATIONS[name]
    # 2,304 pixels: more than one chunk.
    original = image(side=48).float() / 255
    for amount in amounts:
        adjusted = recoloured(original, order=[operation, -1, -1, -1], factor=amount)
        assert (adjusted - reference(original, amount)).abs().max() < ROUNDING


def test_grey_is_torchvisions():
    original = image().float() / 255
    assert (recoloured(original, grey=True) - F.rgb_to_grayscale(original, 3)).abs().max() < ROUNDING


def test_saturation_and_hue_leave_a_grey_image_grey():
    grey = torch.linspace(0, 1, 64).reshape(8, 8).repeat(3, 1, 1)
    assert torch.equal(recoloured(grey, order=[HUE, -1, -1, -1], factor=0.2), grey)
    # The luma weights sum to 0.9999.
    assert (recoloured(grey, order=[SATURATION, -1, -1, -1], factor=1.5) - grey).abs().max() < 1e-4


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.3, 2.0])
@pytest.mark.parametrize(("side", "radius"), [(24, 6), (24, 7), (7, 3), (9, 1)])
def test_the_blur_is_torchvisions(sigma, side, radius):
    original = image(side).float() / 255
    blurred = recoloured(original, sigma=sigma, radius=radius)
    assert (blurred - F.gaussian_blur(original, 2 * radius + 1, sigma)).abs().max() < ROUNDING


BOXES = np.array([(0, 0, 24, 24), (3, 5, 12, 16), (23, 23, 1, 1), (4, 0, 1, 24), (0, 2, 24, 2)], np.int32)


@pytest.mark.parametrize("side", [7, 16, 24, 61])
@pytest.mark.parametrize("mirror", [False, True])
def test_crops_are_torchvisions_with_antialiasing(side, mirror):
    pixels, mirrored = image(), np.full(10, mirror)
    crops = [F.resized_crop(pixels.float() / 255, *box, [side, side], antialias=True) for box in 2 * BOXES.tolist()]
    expected = torch.stack([F.hflip(crop) if mirror else crop for crop in crops])
    # torch's sampling positions are float32, off by up to 24 * 6e-8 pixels of a slope of at most 1.
    out = torch.empty(10, 3, side, side)
    rows, boxes = np.zeros(5, np.int64), np.concatenate([BOXES, BOXES])
    views_crops.cut_rows(pixels[None].numpy(), rows, boxes, mirrored, out.numpy())
    assert (out - expected).abs().max() < 5e-6
    # As a file has them: the channels of a pixel next to each other; crops are rounded to bytes.
    buffer = pixels.permute(1, 2, 0).contiguous().numpy().reshape(-1)
    buffer.flags.writeable = False
    sizes = np.array([24])
    stored = buffer, np.array([0]), np.array([len(buffer)]), np.array([False]), sizes, sizes, rows
    assert views_crops.cut_stored(stored, boxes, mirrored, UNIT, *(half.numpy() for half in out.chunk(2))) == -1
    assert (out - expected).abs().max() < 0.5 / 255 + 5e-6
    assert (out * 255 - (out * 255).round()).abs().max() < 1e-4


def composed(pixels, one, j, side, radius, *, rounded):
    """View j by torchvision's functions, one after another."""
    shown = F.resized_crop(pixels.float() / 255, *one.boxes[j].tolist(), [side, side], antialias=True)
    shown = (shown * 255 + 0.5).floor() / 255 if rounded else shown
    shown = F.hflip(shown) if one.mirrored[j] else shown
    adjustments = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for operation in one.order[j][one.order[j] >= 0]:
        shown = adjustments[operation](shown, float(one.factors[j, operation]))
    shown = F.rgb_to_grayscale(shown, 3) if one.grey[j] else shown
    return F.gaussian_blur(shown, 2 * radius + 1, float(one.sigmas[j])) if one.sigmas[j] else shown


def smooth(n, side):
    """Images whose neighbouring pixels differ little."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return (255 * fine).round().to(torch.uint8)


# Rounding of six operations; hue divides by the chroma, contrast and saturation multiply by up to 1.8 each.
PIPELINE = 2e-5


def test_the_pipeline_is_torchvisions_functions_one_after_another():
    images, rows = smooth(30, 32), np.arange(30)
    ours = drawn(n=30).of(rows)
    out = np.empty((60, 3, 32, 32), np.float32)
    views_crops.cut_rows(images.numpy(), rows, ours.boxes, ours.mirrored, out)
    views_colours.recolour_planes(out, *ours.colours, 6)
    for j in range(60):
        assert (
            torch.from_numpy(out[j]) - composed(images[j % 30], ours, j, 32, 6, rounded=False)
        ).abs().max() < PIPELINE


def test_other_devices_show_what_the_compiled_pass_shows():
    images, rows = smooth(50, 32), np.random.default_rng(0).permutation(50)
    ours = drawn(n=50).of(rows)
    out = np.empty((100, 3, 32, 32), np.float32)
    views_crops.cut_rows(images.numpy(), rows, ours.boxes, ours.mirrored, out)
    views_colours.recolour_planes(out, *ours.colours, 6)
    cut = views_batched.cut_views(images, np.tile(rows, 2), ours.boxes, ours.mirrored)
    batched = views_batched.recolour_views(cut, *ours.colours, 6)
    assert (batched - torch.from_numpy(out)).abs().max() < PIPELINE


def five_spreads(share, n):
    return 5 * (share * (1 - share) / n) ** 0.5


def test_shares_are_the_frequencies_of_each_view():
    settings = Views(flip_share=0.3, jitter_share=0.6, grey_share=0.1, blur_share=0.7)
    found = drawn(settings)
    for share, happened in (
        (0.3, found.mirrored), (0.6, found.order[:, :, 0] >= 0), (0.1, found.grey), (0.7, found.sigmas > 0),
    ):  # fmt: skip
        first, second = happened
        for view in (first, second):
            assert abs(view.mean() - share) < five_spreads(share, 20_000)
        # The two views draw independently: together with share squared.
        assert abs((first & second).mean() - share**2) < five_spreads(share**2, 20_000)


def test_amounts_are_uniform_in_their_ranges():
    found = drawn(Views(jitter=(0.8, 0.4, 1.0, 0.2), blur_share=1, blur_sigma=(0.5, 1.5)))
    ranges = [(0.2, 1.8), (0.6, 1.4), (0.0, 2.0), (-0.2, 0.2), (0.5, 1.5)]
    for amounts, (low, high) in zip([*found.factors.T, found.sigmas.T], ranges, strict=True):
        assert low - 1e-6 <= amounts.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < amounts.max() <= high + 1e-6
        # A uniform draw's standard deviation is its range over the root of 12.
        assert abs(amounts.mean() - (low + high) / 2) < 5 * (high - low) / (12 * amounts.size) ** 0.5


def test_every_order_of_the_jitter_is_as_frequent():
    order = drawn(Views(jitter_share=1)).order.reshape(-1, 4)
    assert (np.sort(order, axis=1) == [0, 1, 2, 3]).all()
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 24
    assert np.abs(counts / 40_000 - 1 / 24).max() < five_spreads(1 / 24, 40_000)


def test_crops_take_the_asked_share_of_the_area():
    boxes = drawn(Views(crop_scale=(0.5, 0.6)), n=2_000).boxes.reshape(-1, 4)
    area = boxes[:, 2] * boxes[:, 3] / 32**2
    # Sides are rounded to whole pixels: by half a pixel of the shorter, about 20.
    assert 0.5 * (1 - 0.025) ** 2 < area.min() < area.max() < 0.6 * (1 + 0.025) ** 2


def test_views_epochs_and_seeds_draw_anew():
    first, second = drawn(n=1_000).boxes
    assert (first != second).any(axis=1).mean() > 0.99
    for other in (drawn(n=1_000, epoch=1), drawn(n=1_000, seed=1)):
        assert (other.boxes[0] != first).any(axis=1).mean() > 0.99


def test_the_blur_reaches_three_standard_deviations_where_the_view_is_wide_enough():
    assert views.blur_radius(Views(blur_sigma=(0.1, 2.0)), 224) == 6
    assert views.blur_radius(Views(blur_sigma=(0.1, 1.1)), 224) == 4
    assert views.blur_radius(Views(blur_sigma=(0.1, 2.0)), 8) == 3


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the digits and with 30 JPEG photographs of various sizes."""
    root = tmp_path_factory.mktemp("data")
    for split, n in (("train", 24), ("val", 6)):
        for i, pixels in enumerate(smooth(n, 300)):
            path = root / "raw" / "photos" / split / f"class{i % 2}" / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).resize((256 + 5 * i, 300 - i)).save(path)
    for data, resolution in ((DIGITS, 8), (PHOTOS, 256)):
        for split in ("train", "test"):
            beton.write(data.dataset, split, data_root=root, resolution=resolution)
    return root


def describe(name, loader, *, resolution, validation, options=()):
    classes = dict(options).get("classes") or DATASETS[name].classes
    return Data(
        dataset=Word(name, options, label=name), classes=classes, resolution=resolution, loader=loader,
        mean=(0.5,) * 3, std=(0.5,) * 3, validation=validation,
    )  # fmt: skip


PHOTOS = describe("folder", "stream", resolution=64, validation=4, options=(("name", "photos"), ("classes", 2)))
DIGITS = describe("digits", "resident", resolution=8, validation=200)
CASES = {
    "resident": (DIGITS, 128),
    "stream jpeg": (PHOTOS, 7),
    "stream raw": (describe("digits", "stream", resolution=24, validation=1000), 100),
}


def read(root, case, epoch=0, start_step=0, settings=EVERYTHING, **changes):
    data, batch_size = CASES[case]
    arguments = {"batch_size": batch_size, "seed": 5, "shuffle": True, "views": settings} | changes
    return list(open_split(data, "train", data_root=root, **arguments).batches(epoch, start_step))


def equal(batches, others):
    assert len(batches) == len(others)
    return all(torch.equal(x, y) for b, o in zip(batches, others, strict=True) for x, y in zip(b, o, strict=True))


def both(batch):
    """(b, 2, 3, s, s)"""
    return torch.stack(batch.inputs.chunk(2), dim=1)


@pytest.mark.parametrize("case", CASES)
def test_a_batch_has_two_different_views_of_each_example(root, case):
    batch, (data, batch_size) = read(root, case)[0], CASES[case]
    assert batch.inputs.shape == (2 * batch_size, 3, data.resolution, data.resolution)
    assert batch.inputs.dtype == torch.float32
    assert 0 <= batch.inputs.min() < batch.inputs.max() <= 1
    assert batch.inputs.is_contiguous()
    assert batch.labels.shape == batch.indices.shape == (batch_size,)
    assert not any(torch.equal(first, second) for first, second in both(batch))


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_resumed_at_any_step_is_the_tail_of_the_epoch(root, case):
    whole = read(root, case, epoch=2)
    for step in (1, len(whole) - 1, len(whole)):
        assert equal(read(root, case, epoch=2, start_step=step), whole[step:])


@pytest.mark.parametrize("case", CASES)
def test_threads_batch_size_and_ranks_change_no_image(root, case, monkeypatch):
    monkeypatch.setattr(resident, "INLINE", 0)
    whole = read(root, case)
    assert equal(whole, read(root, case, threads=3))
    by_index = [
        torch.cat([both(b) for b in batches])[torch.cat([b.indices for b in batches]).argsort()]
        for batches in (whole, read(root, case, batch_size=11))
    ]
    assert torch.equal(*by_index)
    parts = [read(root, case, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([both(part[step]) for part in parts]), both(batch))
        assert torch.equal(torch.cat([part[step].indices for part in parts]), batch.indices)


@pytest.mark.parametrize("case", CASES)
def test_another_epoch_or_seed_shows_other_views(root, case):
    first = read(root, case)
    assert equal(first, read(root, case))
    assert not equal(first, read(root, case, epoch=1))
    assert not equal(first, read(root, case, seed=6))


@pytest.mark.parametrize("case", ["stream jpeg", "stream raw"])
def test_streamed_views_are_those_of_the_decoded_image(root, case):
    split = open_split(CASES[case][0], "train", data_root=root, batch_size=4, views=EVERYTHING)
    view, batch = split.read.args[0], next(split.batches(3))
    ours, side = stream.draw(view, 3).of(np.arange(4)), view.resolution
    for j in range(8):
        row = view.rows[j % 4]
        stored = view.beton.buffer[view.beton.pointers[row] :][: view.beton.lengths[row]]
        if view.beton.jpeg[row]:
            whole = np.array(Image.open(io.BytesIO(stored.tobytes())))
        else:
            whole = stored.reshape(view.beton.heights[row], view.beton.widths[row], 3).copy()
        expected = composed(torch.from_numpy(whole).permute(2, 0, 1), ours, j, side, 6, rounded=True)
        # Two JPEG decoders, and crop values next to the middle of two bytes, differ by one of 255 levels; the jitter
        # multiplies it by at most 1.8 three times.
        assert (batch.inputs[j] - expected).abs().mean() < 1.8**3 / 255


@pytest.mark.parametrize("case", ["stream jpeg", "stream raw"])
def test_crops_as_bytes_become_the_views_of_the_cpu(root, case):
    data, batch_size = CASES[case]
    split = open_split(data, "train", data_root=root, batch_size=batch_size, shuffle=True, views=EVERYTHING)
    view = split.read.args[0]
    ours = stream.draw(view, 1)
    for (chosen, crops), batch in zip(stream.decoded(view, 1, 0, torch.uint8), split.batches(1), strict=True):
        assert crops.dtype == torch.uint8
        assert (views.recolour_bytes(view, ours.of(chosen), crops) - batch.inputs).abs().max() < PIPELINE


def test_a_damaged_photograph_is_named(root):
    split = open_split(PHOTOS, "test", data_root=root, batch_size=6, views=EVERYTHING)
    view = split.read.args[0]
    buffer = np.array(view.beton.buffer)
    buffer[view.beton.pointers[3] :][: view.beton.lengths[3]] = 0
    buffer.flags.writeable = False  # as the mapped file: the same compiled kernel
    damaged = dataclasses.replace(view, beton=dataclasses.replace(view.beton, buffer=buffer))
    with pytest.raises(beton.DataError, match="image 3 does not decode"):
        list(stream.batches(damaged, 0, 0))
