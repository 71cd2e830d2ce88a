import numpy as np
import pytest
from scipy import stats

from analysis.statistics.bayes import bayesian_signed_rank

ROPE = 0.01


def posterior(difference, rope=ROPE, **options):
    difference = np.atleast_2d(np.asarray(difference, np.float64))
    return np.stack(bayesian_signed_rank(difference, np.full(len(difference), rope), **options))


# baycomp 1.0.3, SignedRankTest.probs(zeros, difference, rope=ROPE, nsamples=100_000, random_state=1) by n and seed. It is
# recorded, for its distribution installs a package named `tests` that hides ours from processes that tests start.
BAYCOMP = {
    (3, 0): (0.0, 0.8423, 0.1577),
    (3, 1): (0.0, 0.6738, 0.3262),
    (3, 2): (0.0, 1.0, 0.0),
    (3, 3): (0.3474, 0.1092, 0.5434),
    (8, 0): (0.0, 0.5109, 0.4891),
    (8, 1): (0.0018, 0.5433, 0.4549),
    (8, 2): (0.0775, 0.5701, 0.3524),
    (8, 3): (0.3263, 0.5794, 0.0944),
    (20, 0): (0.0149, 0.9748, 0.0103),
    (20, 1): (0.0, 0.9865, 0.0135),
    (20, 2): (0.0045, 0.9631, 0.0323),
    (20, 3): (0.0431, 0.8985, 0.0584),
}


@pytest.mark.parametrize(("n", "seed"), BAYCOMP)
def test_probabilities_are_those_of_baycomp(n, seed):
    difference = np.random.default_rng(seed).normal(0.003, 0.02, n)
    # 100,000 and 50,000 draws: standard errors up to .5 / sqrt(100000) = 0.0016 and 0.0022, together 0.0027.
    np.testing.assert_allclose(posterior(difference)[:, 0], BAYCOMP[n, seed], atol=0.011)


def test_probabilities_sum_to_one_and_turn_with_the_sign():
    difference = np.random.default_rng(0).normal(0, 0.02, (50, 10))
    found, turned = posterior(difference), posterior(-difference)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-12)
    np.testing.assert_allclose(found, turned[::-1], atol=1e-4)


def test_clear_cases():
    # Ten data sets, all of them far above, far below or well within the region of practical equivalence.
    found = posterior([[0.1] * 10, [-0.1] * 10, [0.001] * 10])
    np.testing.assert_allclose(found, [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=0.001)


@pytest.mark.parametrize("prior_strength", [0.5, 5.0, 20.0])
def test_the_prior_is_a_pseudo_observation_at_zero(prior_strength):
    # All five differences are far above the rope: only the prior's 0 + 0 is equal, with weight w0^2. It is the heavier
    # side where w0 > sqrt(1/2), and w0 is Beta(prior_strength, 5). Standard error at most .5 / sqrt(50000) = 0.0022.
    expected = stats.beta.sf(np.sqrt(0.5), prior_strength, 5)
    assert posterior([0.1] * 5, prior_strength=prior_strength)[1, 0] == pytest.approx(expected, abs=0.009)


def test_the_limit_of_the_region_is_half_in_it():
    # 0 + 0 and 0 + .01 are inside, .01 + .01 is on the limit of .02 and half above: at most w^2 / 2 < 1 / 2 is above.
    np.testing.assert_allclose(posterior([ROPE] * 4)[:, 0], [0, 1, 0], atol=0.001)


def test_a_row_depends_neither_on_other_rows_nor_on_the_order_of_data_sets():
    generator = np.random.default_rng(0)
    difference = generator.normal(0, 0.02, (700, 6))
    difference[generator.random(difference.shape) < 0.2] = np.nan
    found = posterior(difference)
    np.testing.assert_allclose(found[:, 5:6], posterior(difference[5]), atol=1e-4)
    # Draws belong to positions: in another order they are other draws, with standard error .5 / sqrt(50000) = 0.0022.
    np.testing.assert_allclose(found, posterior(difference[:, ::-1]), atol=0.0156)


def test_the_seed_decides():
    difference = np.random.default_rng(0).normal(0, 0.02, (1, 10))
    assert (posterior(difference, seed=1) == posterior(difference, seed=1)).all()
    assert (posterior(difference, seed=1) != posterior(difference, seed=2)).any()


@pytest.mark.parametrize(("difference", "rope"), [([0.1, 0.2], ROPE), ([np.nan] * 5, ROPE), ([0.1] * 5, np.nan)])
def test_too_few_data_sets_or_no_margin_give_no_probability(difference, rope):
    assert np.isnan(posterior(difference, rope)).all()


def test_no_difference_at_all_is_equal():
    assert posterior([0.0] * 5)[:, 0].tolist() == [0, 1, 0]
