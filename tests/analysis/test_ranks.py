import itertools
import string

import numpy as np
import pytest
import scikit_posthocs
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics.ranks import critical_difference_groups, friedman, holm

# Demsar 2006, section 3.2.3: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. Of the two 0.975 in row 13 the
# paper ranks the first as the better: it ranked more digits than it printed.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)


def test_holm_by_hand():
    # Sorted .01, .03, .04: times 3, 2, 1 = .03, .06, .04; the last may not be below the one before.
    corrected, size = holm([0.04, 0.01, 0.03])
    assert corrected.tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert size.tolist() == [3, 3, 3]


def test_holm_is_statsmodels_in_every_family():
    generator = np.random.default_rng(0)
    p, family = generator.random(200) ** 2, generator.integers(0, 7, 200)
    corrected, size = holm(p, family)
    for number in range(7):
        of_family = family == number
        np.testing.assert_allclose(corrected[of_family], multipletests(p[of_family], method="holm")[1], rtol=1e-12)
        assert set(size[of_family]) == {of_family.sum()}


def test_what_was_not_tested_does_not_count_in_the_family():
    corrected, size = holm([np.nan, 0.02, 0.03, np.nan], ["a", "a", "a", "b"])
    np.testing.assert_allclose(corrected, [np.nan, 0.04, 0.04, np.nan])
    assert size.tolist() == [2, 2, 2, 0]
    assert holm([])[0].tolist() == []


def test_friedman_and_iman_davenport_of_the_published_example():
    ranks = stats.rankdata(-DEMSAR, axis=1).mean(axis=0)
    assert ranks.round(3).tolist() == [3.143, 2.0, 2.893, 1.964]
    # The paper's 9.28 and 3.69 do not correct for ties; there, chi2 = 12 N / (k (k + 1)) * (sum R^2 - k (k + 1)^2 / 4).
    uncorrected = 12 * 14 / 20 * (np.sum(ranks**2) - 25)
    assert uncorrected == pytest.approx(9.28, abs=0.005)
    assert 13 * uncorrected / (14 * 3 - uncorrected) == pytest.approx(3.69, abs=0.005)
    found = friedman(DEMSAR)
    assert (found.df1, found.df2) == (3, 39)
    # With ties, the variance of ranks is smaller and chi2 larger.
    expected = stats.friedmanchisquare(*DEMSAR.T)
    assert (found.chi2, found.p_chi2) == pytest.approx(tuple(expected), abs=1e-10)
    assert found.chi2 > uncorrected
    assert found.f == pytest.approx(13 * found.chi2 / (42 - found.chi2))
    assert found.p == pytest.approx(stats.f.sf(found.f, 3, 39), abs=1e-12)


def test_friedman_without_ties_by_hand():
    # Ranks of 4 data sets: twice (1, 2, 3), once (2, 1, 3), once (1, 3, 2): sums 5, 8, 11.
    # chi2 = 12 / (4 * 3 * 4) * (25 + 64 + 121) - 3 * 4 * 4 = 4.5; F = 3 * 4.5 / (8 - 4.5).
    found = friedman(np.array([[1, 2, 3], [1, 2, 3], [2, 1, 3], [1, 3, 2.0]]))
    assert (found.chi2, found.f) == pytest.approx((4.5, 13.5 / 3.5))


def test_friedman_says_nothing_where_all_are_equal_and_no_f_where_all_agree():
    equal = friedman(np.ones((4, 3)))
    assert np.isnan([equal.chi2, equal.p_chi2, equal.f, equal.p]).all()
    alike = friedman(np.array([[1, 2, 3.0]] * 4))
    assert alike.chi2 == pytest.approx(8)
    assert np.isnan([alike.f, alike.p]).all()


@pytest.mark.parametrize("shape", [(1, 3), (5, 2)])
def test_friedman_needs_three_methods_and_two_data_sets(shape):
    with pytest.raises(ValueError, match=f"{shape[1]} methods on {shape[0]} data sets"):
        friedman(np.zeros(shape))


def test_iman_davenport_keeps_its_level():
    # 2,000 blocks of 12 data sets and 5 equal methods: the paper's F is an approximation, good to about .01 here; the
    # standard error is sqrt(.05 * .95 / 2000) = 0.005, 3 of which are allowed on top.
    samples = np.random.default_rng(0).normal(size=(2000, 12, 5))
    assert np.mean([friedman(sample).p < 0.05 for sample in samples]) == pytest.approx(0.05, abs=0.025)


def symmetric(k, pairs):
    p = np.ones((k, k))
    for (i, j), value in pairs.items():
        p[i, j] = p[j, i] = value
    return p


def test_groups_by_hand():
    # 0 and 3, 0 and 2, 1 and 3 differ: the largest sets without a difference are {0, 1}, {1, 2}, {2, 3}.
    p = symmetric(4, {(0, 3): 0.001, (0, 2): 0.01, (1, 3): 0.049})
    assert critical_difference_groups(p) == ["a", "ab", "bc", "c"]
    assert critical_difference_groups(np.ones((3, 3))) == ["a", "a", "a"]
    assert critical_difference_groups(np.zeros((3, 3))) == ["a", "b", "c"]


def test_a_p_of_exactly_alpha_or_nan_does_not_tell_apart():
    p = symmetric(3, {(0, 1): 0.05, (0, 2): np.nan, (1, 2): 0.0499})
    assert critical_difference_groups(p) == ["ab", "a", "b"]


def test_two_methods_share_a_letter_exactly_if_no_test_tells_them_apart():
    for seed in range(20):
        raw = np.random.default_rng(seed).random((9, 9))
        p = np.minimum(raw, raw.T)
        letters = critical_difference_groups(p, alpha=0.3)
        for i, j in itertools.combinations(range(9), 2):
            assert bool(set(letters[i]) & set(letters[j])) == (p[i, j] >= 0.3)


def test_letters_of_wilcoxon_and_holm_are_those_of_scikit_posthocs():
    generator = np.random.default_rng(4)
    scores = generator.normal(size=(15, 6)) * 0.4 + np.array([0, 0.1, 0.5, 0.6, 1.2, 1.3])
    # Wide form, one column per method.
    p = scikit_posthocs.posthoc_wilcoxon(list(scores.T), p_adjust="holm").to_numpy()
    first, second = np.triu_indices(6, 1)
    ours = np.ones((6, 6))
    ours[first, second] = holm(stats.wilcoxon(scores[:, first] - scores[:, second], axis=0).pvalue)[0]
    ours = np.minimum(ours, ours.T)
    np.testing.assert_allclose(ours[first, second], p[first, second], atol=1e-10)
    theirs = scikit_posthocs.compact_letter_display(p).str.replace(" ", "").tolist()
    assert len(set(theirs)) > 2
    assert critical_difference_groups(ours) == theirs


def test_more_groups_than_letters_are_numbered():
    found = critical_difference_groups(np.zeros((54, 54)))
    assert found == [*string.ascii_letters, "(52)", "(53)"]
