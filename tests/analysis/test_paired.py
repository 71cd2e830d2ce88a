import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import paired

NAN = np.nan


def rows(*values):
    return np.array(values, dtype=np.float64)


def test_paired_t_by_hand():
    # 1, 2, 3: mean 2, sd 1; t = 2 * sqrt(3) = 3.4641 with 2 degrees of freedom: p = 0.0742; t(.975, 2) = 4.30265.
    found = paired.paired_t(rows([1, 2, 3]))
    assert (found.n[0], found.mean[0], found.sd[0], found.effect_size[0]) == (3, 2, 1, 2)
    assert (found.low[0], found.high[0]) == pytest.approx((-0.48414, 4.48414), abs=1e-5)
    assert found.p[0] == pytest.approx(0.0742, abs=5e-5)


def test_paired_t_is_scipys():
    a, b = np.random.default_rng(0).normal(size=(2, 20, 5))
    found = paired.paired_t(b - a)
    expected = stats.ttest_rel(b, a, axis=1)
    interval = expected.confidence_interval()
    np.testing.assert_allclose(found.p, expected.pvalue, rtol=1e-10)
    np.testing.assert_allclose((found.low, found.high), (interval.low, interval.high), rtol=1e-10)


@pytest.mark.parametrize(
    "function",
    [
        lambda d: np.stack(paired.paired_t(d)),
        paired.wilcoxon,
        lambda d: np.stack(paired.hodges_lehmann(d)),
        paired.rank_biserial,
        paired.share_better,
        lambda d: np.stack(paired.win_tie_loss(d, np.full(len(d), 0.3))),
    ],
)
def test_a_row_depends_neither_on_other_rows_nor_on_the_order_of_its_units_or_its_gaps(function):
    generator = np.random.default_rng(1)
    difference = np.round(generator.normal(size=(60, 9)), 1)
    difference[generator.random(difference.shape) < 0.3] = NAN
    difference[0], difference[1], difference[2, 1:] = 0, NAN, NAN
    together = function(difference)
    alone = np.concatenate([function(row[np.isfinite(row)][None, ::-1]) for row in difference], axis=-1)
    np.testing.assert_allclose(together, alone, rtol=1e-12, atol=1e-15)


def test_wilcoxon_of_six_improvements_by_hand():
    # One of the 2^6 sign patterns has a rank sum as large, and one as small: 2 / 64. With the smallest rank negative,
    # two patterns are as extreme on each side: 4 / 64.
    p = paired.wilcoxon(rows([1, 2, 3, 4, 5, 6], [-1, 2, 3, 4, 5, 6]))
    np.testing.assert_allclose(p, [2 / 64, 4 / 64], rtol=1e-12)
    assert paired.smallest_p(6) == 2 / 64


@pytest.mark.parametrize("n", [2, 3, 5, 9, 13, 14, 30, 60])
def test_wilcoxon_is_scipys_for_each_row_alone(n):
    generator = np.random.default_rng(n)
    smooth = generator.normal(size=(4, n))
    tied = np.round(generator.normal(size=(4, n)), 1)
    # Enumerating signs takes scipy 0.7 s for 13 tied pairs: one such row is enough.
    mixed = np.concatenate([smooth, tied[: 1 if n > 9 else 4]])
    expected = [stats.wilcoxon(row).pvalue for row in mixed]
    np.testing.assert_allclose(paired.wilcoxon(mixed), expected, rtol=1e-10)


def test_hodges_lehmann_by_hand():
    # Walsh averages of 1, 2, 6: 1, 1.5, 2, 3.5, 4, 6; their median is (2 + 3.5) / 2. Three pairs allow no 95 % limits.
    estimate, low, high = paired.hodges_lehmann(rows([1, 2, 6]))
    assert estimate[0] == 2.75
    assert np.isnan([low[0], high[0]]).all()


def test_hodges_lehmann_limits_of_six_pairs_are_the_extreme_averages():
    # P(rank sum = 0) = 1 / 64 < .025, P(rank sum <= 1) = 2 / 64 > .025: limits are the first and the last of the
    # Walsh averages, which are the smallest and the largest difference.
    _, low, high = paired.hodges_lehmann(rows([3, 1, 8, 2, 5, 13]))
    assert (low[0], high[0]) == (1, 13)


@pytest.mark.parametrize("n", [6, 8, 11])
def test_hodges_lehmann_limits_are_the_shifts_that_the_exact_test_does_not_reject(n):
    difference = np.random.default_rng(n).normal(0.5, size=n)
    _, low, high = paired.hodges_lehmann(difference[None])
    for limit, inside in ((low[0], 1e-6), (high[0], -1e-6)):
        assert stats.wilcoxon(difference - (limit + inside), method="exact").pvalue > 0.05
        assert stats.wilcoxon(difference - (limit - inside), method="exact").pvalue <= 0.05


def test_hodges_lehmann_interval_covers_at_least_as_often_as_it_says():
    # n = 8 attains 1 - 2 * P(rank sum <= 3) = 1 - 2 * 5 / 256 = 0.961, whatever the symmetric distribution. 4,000
    # samples: standard error sqrt(.961 * .039 / 4000) = 0.0031; 4 are allowed.
    samples = np.random.default_rng(0).laplace(size=(4000, 8))
    _, low, high = paired.hodges_lehmann(samples)
    assert np.mean((low <= 0) & (high >= 0)) == pytest.approx(0.961, abs=0.0125)


def test_rank_biserial_by_hand():
    # |d| ranks 1, 2, 3, 4 with the 2 negative: (1 + 3 + 4 - 2) / 10. A zero has no rank.
    np.testing.assert_allclose(paired.rank_biserial(rows([1, -2, 3, 4, NAN], [0, 1, -2, 3, 4])), [0.6, 0.6])


def test_the_margin_is_the_tie_band_and_belongs_to_it():
    improvement = rows([0.02, 0.01, 0.0, -0.01, -0.03], [0.02, NAN, NAN, NAN, NAN])
    wins, ties, losses = paired.win_tie_loss(improvement, np.array([0.01, NAN]))
    assert (wins.tolist(), ties.tolist(), losses.tolist()) == ([1, 0], [3, 0], [1, 0])


def test_ties_are_half_an_improvement():
    assert paired.share_better(rows([1, 0, -1, 2], [0, NAN, NAN, NAN])).tolist() == [0.625, 0.5]


@pytest.mark.parametrize("values", [[NAN, NAN, NAN], [0.5, NAN, NAN], [0.0, 0.0, 0.0]])
def test_nothing_is_inferred_from_no_pair_one_pair_or_no_difference(values):
    found = paired.paired_t(rows(values))
    assert np.isnan([found.low, found.high, found.p, found.effect_size]).all()
    assert np.isnan([*paired.wilcoxon(rows(values)), *paired.rank_biserial(rows(values))]).all()
    assert np.isnan(paired.hodges_lehmann(rows(values))[1:]).all()


def test_equal_differences_allow_a_rank_test_but_no_t_test():
    # 0.1 + 0.2 - 0.3 is not 0 in floats; values that are equal to the last digit have a deviation of exactly 0.
    found = paired.paired_t(rows([0.1] * 6))
    assert (found.sd[0], np.isnan(found.p[0])) == (0.0, True)
    assert paired.wilcoxon(rows([0.1] * 6))[0] == 2 / 64


def test_paired_t_keeps_its_level_over_seeds():
    # 20,000 tests of no difference: standard error sqrt(.05 * .95 / 20000) = 0.0015; 4 are allowed.
    difference = np.random.default_rng(2).normal(size=(20_000, 3))
    assert np.mean(paired.paired_t(difference).p < 0.05) == pytest.approx(0.05, abs=0.0062)


def test_wilcoxon_has_its_exact_level_over_data_sets():
    # n = 8: p < .05 exactly where the smaller rank sum is <= 3, which 2 * 5 of 256 sign patterns give: 0.0391.
    # 20,000 tests: standard error 0.00137; 4 are allowed.
    patterns = np.array(list(itertools.product([0, 1], repeat=8))) @ np.arange(1, 9)
    level = np.mean(np.minimum(patterns, 36 - patterns) <= 3)
    assert level == 10 / 256
    difference = np.random.default_rng(3).standard_t(3, size=(20_000, 8))
    assert np.mean(paired.wilcoxon(difference) < 0.05) == pytest.approx(level, abs=0.0055)
