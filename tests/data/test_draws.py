"""Order and augmentation of an epoch."""

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from bench.data import draws

H, W = np.full(4000, 300), np.full(4000, 200)


def test_an_epoch_visits_every_example_once_in_an_order_of_its_own():
    first, again, second = (draws.order(100, seed=0, epoch=e, shuffle=True).tolist() for e in (0, 0, 1))
    assert sorted(first) == list(range(100))
    assert first == again != second


def test_without_shuffling_the_order_is_that_of_the_file():
    assert draws.order(5, seed=0, epoch=3, shuffle=False).tolist() == [0, 1, 2, 3, 4]


def test_offsets_take_every_value_of_the_padding_equally_often():
    shifts = draws.offsets(90_000, pad=4, seed=0, epoch=0)
    counts = np.bincount(shifts[:, 0] + 4, minlength=9)
    # 10,000 expected of each, standard deviation 94: five of them.
    assert np.abs(counts - 10_000).max() < 5 * 94


def test_half_of_the_examples_are_flipped():
    # Standard deviation of the mean of 40,000 fair draws: 0.0025.
    assert abs(draws.flips(40_000, seed=0, epoch=0).mean() - 0.5) < 5 * 0.0025


def test_centre_boxes_are_seven_eighths_of_the_shorter_side():
    boxes = draws.centre_boxes(np.array([256, 300, 32]), np.array([256, 512, 32]))
    assert boxes.tolist() == [[16, 16, 224, 224], [19, 125, 262, 262], [2, 2, 28, 28]]


def test_shifted_boxes_stay_inside_and_reach_both_edges():
    top, left, height, width = draws.shifted_boxes(H, W, seed=0, epoch=0).T
    assert (height == 175).all()
    assert (width == 175).all()
    assert (top.min(), top.max(), left.min(), left.max()) == (0, 125, 0, 25)


def test_resized_crops_stay_inside_with_area_and_aspect_in_range():
    top, left, height, width = draws.resized_crop_boxes(H, W, seed=0, epoch=0).T
    assert top.min() >= 0
    assert left.min() >= 0
    assert (top + height <= 300).all()
    assert (left + width <= 200).all()
    area, aspect = height * width / 60_000, width / height
    assert area.min() > 0.079
    assert 0.74 < aspect.min() < aspect.max() < 1.35


def test_resized_crops_have_the_distribution_of_torchvision():
    ours = draws.resized_crop_boxes(H, W, seed=0, epoch=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        image = torch.empty(1, 300, 200)
        theirs = np.array([RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])
    spread = np.sqrt(ours.var(axis=0) / 4000 + theirs.var(axis=0) / 4000)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * spread).all()


def test_an_image_too_narrow_for_any_crop_gives_its_central_part():
    boxes = draws.resized_crop_boxes(np.array([1000]), np.array([10]), seed=0, epoch=0, scale=(0.9, 1.0))
    assert boxes.tolist() == [[493, 0, 13, 10]]


def test_long_sets_are_drawn_in_chunks_without_a_seam(monkeypatch):
    whole = draws.resized_crop_boxes(H, W, seed=1, epoch=2)
    monkeypatch.setattr(draws, "CHUNK", 7)
    assert (draws.resized_crop_boxes(H, W, seed=1, epoch=2) == whole).all()


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_the_ranks_share_every_batch(world_size):
    visited = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    for step, batch in enumerate([[9, 8, 7, 6], [5, 4, 3, 2], [1, 0]]):
        parts = [
            draws.share(visited, step, batch_size=4, rank=rank, world_size=world_size) for rank in range(world_size)
        ]
        if len(batch) < world_size:
            # Nobody is left without an example.
            assert [part.tolist() for part in parts] == [batch] * world_size
        else:
            assert np.concatenate(parts).tolist() == batch
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_steps_count_the_last_partial_batch_unless_it_is_dropped():
    assert (draws.steps(10, 4, False), draws.steps(10, 4, True), draws.steps(8, 4, False)) == (3, 2, 2)
