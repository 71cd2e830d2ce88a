"""APGD checks its step size when the paper says, and goes back to its best point."""

import pytest
import torch
from torch import nn

from bench.attacks.apgd import _checkpoints, _first, apgd
from bench.attacks.ball import LinfBall
from bench.attacks.pgd import pgd
from bench.spec import Attack


def test_the_checkpoints_of_100_steps_are_the_papers():
    # w_j = ceil(p_j 100) with p = 0, 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99.
    assert list(_checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(_checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(_checkpoints(1)) == [1]


class Valley(nn.Module):
    """Never wrong; the loss has its maximum where the first pixel is 0.53, narrower than the first steps."""

    def forward(self, images):
        x = images[:, 0, 0, 0]
        return torch.stack([1 + 10 * (x - 0.53).abs(), torch.zeros_like(x)], dim=1)


def test_the_step_shrinks_until_a_narrow_maximum_is_found():
    images, labels = torch.full((4, 1, 1, 1), 0.5), torch.zeros(4, dtype=torch.int64)
    attack = Attack(epsilon_255=25.5, step_255=5.0, steps=100)
    found = apgd(Valley(), images, labels, attack, seed=0, indices=torch.arange(4), draw=0)
    fixed = pgd(Valley(), images, labels, attack, noise=None)
    assert (found - 0.53).abs().max() < 2e-3
    assert (fixed - 0.53).abs().max() > 5e-3


def test_the_result_is_the_first_misclassified_iterate_or_the_one_of_largest_loss():
    class Table(nn.Module):
        """Class 1 from 0.55 on."""

        def forward(self, images):
            x = images[:, 0, 0, 0]
            return torch.stack([torch.zeros_like(x), x - 0.55], dim=1)

    images, labels = torch.tensor([0.5, 0.3]).view(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    attack = Attack(epsilon_255=25.5, steps=30)
    found = apgd(Table(), images, labels, attack, seed=0, indices=torch.arange(2), draw=0).flatten()
    assert found[0] > 0.55
    assert abs(found[1] - 0.4) < 1e-6  # the border of its ball, nearest to the boundary


def test_where_too_few_steps_raised_the_loss_the_step_halves_and_the_best_point_returns():
    def column(*values):
        return torch.tensor(values).view(-1, 1, 1, 1)

    start, best, now = column(0.0, 0.0), column(0.3, 0.3), column(0.5, 0.5)
    ball = LinfBall(start, 0.5)
    state = _first(start, torch.zeros(2), column(1.0, 1.0), ball)
    state.record(best, torch.tensor([2.0, 2.0]), column(3.0, 3.0))
    state.record(now, torch.tensor([1.0, 1.0]), column(5.0, 5.0))
    state.rises = column(4.0, 3.0)  # of 4 steps: all of them, and three quarters
    assert state.check(now, window=4).flatten().tolist() == pytest.approx([0.5, 0.3])
    assert state.size.flatten().tolist() == [1.0, 0.5]
    assert state.gradient.flatten().tolist() == [5.0, 3.0]
    # Both rose often enough since; the best losses did not change, and the first one's step did not either.
    state.rises = column(4.0, 4.0)
    assert state.check(now, window=4).flatten().tolist() == pytest.approx([0.3, 0.5])
    assert state.size.flatten().tolist() == [0.5, 0.5]
