import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import jackknife_t, one_sided_limits, pooled_sd, t_interval


def test_t_interval_is_scipys():
    values = np.array([0.81, 0.84, 0.90])
    low, high = t_interval(values.mean(), values.std(ddof=1), 3)
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose((low, high), expected, rtol=1e-12)


def test_t_interval_by_hand():
    # Values 1, 2, 3: mean 2, sd 1; t(0.975, 2) = 4.30265 from the table; 4.30265 / sqrt(3) = 2.48414.
    low, high = t_interval(2.0, 1.0, 3)
    assert (float(low), float(high)) == pytest.approx((-0.48414, 4.48414), abs=1e-5)


def test_entries_are_independent_of_each_other():
    low, high = t_interval([2.0, 0.5], [1.0, 0.1], [3, 5])
    for i, (mean, sd, n) in enumerate([(2.0, 1.0, 3), (0.5, 0.1, 5)]):
        assert (low[i], high[i]) == t_interval(mean, sd, n)


@pytest.mark.parametrize(("sd", "n"), [(np.nan, 0), (np.nan, 1), (0.0, 1), (0.0, 3)])
def test_too_few_seeds_or_equal_values_allow_no_inference(sd, n):
    low, high = t_interval(0.9, sd, n)
    assert np.isnan(low)
    assert np.isnan(high)


def test_interval_covers_the_mean_as_often_as_it_says():
    # 4,000 samples of 3 seeds: the standard error of the coverage is sqrt(.95 * .05 / 4000) = 0.0034; 4 are allowed.
    samples = np.random.default_rng(0).normal(size=(4000, 3))
    low, high = t_interval(samples.mean(axis=1), samples.std(axis=1, ddof=1), 3)
    assert np.mean((low < 0) & (high > 0)) == pytest.approx(0.95, abs=0.014)


def test_another_confidence_is_wider():
    assert t_interval(0.0, 1.0, 5, confidence=0.99)[1] > t_interval(0.0, 1.0, 5)[1]


def test_one_sided_limits_are_scipys():
    low, high = one_sided_limits(2.0, 1.0, 3)
    assert (float(low), float(high)) == pytest.approx(stats.t.interval(0.90, 2, loc=2.0, scale=1 / np.sqrt(3)))
    low, _ = one_sided_limits(2.0, 1.0, 3, df=4)
    assert float(low) == pytest.approx(2.0 - stats.t.ppf(0.95, 4) / np.sqrt(3))


@pytest.mark.parametrize(("sd", "n", "df"), [(np.nan, 1, None), (0.0, 3, None), (1.0, 3, 0), (np.nan, 0, None)])
def test_one_sided_limits_need_a_spread(sd, n, df):
    assert np.isnan(one_sided_limits(0.9, sd, n, df=df)).all()


def test_variances_are_pooled_by_their_degrees_of_freedom():
    # Group 0: (2 * 1 + 4 * 4) / 6 = 3. Group 1 has one usable entry, group 2 none.
    found = pooled_sd([1.0, 2.0, 0.5, np.nan, np.nan], [3, 5, 3, 1, 1], [0, 0, 1, 1, 2], 3)
    np.testing.assert_allclose(found, [np.sqrt(3), 0.5, np.nan])


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.array([0.81, 0.84, 0.90, 0.83])
    left_out = (values.sum() - values) / 3
    found = jackknife_t(values.mean(), left_out)
    np.testing.assert_allclose(found, t_interval(values.mean(), values.std(ddof=1), 4), rtol=1e-12)
    with_absent = jackknife_t(values.mean(), [*left_out, np.nan])
    np.testing.assert_allclose(with_absent, found, rtol=1e-12)


@pytest.mark.parametrize("left_out", [[0.5], [0.5, np.nan], [np.nan, np.nan], [0.5, 0.5, 0.5]])
def test_the_jackknife_needs_two_seeds_that_differ(left_out):
    assert np.isnan(jackknife_t(0.5, left_out)).all()
