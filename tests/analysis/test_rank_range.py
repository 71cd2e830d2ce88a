import numpy as np
import pytest
from scipy.stats import ttest_ind

from analysis.statistics.rank_range import rank_range


def test_entries_far_apart_have_one_rank_each():
    low, high = rank_range([0.9, 0.5, 0.7], [0.01] * 3, [5] * 3, [0, 0, 0])
    assert low.tolist() == high.tolist() == [1, 3, 2]


def test_entries_within_the_noise_share_all_ranks():
    low, high = rank_range([0.90, 0.91, 0.89], [0.05] * 3, [3] * 3, [0] * 3)
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [3, 3, 3])


def test_groups_are_ranked_apart():
    low, high = rank_range([0.9, 0.1, 0.5, 0.2], [0.01] * 4, [5] * 4, [7, 3, 7, 3])
    assert low.tolist() == high.tolist() == [1, 2, 2, 1]


def test_an_entry_without_spread_has_no_range_and_is_told_from_no_other():
    low, high = rank_range([0.9, 0.5, 0.1, np.nan], [0.01, 0.0, 0.01, 0.01], [5, 5, 5, 0], [0] * 4)
    assert low.tolist()[:3:2] == [1, 2]
    assert high.tolist()[:3:2] == [2, 3]
    assert np.isnan([low[1], high[1], low[3], high[3]]).all()


def test_one_entry_alone_is_first():
    assert [values.tolist() for values in rank_range([0.9], [0.1], [3], [0])] == [[1], [1]]


def test_the_range_agrees_with_scipys_welch_tests():
    generator = np.random.default_rng(4)
    runs = generator.normal(np.linspace(0, 2, 12)[:, None], generator.uniform(0.1, 1, (12, 1)), (12, 4))
    low, high = rank_range(runs.mean(axis=1), runs.std(axis=1, ddof=1), np.full(12, 4), np.zeros(12, int))
    for i, own in enumerate(runs):
        apart = [ttest_ind(own, other, equal_var=False).pvalue < 0.05 / 11 for other in runs]
        better = sum(found and other.mean() > own.mean() for found, other in zip(apart, runs, strict=True))
        worse = sum(found and other.mean() < own.mean() for found, other in zip(apart, runs, strict=True))
        assert (low[i], high[i]) == (1 + better, 12 - worse)
    assert low.max() > 1
    assert high.min() < 12


@pytest.mark.parametrize("n", [3, 5])
def test_the_range_holds_the_true_rank_at_least_as_often_as_stated(n):
    # 2,000 groups of 5: the share's standard error is at most sqrt(.05 * .95 / 2000) = .005.
    true, generator = np.array([0.0, 0.2, 0.2, 1.0, 3.0]), np.random.default_rng(n)
    runs = generator.normal(true[:, None], 0.5, (2000, 5, n))
    low, high = rank_range(
        runs.mean(axis=2).ravel(), runs.std(axis=2, ddof=1).ravel(), np.full(10_000, n), np.arange(10_000) // 5
    )
    low, high = low.reshape(2000, 5), high.reshape(2000, 5)
    # Of the two that are equal each rank is right: 3 or 4.
    best, worst = np.array([5, 3, 3, 2, 1]), np.array([5, 4, 4, 2, 1])
    assert ((low <= worst) & (high >= best)).mean(axis=0).min() > 0.95 - 3 * 0.005
