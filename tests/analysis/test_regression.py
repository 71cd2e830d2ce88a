import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analysis.statistics.regression import line, spearman


def points(n, slope=0.3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.uniform(0, 10, size=n)
    return x, slope * x + generator.normal(size=n)


@pytest.mark.parametrize("n", [3, 6, 20])
def test_line_agrees_with_statsmodels(n):
    x, y = points(n)
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    found = line(x, y)
    low, high = fit.conf_int()[1]
    assert found.n == n
    assert [found.intercept, found.slope] == pytest.approx(fit.params, abs=1e-8)
    assert [found.slope_low, found.slope_high, found.p] == pytest.approx([low, high, fit.pvalues[1]], abs=1e-8)


def test_leaving_one_out_moves_the_slope_between_these():
    x, y = points(6)
    slopes = [stats.linregress(np.delete(x, i), np.delete(y, i)).slope for i in range(6)]
    found = line(x, y)
    assert [found.slope_without_min, found.slope_without_max] == pytest.approx([min(slopes), max(slopes)], abs=1e-10)


def test_a_point_that_the_whole_slope_hangs_on_is_seen():
    found = line(np.array([1.0, 1.0, 1.0, 9.0]), np.array([0.0, 1.0, 0.5, 3.0]))
    assert found.slope > 0
    # Without the last point all x are equal: there is no slope, so no range of slopes.
    assert math.isnan(found.slope_without_min)
    assert math.isnan(found.slope_without_max)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]),
        ([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]),
        ([], []),
        ([1.0, 2.0, np.nan], [1.0, 2.0, 3.0]),
    ],
)
def test_nothing_is_inferred_from_two_points_or_from_flat_ones(x, y):
    found = line(np.array(x), np.array(y))
    assert found.n == np.isfinite(x).sum()
    assert all(math.isnan(number) for number in found[1:])
    assert all(math.isnan(number) for number in spearman(np.array(x), np.array(y)))


def test_the_order_of_points_does_not_matter():
    x, y = points(7)
    assert line(x[::-1], y[::-1]) == pytest.approx(line(x, y), abs=1e-12)
    assert spearman(x[::-1], y[::-1]) == pytest.approx(spearman(x, y), abs=1e-12)


def oracle(x, y, n_resamples):
    def statistic(permuted):
        return stats.spearmanr(permuted, y).statistic

    return stats.permutation_test((x,), statistic, permutation_type="pairings", n_resamples=n_resamples, rng=0)


@pytest.mark.parametrize(("x", "y"), [points(5), points(6, slope=0.05, seed=4), ([1, 2, 2, 4, 5], [3, 1, 1, 6, 9])])
def test_spearman_and_its_exact_p_agree_with_scipy(x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    found, expected = spearman(x, y), oracle(x, y, np.inf)
    assert found.correlation == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)


def test_four_points_in_order_have_a_p_of_one_twelfth():
    # Two of 24 orders are monotone, one either way.
    assert spearman(np.arange(4.0), np.arange(4.0)).p == pytest.approx(2 / 24, abs=1e-15)


def test_drawn_p_agrees_with_the_p_of_many_points():
    x, y = points(40, slope=0.05)
    # p by t of 40 points; of 10,000 drawn orders p errs by sqrt(p / 10,000): 0.0022 at 0.05, four of them.
    assert 0.01 < stats.spearmanr(x, y).pvalue < 0.2
    assert spearman(x, y).p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.015)


def test_slopes_of_means_reject_at_their_level_where_runs_would_not():
    # 8 data sets with an effect of their own and 15 runs each, no slope: means reject 5 %; sd over 2,000 is 0.5 %.
    generator = np.random.default_rng(0)
    x = generator.uniform(size=8)
    rejected = {"means": 0, "runs": 0}
    for _ in range(1000):
        runs = generator.normal(size=(8, 1)) + generator.normal(size=(8, 15))
        rejected["means"] += line(x, runs.mean(axis=1)).p < 0.05
        rejected["runs"] += line(np.repeat(x, 15), runs.reshape(-1)).p < 0.05
    # sd over 1,000: 0.7 %.
    assert 0.022 < rejected["means"] / 1000 < 0.08
    assert rejected["runs"] / 1000 > 0.3
