import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.bootstrap import (
    aggregate_interval,
    aggregate_intervals,
    iqm,
    mean,
    mean_intervals,
    median,
    widening,
    worst_quartile,
)
from analysis.statistics.profiles import profile

RUNS = np.array([[0.1, 0.5, 0.3, 0.9, 0.2], [4.0, 2.0, 2.5, 2.2, 3.1]])


def test_two_runs_give_both_runs_themselves():
    # Means of 2 draws: the lower run with probability 1/4, their mean 1/2, the higher 1/4.
    low, high = mean_intervals(np.array([[1.0, 3.0]]), inflate=False)
    assert (low[0], high[0]) == (1.0, 3.0)


def test_inflation_widens_two_runs_by_the_square_root_of_two():
    low, high = mean_intervals(np.array([[1.0, 3.0]]))
    assert [low[0], high[0]] == pytest.approx([2 - math.sqrt(2), 2 + math.sqrt(2)], abs=1e-12)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_enumeration_is_the_distribution_over_all_ordered_draws(n):
    runs = RUNS[0, :n]
    every = np.sort([np.mean(draw) for draw in itertools.product(runs, repeat=n)])
    low, high = mean_intervals(runs[None], inflate=False)
    # Smallest means that are reached with probability 0.025 and 0.975, counted over n^n draws.
    expected = every[math.ceil(0.025 * n**n) - 1], every[math.ceil(0.975 * n**n) - 1]
    assert [low[0], high[0]] == pytest.approx(expected, abs=1e-12)


def test_drawn_limits_agree_with_scipy():
    runs = np.random.default_rng(3).normal(size=12)
    ours = mean_intervals(runs[None], inflate=False, resamples=20_000)
    theirs = stats.bootstrap((runs,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    # sd of a 2.5 % quantile of 20,000 draws: sqrt(0.025 * 0.975 / 20,000) / 0.058 = 0.019 deviations of the mean; two
    # independent ones differ by less than four times that times sqrt(2).
    spread = runs.std() / math.sqrt(12)
    assert abs(ours[0][0] - theirs.low) < 0.11 * spread
    assert abs(ours[1][0] - theirs.high) < 0.11 * spread


def test_enumerated_and_drawn_limits_agree():
    exact, drawn = mean_intervals(RUNS), mean_intervals(RUNS, resamples=125)
    assert np.isfinite(drawn).all()
    # 125 draws are fewer than the 126 resamples of five runs: a rough distribution of the same means.
    np.testing.assert_allclose(exact, drawn, atol=0.35 * np.ptp(RUNS, axis=1).max())


def test_a_gap_is_a_run_less_wherever_it_is():
    gap = np.array([[0.1, np.nan, 0.5, 0.3], [0.5, 0.3, 0.1, np.nan]])
    np.testing.assert_array_equal(
        mean_intervals(gap), np.repeat(mean_intervals(np.array([[0.1, 0.5, 0.3]])), 2, axis=1)
    )


@pytest.mark.parametrize("runs", [[0.5], [0.5, np.nan], [0.5, 0.5, 0.5], [np.nan, np.nan]])
def test_no_interval_of_one_run_or_of_equal_runs(runs):
    assert np.isnan(mean_intervals(np.array([runs]))).all()


def test_inflation_makes_intervals_of_five_runs_cover_more():
    groups = np.random.default_rng(0).normal(size=(4000, 5))
    covered = {}
    for inflate in (False, True):
        low, high = mean_intervals(groups, inflate=inflate)
        covered[inflate] = ((low < 0) & (high > 0)).mean()
    # 400,000 groups of five normal runs: 0.839 and 0.872 of a nominal 0.95 (Student's t: 0.95). The sd of a share of
    # 4,000 is 0.006, four of them.
    assert covered[False] == pytest.approx(0.839, abs=0.024)
    assert covered[True] == pytest.approx(0.872, abs=0.024)
    assert covered[True] > covered[False] + 0.02


def test_statistics_are_those_of_the_paper():
    runs = np.random.default_rng(0).normal(size=(7, 3))
    flat, task_means = runs.reshape(1, -1), runs.mean(axis=1)[None]
    assert iqm(flat, task_means)[0] == pytest.approx(stats.trim_mean(runs, 0.25, axis=None), abs=1e-12)
    assert median(flat, task_means)[0] == pytest.approx(np.median(runs.mean(axis=1)), abs=1e-12)
    assert mean(flat, task_means)[0] == pytest.approx(runs.mean(), abs=1e-12)
    # A quarter of seven tasks, rounded up: two.
    assert worst_quartile(flat, task_means)[0] == pytest.approx(np.sort(runs.mean(axis=1))[:2].mean(), abs=1e-12)


def test_interval_of_the_mean_over_tasks_is_as_wide_as_in_closed_form():
    tasks = np.random.default_rng(1).normal(size=(200, 4))
    estimate, low, high = aggregate_interval(tasks, mean, resamples=4000)
    # With the widening, the variance of the mean is that of its unbiased estimate; over 200 tasks the mean is normal.
    half = 1.96 * math.sqrt(tasks.var(axis=1, ddof=1).sum() / 4) / 200
    assert estimate == pytest.approx(tasks.mean(), abs=1e-12)
    # Limits from 4,000 draws err by 0.043 of a deviation (see above): 0.022 of the half-width, four of them.
    assert [low, high] == pytest.approx([estimate - half, estimate + half], abs=0.09 * half)


def test_tasks_are_strata_and_no_run_leaves_its_task():
    # Tasks differ by 100, runs by 1: without strata the limits would be tens apart.
    tasks = np.array([[0.0, 1.0, 0.5], [100.0, 101.0, 100.5]])
    _, low, high = aggregate_interval(tasks, mean)
    assert 49.5 < low < high < 51.5


def test_tasks_with_different_numbers_of_runs():
    tasks = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, np.nan], [np.nan, np.nan, np.nan]])
    found = aggregate_intervals(tasks)
    assert found["mean"][0] == pytest.approx(4.0)
    assert found["iqm"][0] == pytest.approx(np.mean([2.0, 3.0, 5.0]))
    assert found["worst_quartile"][0] == pytest.approx(2.0)
    assert found["mean"][1] < 4 < found["mean"][2]


def test_widening_undoes_the_bias_of_tasks_of_equal_variance():
    assert widening(np.array([4, 4, 4])) == pytest.approx(math.sqrt(4 / 3))
    # True variance 1/2 + 1/4; the bootstrap's expectation 1/2 * 1/2 + 1/4 * 3/4.
    assert widening(np.array([2, 4])) == pytest.approx(math.sqrt(0.75 / 0.4375))
    assert math.isnan(widening(np.array([1, 1])))


def test_the_same_seed_gives_the_same_limits_and_the_order_of_runs_does_not_matter():
    tasks = np.random.default_rng(2).normal(size=(6, 3))
    assert aggregate_intervals(tasks) == aggregate_intervals(tasks[:, [2, 0, 1]])
    assert aggregate_interval(tasks, iqm, seed=0) != aggregate_interval(tasks, iqm, seed=1)


@pytest.mark.parametrize("tasks", [[[0.5], [0.6]], [[0.5, 0.5], [0.6, 0.6]]])
def test_an_aggregate_without_spread_has_no_interval(tasks):
    estimate, low, high = aggregate_interval(np.array(tasks), iqm)
    assert estimate == pytest.approx(0.55)
    assert math.isnan(low)
    assert math.isnan(high)


def test_nothing_aggregated_is_nothing():
    assert all(math.isnan(number) for number in aggregate_interval(np.full((2, 3), np.nan), iqm))


def test_a_profile_is_the_share_of_runs_above():
    share, _, _ = profile(np.array([[0.1, 0.5], [0.5, 0.9]]), np.array([0.0, 0.1, 0.5, 0.9]))
    assert share.tolist() == [1.0, 0.75, 0.25, 0.0]


def test_profile_limits_are_the_distribution_over_all_draws():
    tasks = np.array([[0.1, 0.5, 0.9], [0.2, 0.7, 0.8]])
    _, low, high = profile(tasks, np.array([0.6]), inflate=False)
    draws = [[*a, *b] for a in itertools.product(tasks[0], repeat=3) for b in itertools.product(tasks[1], repeat=3)]
    every = np.sort((np.array(draws) > 0.6).mean(axis=1))
    # The 19th and the 711th of 729: 0.025 * 729 = 18.2, 0.975 * 729 = 710.8.
    assert [low[0], high[0]] == pytest.approx([every[18], every[710]], abs=1e-12)


def test_profile_limits_stay_within_zero_and_one():
    share, low, high = profile(np.random.default_rng(0).uniform(size=(3, 3)), np.linspace(0.05, 0.95, 19))
    known = np.isfinite(low)
    assert known.any()
    assert (low[known] >= 0).all()
    assert (low[known] <= share[known]).all()
    assert (share[known] <= high[known]).all()
    assert (high[known] <= 1).all()


def test_a_profile_that_no_resample_changes_has_no_interval():
    share, low, high = profile(np.array([[0.5, 0.6]]), np.array([0.1, 0.9]))
    assert share.tolist() == [1.0, 0.0]
    assert np.isnan([low, high]).all()


def test_arrays_of_another_shape_are_refused():
    for function in (mean_intervals, aggregate_intervals):
        with pytest.raises(ValueError, match=r"values have shape \(3,\): give one row per"):
            function(np.zeros(3))
