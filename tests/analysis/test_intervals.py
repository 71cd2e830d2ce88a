import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import t_interval


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
