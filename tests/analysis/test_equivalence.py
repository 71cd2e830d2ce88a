import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from analysis.statistics.equivalence import equivalence, labels, non_inferiority

DIFFERENCES = np.array([[-0.004, 0.002, 0.001], [-0.02, -0.01, -0.03], [0.001, -0.006, 0.0]])
MEAN, SD = DIFFERENCES.mean(axis=1), DIFFERENCES.std(axis=1, ddof=1)


def test_non_inferiority_is_scipys_one_sided_t_test_against_minus_the_margin():
    expected = stats.ttest_1samp(DIFFERENCES, -0.005, axis=1, alternative="greater").pvalue
    np.testing.assert_allclose(non_inferiority(MEAN, SD, 3, 0.005), expected, rtol=1e-8)


def test_where_lower_is_better_the_difference_counts_the_other_way():
    expected = stats.ttest_1samp(DIFFERENCES, 0.005, axis=1, alternative="less").pvalue
    found = non_inferiority(MEAN, SD, 3, 0.005, higher_is_better=False)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    np.testing.assert_allclose(found, non_inferiority(-MEAN, SD, 3, 0.005), rtol=1e-12)


def test_equivalence_is_statsmodels_tost():
    rng = np.random.default_rng(0)
    ticket, dense = rng.normal(0.9, 0.01, (2, 50, 5))
    difference = ticket - dense
    expected = [ttost_paired(a, b, -0.012, 0.012)[0] for a, b in zip(ticket, dense, strict=True)]
    found = equivalence(difference.mean(axis=1), difference.std(axis=1, ddof=1), 5, 0.012)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_non_inferiority_by_hand():
    # Mean 0, sd 1, n 4, margin 1: t = (0 + 1) / (1 / 2) = 2; P(T3 > 2) = 0.0697 from the table of Student's t.
    assert float(non_inferiority(0.0, 1.0, 4, 1.0)) == pytest.approx(0.0697, abs=5e-5)


def test_degrees_of_freedom_of_a_pooled_deviation_may_be_given():
    # t = 2 as above, on 6 degrees of freedom.
    assert float(non_inferiority(0.0, 1.0, 4, 1.0, df=6)) == pytest.approx(stats.t.sf(2, 6), rel=1e-12)


# n 4 and sd 1: half-widths t(.975, 3) / 2 = 1.5912 two-sided and t(.95, 3) / 2 = 1.1767 one-sided; margin 1.
@pytest.mark.parametrize(
    ("difference", "label"),
    [
        (1.60, "superior"),
        (1.58, "matching"),
        (0.18, "matching"),
        (0.17, "inconclusive"),
        (0.0, "inconclusive"),
        (-2.59, "inconclusive"),
        (-2.60, "inferior"),
    ],
)
def test_labels_follow_the_intervals(difference, label):
    assert labels(difference, 1.0, 4, 1.0).item() == label
    assert labels(-difference, 1.0, 4, 1.0, higher_is_better=False).item() == label


def test_a_significant_loss_inside_the_margin_is_matching():
    # 0.3 points lost with sd 0.05 in 5 seeds: two-sided interval [-0.36, -0.24], margin 0.5.
    assert labels(-0.003, 0.0005, 5, 0.005).item() == "matching"


@pytest.mark.parametrize(
    ("difference", "sd", "n", "margin"),
    [(0.0, np.nan, 1, 0.1), (0.0, 0.0, 3, 0.1), (0.0, 0.1, 3, np.nan), (np.nan, np.nan, 0, 0.1), (0.0, 0.1, 3, 0.0)],
)
def test_nothing_is_inferred_from_degenerate_input(difference, sd, n, margin):
    assert np.isnan(non_inferiority(difference, sd, n, margin))
    assert np.isnan(equivalence(difference, sd, n, margin))
    assert labels(difference, sd, n, margin).item() == ""


@pytest.mark.parametrize("sd", [0.15, 0.6])
@pytest.mark.parametrize("n", [3, 5])
def test_a_ticket_exactly_at_the_margin_matches_in_five_percent(n, sd):
    # 20,000 tickets that lose the margin of 0.5: the standard error of the share is 0.0015; 4 are allowed.
    differences = np.random.default_rng(n).normal(-0.5, sd, (20_000, n))
    found = labels(differences.mean(axis=1), differences.std(axis=1, ddof=1), n, 0.5)
    assert np.isin(found, ["matching", "superior"]).mean() == pytest.approx(0.05, abs=0.006)
