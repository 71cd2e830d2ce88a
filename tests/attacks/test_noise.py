"""Random starts: in the ball, uniform, and a function of (seed, draw, index) alone."""

import pytest
import torch

from bench.attacks.noise import _uniform, random_noise, surface_noise, uniform
from bench.spec import Attack

LINF = Attack(norm="linf", epsilon_255=8.0)
L2 = Attack(norm="l2", epsilon_255=0.5)
SHAPE = (6, 3, 4, 4)
INDICES = torch.arange(6)
LARGEST = 3_747_935


def noise(attack, seed=0, draw=0, indices=INDICES):
    return random_noise((len(indices), *SHAPE[1:]), attack, seed=seed, indices=indices, draw=draw)


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
def test_an_examples_noise_does_not_depend_on_its_batch(attack):
    whole = noise(attack)
    some = noise(attack, indices=torch.tensor([4, 1]))
    assert torch.equal(some, whole[[4, 1]])
    assert torch.equal(noise(attack, indices=torch.tensor([3])), whole[3:4])


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
def test_seeds_draws_and_examples_differ(attack):
    starts = torch.cat([noise(attack, seed, draw) for seed in (0, 1) for draw in (0, 1)])
    assert len({tuple(start.flatten().tolist()) for start in starts}) == 4 * 6


def test_a_seed_of_63_bits_is_taken():
    assert torch.isfinite(noise(LINF, seed=2**63 - 1, draw=10**7)).all()


def test_the_global_generator_is_not_used():
    state = torch.get_rng_state()
    noise(LINF)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_numbers_of_a_seed_never_change():
    # Golden values: another generator would change every adversarial result without changing its key.
    found = random_noise((1, 1, 2, 2), LINF, seed=1, indices=torch.tensor([2]), draw=3)
    expected = [0.03134078532457352, -0.0311688594520092, 0.016917353495955467, 0.008502078242599964]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-9)


def test_linf_noise_is_uniform_in_the_ball():
    epsilon, n = 8 / 255, 300_000
    found = random_noise((100, 3, 25, 40), LINF, seed=0, indices=torch.arange(100), draw=0).flatten() / epsilon
    assert found.abs().max() <= 1
    # Standard error of a mean of n uniforms on [-1, 1] is sqrt(1/3n); four of them.
    assert abs(found.mean()) < 4 * (1 / 3 / n) ** 0.5
    histogram = torch.histc(found, bins=20, min=-1, max=1)
    # Chi-square with 19 degrees of freedom: mean 19, variance 38; six standard deviations.
    assert ((histogram - n / 20).square() / (n / 20)).sum() < 19 + 6 * 38**0.5


def test_l2_noise_is_uniform_in_the_ball():
    n, dimension = 4000, 4
    found = random_noise((n, 1, 2, 2), L2, seed=0, indices=torch.arange(n), draw=0)
    norms = found.flatten(1).norm(dim=1) / 0.5
    assert norms.max() <= 1 + 1e-6
    # In a ball of dimension d the share within radius r is r^d; binomial standard error, four of them.
    for radius in (0.5, 0.8, 0.95):
        share = radius**dimension
        assert abs((norms < radius).float().mean() - share) < 4 * (share * (1 - share) / n) ** 0.5
    directions = found.flatten(1) / found.flatten(1).norm(dim=1, keepdim=True)
    # Mean of n unit vectors: every coordinate has variance 1/d.
    assert directions.mean(0).abs().max() < 4 * (1 / dimension / n) ** 0.5


def test_an_attack_without_random_start_has_no_noise():
    assert noise(Attack(random_start=False)) is None


def test_numbers_lie_strictly_between_0_and_1():
    # A stream whose first number is the largest of the 2^24, found by search: it rounded to 1, and its Gaussian to inf.
    found = _uniform(torch.tensor([LARGEST]), 1)
    assert found.item() == 1 - 2**-24
    assert torch.isfinite(torch.erfinv(2 * found - 1))


def test_rows_of_numbers_are_functions_of_seed_draw_and_index():
    whole = uniform(5, seed=3, indices=INDICES, draw=7)
    assert torch.equal(uniform(5, seed=3, indices=torch.tensor([4, 1]), draw=7), whole[[4, 1]])
    assert not torch.equal(uniform(5, seed=4, indices=INDICES, draw=7), whole)
    assert not torch.equal(uniform(5, seed=3, indices=INDICES, draw=8), whole)


@pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])
def test_surface_noise_lies_on_the_surface(attack):
    found = surface_noise(SHAPE, attack, seed=0, indices=INDICES, draw=0).flatten(1)
    sizes = found.abs().amax(1) * 255 if attack is LINF else found.norm(dim=1)
    assert sizes.tolist() == pytest.approx([attack.epsilon_255] * 6)
    assert abs(found.sign().mean()) < 4 / found.numel() ** 0.5
