"""Square's schedule, patterns and windows."""

import pytest
import torch
from torch import nn

from bench.attacks import square as module
from bench.attacks.square import square
from bench.spec import Attack


def test_the_window_halves_its_area_at_the_papers_queries():
    areas = [module._side(query, 10) ** 2 / 100 for query in (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001)]
    assert areas == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.1, 0.05, 0.025, 0.0125, 0.00625])


def test_the_bump_is_a_positive_and_a_negative_pyramid_of_norm_1():
    # Upper half (1, 3): 1 + 1/4 in the middle, 1/4 beside; lower half (2, 3): the distance from (1, 1).
    upper, lower = torch.tensor([0.25, 1.25, 0.25]), torch.tensor([[0.25, 0.25, 0.25], [0.25, 1.25, 0.25]])
    expected = torch.cat([upper[None] / upper.norm(), -lower / lower.norm()]) / 2**0.5
    assert torch.allclose(module._bump(3, torch.device("cpu")), expected, atol=1e-6)
    assert module._bump(1, torch.device("cpu")).tolist() == [[-1.0]]


class Recorder(nn.Module):
    """Always right; keeps what it sees. Its loss rises with the first channel's sum."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images.clone())
        return torch.stack([1000 - images[:, 0].sum((1, 2)), torch.zeros(len(images))], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("size", [4, 8, 11])
def test_every_query_is_in_the_ball_and_the_margin_never_falls(norm, size):
    images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    attack = Attack(norm=norm, epsilon_255=10.0 if norm == "linf" else 0.5)
    epsilon = 10 / 255 if norm == "linf" else 0.5
    net = Recorder()
    found = square(net, images, torch.zeros(3).long(), attack, seed=0, indices=torch.arange(3), draw=0, queries=60)
    assert len(net.seen) == 61
    for points in net.seen:
        move = (points - images).flatten(1)
        sizes = move.abs().amax(1) if norm == "linf" else move.norm(dim=1)
        assert sizes.max() <= epsilon + 1e-6
        # Inside the valid pixels all of the ball is used: the whole surface, or every touched pixel at the border.
        assert sizes.min() >= epsilon - 1e-5
    gains = torch.stack([points[:, 0].sum((1, 2)) for points in net.seen])
    assert torch.allclose(found[:, 0].sum((1, 2)), gains.amax(0))
    assert (gains.amax(0) > gains[0]).all()


def test_the_first_linf_query_is_vertical_stripes():
    net, images = Recorder(), torch.full((2, 3, 6, 6), 0.5)
    square(net, images, torch.zeros(2).long(), Attack(), seed=0, indices=torch.arange(2), draw=0, queries=1)
    move = net.seen[0] - images
    assert torch.equal(move, move[:, :, :1].expand_as(move))
    assert (move > 0).float().mean() not in (0.0, 1.0)
    assert torch.allclose(move.abs(), torch.full_like(move, 8 / 255), atol=1e-6)


def test_a_linf_query_changes_one_window_per_example():
    best = images = torch.full((50, 3, 8, 8), 0.5)
    numbers = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
    changed = module._linf_change(best, images, 0.1, 300, numbers) != best  # 0.1 of 64 pixels: side 3
    assert changed.flatten(1).sum(1).tolist() == [3 * 9] * 50
    rows, columns = changed.any(1).any(2), changed.any(1).any(1)
    assert rows.sum(1).tolist() == columns.sum(1).tolist() == [3] * 50
    assert len({(int(r.nonzero()[0]), int(c.nonzero()[0])) for r, c in zip(rows, columns, strict=True)}) > 10
