import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar as oracle

from analysis.statistics.mcnemar import mcnemar


def test_one_against_five():
    # 2 * (1 + 6) / 64: none or one of six discordant examples, either way.
    assert mcnemar(1, 5) == pytest.approx(14 / 64, abs=1e-15)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (3, 3), (10, 25), (400, 520), (0, 40)])
def test_agrees_with_statsmodels_and_scipy(a, b):
    assert mcnemar(a, b) == pytest.approx(oracle([[7, a], [b, 9]], exact=True).pvalue, abs=1e-12)
    assert mcnemar(a, b) == pytest.approx(binomtest(a, a + b).pvalue, abs=1e-8)


def test_networks_that_never_disagree_are_not_told_apart():
    assert mcnemar(0, 0) == 1.0


def test_false_positives_stay_below_the_level():
    # 2,000 pairs that disagree on 60 examples at random. The exact test rejects at most 5 %: at 60 it rejects 2.7 %,
    # whose sd over 2,000 is 0.4 %.
    a = np.random.default_rng(0).binomial(60, 0.5, size=2000)
    assert 0.012 < (mcnemar(a, 60 - a) < 0.05).mean() < 0.05
