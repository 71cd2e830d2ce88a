"""The generated corruptions: what the published generators give, of any batch, at any side."""

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.corruptions import CORRUPTIONS, SEVERITIES, blur, noise, weather
from bench.corruptions.draws import Draws
from bench.corruptions.generate import FUNCTIONS, corrupt
from bench.corruptions.sampling import displaced, plasma, smoothed, streak, zoom
from bench.corruptions.severities import CIFAR, IMAGENET, constants

RANDOM = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
]
GROWING = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "jpeg_compression",
]

# Mean squared distance from `waves(8)`, in levels of 255, of the authors' make_cifar_c.py run beside; random corruptions
# are means over 100 draws of the 8 images, with the standard deviation of one draw. Their motion blur and snow need
# ImageMagick and their frost photographs.
PUBLISHED = {
    "gaussian_noise": [(101.23, 0.78), (217.85, 1.86), (372.05, 3.25), (461.64, 4.74), (559.08, 4.89)],
    "shot_noise": [(63.25, 0.70), (121.56, 1.12), (285.98, 2.79), (371.61, 3.94), (537.38, 4.85)],
    "impulse_noise": [(227.15, 18.5), (462.11, 24.6), (688.49, 33.7), (1139.77, 47.1), (1598.47, 53.3)],
    "defocus_blur": [(1.09, 0), (5.35, 0), (12.35, 0), (18.73, 0), (48.17, 0)],
    "glass_blur": [(466.57, 7.46), (456.02, 6.18), (405.03, 6.35), (1316.10, 18.8), (1209.05, 19.1)],
    "zoom_blur": [(260.09, 0), (345.90, 0), (534.04, 0), (753.67, 0), (1055.16, 0)],
    "fog": [(256.26, 13.8), (999.04, 51.4), (1659.06, 84.7), (2270.30, 115.5), (3298.17, 152.6)],
    "brightness": [(70.55, 0), (235.17, 0), (410.97, 0), (581.64, 0), (892.92, 0)],
    "contrast": [(408.65, 0), (1634.35, 0), (2354.44, 0), (3203.58, 0), (4723.92, 0)],
    "elastic_transform": [(2478.25, 561.8), (1926.87, 532.4), (1505.03, 409.0), (1154.68, 263.1), (653.23, 118.2)],
    "pixelate": [(31.07, 0), (63.02, 0), (78.85, 0), (125.24, 0), (187.06, 0)],
    "jpeg_compression": [(89.94, 0), (125.27, 0), (135.69, 0), (152.69, 0), (175.15, 0)],
}


def waves(n, side=32):
    """(n, 3, side, side) in [0, 1] at 256 levels."""
    i = np.arange(n)[:, None, None, None]
    c, y, x = np.arange(3)[:, None, None], np.arange(side)[:, None], np.arange(side)
    phase = (0.2 + 0.05 * i) * (y * np.cos(i) + x * np.sin(i)) + c * (1 + i / 7)
    return torch.from_numpy(np.uint8(255 * (0.5 + 0.45 * np.sin(phase)))).float() / 255


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("corruption", PUBLISHED)
def test_distances_are_those_of_the_published_generators(corruption):
    repeats = 10 if corruption in RANDOM else 1
    images = waves(8).repeat(repeats, 1, 1, 1)
    for severity, (published, deviation) in zip(SEVERITIES, PUBLISHED[corruption], strict=True):
        corrupted = corrupt(images, corruption, severity, seed=7, indices=torch.arange(len(images)))
        found = float(((corrupted - images) * 255).square().mean())
        # Four standard errors of the difference; without draws the last level may round differently.
        tolerance = 4 * deviation * (1 / 10 + 1 / 100) ** 0.5 + 0.003 * published + 0.01
        assert found == pytest.approx(published, abs=tolerance)


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_example_depends_on_seed_severity_and_index_and_not_on_its_batch(corruption):
    images, indices = waves(6), torch.tensor([5, 0, 3, 2, 4, 1])
    state = torch.get_rng_state()
    before = images.clone()
    together = corrupt(images, corruption, 3, seed=1, indices=indices)
    for i in range(6):
        alone = corrupt(images[i : i + 1], corruption, 3, seed=1, indices=indices[i : i + 1])
        assert torch.equal(alone[0], together[i])
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), state)
    same = torch.equal(corrupt(images, corruption, 3, seed=2, indices=indices), together)
    moved = torch.equal(corrupt(images, corruption, 3, seed=1, indices=indices + 6), together)
    assert (same, moved) == ((corruption not in RANDOM,) * 2)
    assert not torch.equal(corrupt(images, corruption, 4, seed=1, indices=indices), together)


@pytest.mark.parametrize("side", [8, 28, 64, 96])
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_images_of_every_side_stay_images_of_256_levels(corruption, side):
    images = waves(2, side)
    for severity in (1, 5):
        corrupted = corrupt(images, corruption, severity, seed=0, indices=torch.arange(2))
        assert corrupted.shape == images.shape
        assert corrupted.dtype == torch.float32
        assert 0 <= corrupted.min() < corrupted.max() <= 1
        assert torch.allclose(corrupted * 255, (corrupted * 255).round(), atol=1e-4)
    assert not torch.equal(corrupted, images)


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("corruption", GROWING)
def test_noise_blur_and_tone_grow_with_severity(corruption, side):
    images = waves(30, side)
    indices = torch.arange(30)
    found = [
        float((corrupt(images, corruption, severity, seed=0, indices=indices) - images).square().mean())
        for severity in SEVERITIES
    ]
    assert all(weaker < stronger for weaker, stronger in itertools.pairwise(found))


def test_black_white_and_even_images_stay_even_where_nothing_is_drawn():
    images = torch.tensor([0.0, 1.0, 7 / 255])[:, None, None, None].expand(3, 3, 32, 32)
    for corruption in (
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "contrast",
        "elastic_transform",
        "pixelate",
    ):
        assert torch.equal(corrupt(images, corruption, 5, seed=0, indices=torch.arange(3)), images)


def test_both_tables_hold_every_corruption_at_every_severity_and_every_corruption_has_a_function():
    assert tuple(CIFAR) == tuple(IMAGENET) == CORRUPTIONS == tuple(FUNCTIONS)
    assert len(CORRUPTIONS) == 15
    assert all(len(table[name]) == len(SEVERITIES) == 5 for table in (CIFAR, IMAGENET) for name in CORRUPTIONS)


def test_imagenet_constants_start_at_64_px_and_their_lengths_follow_the_side():
    assert constants("motion_blur", 5, 63) == constants("motion_blur", 5, 8) == (9, 2.5)
    assert constants("motion_blur", 5, 224) == (20, 15)
    assert constants("motion_blur", 5, 112) == (10, 7.5)
    assert constants("defocus_blur", 1, 64) == (1.0, 0.1)  # 3 * 64 / 224 is less than a pixel
    assert constants("contrast", 5, 64) == (0.05,)


def test_shot_noise_counts_have_poissons_mean_and_variance():
    images = torch.tensor([0.0, 51.0, 255.0], dtype=torch.float64)[:, None, None, None].expand(3, 3, 64, 64) / 255
    counts = 50 * noise.shot_noise(images, (50,), Draws(seed=0, stream=1, indices=torch.arange(3)))
    assert torch.allclose(counts, counts.round(), atol=1e-9)
    assert not counts[0].any()
    for found, mean in ((counts[1], 10.0), (counts[2], 50.0)):
        # 12,288 counts: 5 standard errors of the mean and of the variance.
        assert float(found.mean()) == pytest.approx(mean, abs=5 * (mean / 12288) ** 0.5)
        assert float(found.var()) == pytest.approx(mean, rel=5 * (2 / 12288) ** 0.5 + 0.01)


def test_impulse_noise_makes_the_share_black_and_white_by_halves():
    images = torch.full((1, 3, 100, 100), 0.5, dtype=torch.float64)
    found = noise.impulse_noise(images, (0.2,), Draws(seed=0, stream=1, indices=torch.arange(1)))
    # 30,000 values: 5 standard errors of a share of 0.1.
    for value in (0.0, 1.0):
        assert float((found == value).double().mean()) == pytest.approx(0.1, abs=5 * (0.09 / 30000) ** 0.5)
    assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}


def test_uniform_draws_are_uniform_and_parts_and_streams_differ():
    draws = Draws(seed=0, stream=1, indices=torch.arange(100))
    numbers = draws.uniform(1000)
    assert 0 < numbers.min() < numbers.max() < 1
    # 100,000 numbers in ten bins: chi-squared of 9 degrees of freedom exceeds 40 once in 100,000.
    counts = torch.histc(numbers, bins=10, min=0, max=1)
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 40
    assert not torch.equal(numbers, draws.uniform(1000, part=1))
    assert not torch.equal(numbers, Draws(seed=0, stream=2, indices=torch.arange(100)).uniform(1000))
    assert torch.isfinite(draws.normal(1000)).all()


def test_glass_takes_every_pixel_from_its_neighbours_above_and_left():
    side = 9
    images = (torch.arange(3 * side * side, dtype=torch.float64).view(1, 3, side, side)) / 255
    found = blur.glass_blur(images, (0.05, 1, 1), Draws(seed=0, stream=1, indices=torch.arange(1)))
    levels, before = (255 * found[0, 0]).round(), 255 * images[0, 0]
    for y in range(side):
        for x in range(side):
            near = (
                [before[y - down, x - right] for down in (0, 1) for right in (0, 1)]
                if min(y, x) >= 2
                else [before[y, x]]
            )
            assert levels[y, x] in near
    assert (levels != before).any()


def test_a_streak_is_half_a_gaussian_along_the_angle():
    images = torch.zeros(2, 1, 9, 9, dtype=torch.float64)
    images[:, 0, 4, 4] = 1
    found = streak(images, torch.tensor([0.0, -90.0]), radius=1, deviation=1.0)
    kernel = np.exp([0, -0.5, -2.0])
    kernel /= kernel.sum()
    # Pixels read to their right, or above them, so that what is bright smears to the left, or down.
    assert found[0, 0, 4, 2:5].tolist() == pytest.approx(kernel[::-1].tolist())
    assert found[1, 0, 4:7, 4].tolist() == pytest.approx(kernel.tolist())
    assert float(found.sum()) == pytest.approx(2.0)


@pytest.mark.parametrize("factor", [1.0, 1.06, 1.25, 2.25])
def test_zoom_is_scipys_on_the_cropped_centre(factor):
    image = rand(1, 1, 32, 32)
    crop = int(np.ceil(32 / factor))
    top = (32 - crop) // 2
    enlarged = ndimage.zoom(image[0, 0, top : top + crop, top : top + crop].numpy(), factor, order=1)
    trim = (len(enlarged) - 32) // 2
    assert np.allclose(zoom(image, factor)[0, 0], enlarged[trim : trim + 32, trim : trim + 32], atol=1e-12)


@pytest.mark.parametrize(("repeat_edge", "mode"), [(True, "reflect"), (False, "mirror")])
def test_displaced_reads_as_scipy_does_far_beyond_the_edge(repeat_edge, mode):
    image, positions = rand(1, 2, 8, 8), 60 * rand(2, 1, 8, 8, seed=1) - 30
    found = displaced(image, positions[0], positions[1], repeat_edge=repeat_edge)
    for channel in range(2):
        expected = ndimage.map_coordinates(image[0, channel].numpy(), positions[:, 0].numpy(), order=1, mode=mode)
        assert np.allclose(found[0, channel], expected, atol=1e-12)


def test_smoothed_is_scipys_gaussian_filter_also_beyond_the_side():
    image = rand(8, 8)
    for deviation in (0.4, 20.0):
        expected = ndimage.gaussian_filter(image.numpy(), deviation, mode="reflect", truncate=3)
        assert np.allclose(smoothed(image, deviation, mode="reflect", truncate=3.0), expected, atol=1e-12)


def test_clouds_reach_from_0_to_1_on_a_torus():
    clouds = plasma(rand(4, 64, 64), 2.0)
    assert clouds.amin(dim=(1, 2)).tolist() == [0.0] * 4
    assert clouds.amax(dim=(1, 2)).tolist() == [1.0] * 4
    # The seam is as smooth as the inside.
    inside = (clouds[:, 1:] - clouds[:, :-1]).abs().mean()
    seam = (clouds[:, 0] - clouds[:, -1]).abs().mean()
    assert seam < 2 * inside


def test_ice_has_the_brightness_spread_and_tint_of_the_published_photographs():
    ice = weather.ice(32, Draws(seed=0, stream=1, indices=torch.arange(300)))
    # Means over the photographs of the authors' repository, at the scale of CIFAR: red, green, blue.
    assert ice.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.56, 0.65, 0.69], abs=0.05)
    assert float(ice.mean(dim=1).std(dim=(1, 2)).mean()) == pytest.approx(0.09, abs=0.03)
    assert float(ice.mean(dim=(1, 2, 3)).std()) == pytest.approx(0.14, abs=0.04)


@pytest.mark.parametrize(("corruption", "severity"), [("blizzard", 1), ("snow", 0), ("snow", 6)])
def test_unknown_corruptions_and_severities_are_refused(corruption, severity):
    with pytest.raises(ValueError, match=r"no corruption .* \(known: gaussian_noise, .* at severities 1 to 5\)"):
        corrupt(waves(1), corruption, severity, seed=0, indices=torch.arange(1))


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (1, 3, 32, 16), (1, 3, 7, 7)])
def test_images_that_are_not_square_rgb_of_8_px_are_refused(shape):
    with pytest.raises(ValueError, match="square RGB images of 8 px and more"):
        corrupt(torch.zeros(shape), "snow", 1, seed=0, indices=torch.arange(1))
