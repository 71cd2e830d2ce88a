import numpy as np
import pytest
from scipy import stats
from scipy.optimize import isotonic_regression

from analysis.statistics.crossing import crossing, jackknife_crossing, log_density, non_increasing, sparsity_at


def test_a_rising_pair_is_averaged():
    assert non_increasing([3.0, 1.0, 2.0, 0.0]).tolist() == [3.0, 1.5, 1.5, 0.0]
    assert non_increasing([1.0, 2.0, 3.0]).tolist() == [2.0, 2.0, 2.0]


def test_the_isotonic_fit_is_scipys():
    curves = np.random.default_rng(0).normal(size=(40, 12)).cumsum(axis=1)
    expected = [isotonic_regression(y, increasing=False).x for y in curves]
    np.testing.assert_allclose(non_increasing(curves), expected, atol=1e-12)


def test_equal_steps_of_log_density_prune_equal_shares():
    assert np.diff(log_density([0.2, 0.36, 0.488])).tolist() == pytest.approx([-np.log(0.8)] * 2)
    np.testing.assert_allclose(sparsity_at(log_density([0.0, 0.5, 0.9856])), [0.0, 0.5, 0.9856], rtol=1e-12)


def test_the_crossing_is_interpolated_between_the_levels_around_it():
    # -0.325 lies a quarter of the way from -0.1 at 2 to -1 at 4.
    assert crossing([1.0, 2.0, 4.0], [0.1, -0.1, -1.0], -0.325).item() == pytest.approx(2.5)


def test_only_the_first_crossing_counts():
    # Back up at 4: pooled with the fall before, the fit is 1, -0.5, -0.5, -3.
    assert crossing([1.0, 2.0, 3.0, 4.0], [1.0, -2.0, 1.0, -3.0], 0.0).item() == pytest.approx(1 + 2 / 3)


@pytest.mark.parametrize(("y", "place"), [([-1.0, -2.0], -np.inf), ([1.0, 0.0], np.inf), ([1.0, np.nan], np.nan)])
def test_a_curve_on_one_side_has_no_crossing(y, place):
    np.testing.assert_equal(crossing([1.0, 2.0], y, 0.0).item(), place)


def test_a_level_at_the_threshold_is_not_below_it():
    assert crossing([1.0], [0.0], 0.0).item() == np.inf


def test_on_a_straight_line_the_interval_is_that_of_the_mean():
    # Improvement 1 - x + noise of the seed: the crossing of 0 is linear in the noise, so the jackknife is Student's t.
    noise = np.array([-0.1, 0.05, 0.2])
    x = np.array([0.0, 1.0, 2.0])
    found = jackknife_crossing(x[None], (1.0 - x)[None, :, None] + noise, np.zeros(1))
    expected = stats.t.interval(0.95, 2, loc=1 + noise.mean(), scale=stats.sem(noise))
    assert (found.estimate[0], found.low[0], found.high[0]) == pytest.approx((1.05, *expected), rel=1e-9)


def test_a_limit_outside_the_levels_is_open():
    noise = np.array([-0.9, 0.9])
    x = np.array([0.0, 1.0, 2.0])
    found = jackknife_crossing(x[None], (1.0 - x)[None, :, None] + noise, np.zeros(1))
    assert (found.estimate[0], found.low[0], found.high[0]) == (pytest.approx(1.0), -np.inf, np.inf)


def test_a_seed_alone_that_crosses_outside_the_levels_opens_that_side():
    # The means 0.05, -0.25, 0.1 are fitted by 0.05, -0.075, -0.075. The first seed alone crosses at 1, the second never
    # (0, 0, 0), and 1 and 1.1 are so close that the t interval would end at 1.035.
    late = jackknife_crossing([[0.0, 1.0, 1.1]], [[[0.1, 0.0], [0.0, -0.5], [-0.3, 0.5]]], [0.0])
    assert (late.estimate[0], late.high[0]) == (pytest.approx(0.4), np.inf)
    early = jackknife_crossing([[0.0, 0.1, 1.0]], [[[-0.4, 0.6], [0.3, -0.2], [0.1, -0.2]]], [0.0])
    assert (early.estimate[0], early.low[0]) == (pytest.approx(0.55), -np.inf)


def test_curves_with_fewer_seeds_are_computed_beside_others():
    x = np.array([0.0, 1.0, 2.0])
    y = (1.0 - x)[:, None] + np.array([-0.1, 0.05, 0.2])
    short = np.where(np.arange(3) < 2, y, np.nan)
    both = jackknife_crossing(np.stack([x, x]), np.stack([y, short]), np.zeros(2))
    alone = jackknife_crossing(x[None], short[None, :, :2], np.zeros(1))
    np.testing.assert_allclose([part[1] for part in both], [part[0] for part in alone], rtol=1e-12)


@pytest.mark.parametrize("y", [np.ones((1, 2, 1)) * [[1.0], [-1.0]], np.ones((1, 2, 3)) * [[1.0], [-1.0]]])
def test_one_seed_or_equal_seeds_have_an_estimate_and_no_interval(y):
    found = jackknife_crossing(np.array([[0.0, 1.0]]), y, np.zeros(1))
    assert found.estimate[0] == pytest.approx(0.5)
    assert np.isnan([found.low[0], found.high[0]]).all()


@pytest.mark.parametrize(("n", "covered"), [(3, 0.929), (5, 0.925)])
def test_the_interval_covers_nearly_as_often_as_it_says(n, covered):
    # 19 rounds of 20 %, sd of the differences 0.15, margin 0.5: a crossing is not linear in the seeds, so that the
    # coverage is a little below 0.95 (`covered`: share of 4,000 other curves). 2,000 curves: the standard error is
    # 0.0057; 4 are allowed.
    x = log_density(1 - 0.8 ** np.arange(1, 20))
    truth = np.clip(0.1 - 0.6 * np.clip((x - 2) / 1.2, 0, None) ** 2, -10, None)
    y = truth[:, None] + np.random.default_rng(1).normal(0, 0.15, (2000, len(x), n))
    found = jackknife_crossing(np.broadcast_to(x, y.shape[:2]), y, np.full(2000, -0.5))
    place = crossing(x, truth, -0.5)
    assert np.mean((found.low <= place) & (place <= found.high)) == pytest.approx(covered, abs=0.023)
