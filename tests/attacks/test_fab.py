"""FAB's projections are the shortest moves, and its points lie on the boundary."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from bench.attacks.ball import norms
from bench.attacks.fab import fab, to_hyperplane
from bench.spec import Attack


def random_case(seed, d=6):
    generator = np.random.default_rng(seed)
    point, normal = generator.uniform(0, 1, d), generator.normal(0, 1, d)
    normal[generator.integers(d)] = 0
    # What the normal can lose at most within the cube, and a part of it in either direction.
    reach = (normal * np.where(normal > 0, point, point - 1)).sum()
    rise = (normal * np.where(normal > 0, 1 - point, -point)).sum()
    share = generator.uniform(0.05, 0.95)
    return point, normal, share * reach if seed % 2 else -share * rise


def move_of(point, normal, excess, norm):
    rows = (torch.tensor(part)[None] for part in (point, normal))
    return to_hyperplane(*rows, torch.tensor([excess]), norm=norm)[0].numpy()


@pytest.mark.parametrize("seed", range(20))
def test_the_linf_projection_is_that_of_a_linear_program(seed):
    point, normal, excess = random_case(seed)
    move, d = move_of(point, normal, excess, "linf"), len(point)
    assert normal @ move == pytest.approx(-excess, abs=1e-9)
    assert ((point + move >= -1e-12) & (point + move <= 1 + 1e-12)).all()
    # Variables: the move and t; minimise t with |move| <= t.
    identity, ones = np.eye(d), np.ones((d, 1))
    bounds = [*zip(-point, 1 - point, strict=True), (0, None)]
    found = linprog(
        [*np.zeros(d), 1],
        A_ub=np.block([[identity, -ones], [-identity, -ones]]),
        b_ub=np.zeros(2 * d),
        A_eq=[[*normal, 0]],
        b_eq=[-excess],
        bounds=bounds,
    )
    assert np.abs(move).max() == pytest.approx(found.fun, abs=1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_the_l2_projection_is_that_of_a_quadratic_program(seed):
    point, normal, excess = random_case(seed)
    move = move_of(point, normal, excess, "l2")
    assert normal @ move == pytest.approx(-excess, abs=1e-9)
    assert ((point + move >= -1e-12) & (point + move <= 1 + 1e-12)).all()
    found = minimize(
        lambda x: (x**2).sum(),
        np.zeros_like(point),
        jac=lambda x: 2 * x,
        bounds=list(zip(-point, 1 - point, strict=True)),
        constraints={"type": "eq", "fun": lambda x: normal @ x + excess, "jac": lambda x: normal},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert (move**2).sum() == pytest.approx(found.fun, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_hyperplane_beyond_the_cube_is_approached_to_the_corner(norm):
    move = move_of(np.array([0.25, 0.5, 0.5]), np.array([1.0, -2.0, 0.0]), 100.0, norm)
    assert move.tolist() == pytest.approx([-0.25, 0.5, 0.0])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_a_gradient_nothing_moves(norm):
    assert move_of(np.full(3, 0.5), np.zeros(3), 1.0, norm).tolist() == [0, 0, 0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_examples_are_broken_just_where_the_boundary_is_in_the_ball(norm):
    class Planes(nn.Module):
        """Class 1 where pixels 0 and 1 sum to more than 1.2."""

        def forward(self, images):
            x = images.flatten(1)
            return torch.stack([torch.zeros_like(x[:, 0]), x[:, 0] + x[:, 1] - 1.2], dim=1)

    images, label, target = torch.full((1, 1, 1, 3), 0.5), torch.tensor([0]), torch.tensor([1])
    distance = 0.1 if norm == "linf" else 0.2 / 2**0.5
    unit = 255 if norm == "linf" else 1
    for share, broken in ((0.98, False), (1.02, True)):
        attack = Attack(norm=norm, epsilon_255=share * distance * unit, steps=20)
        found = fab(Planes(), images, label, attack, targets=target)
        assert (Planes()(found).argmax(dim=1).item() == 1) is broken
        if not broken:
            assert torch.equal(found, images)
        elif norm == "l2":
            assert norms(found - images).item() <= share * distance
