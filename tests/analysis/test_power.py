import numpy as np
import pytest
from scipy import stats

from analysis.statistics.power import minimum_detectable_effect, non_inferiority_margin, power_of_t

SEEDS = [3, 4, 5, 7, 10, 20]


# statsmodels' solve_power gives 5.50, 3.39 and 2.98 for 3 to 5 seeds in the second row; the simulations below decide.
@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(0.05, [3.26, 2.13, 1.68, 1.27, 1.00, 0.66]), (0.0025, [14.65, 5.94, 3.78, 2.35, 1.64, 0.98])],
)
def test_the_effect_that_is_detected_in_four_of_five(alpha, expected):
    assert minimum_detectable_effect(SEEDS, alpha=alpha).round(2).tolist() == expected


def test_the_margin_at_which_equal_networks_match_in_four_of_five():
    assert non_inferiority_margin(SEEDS).round(2).tolist() == [2.30, 1.65, 1.36, 1.07, 0.85, 0.58]


@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0, 10.0])
@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_power_is_that_of_the_noncentral_t(n, effect):
    critical = stats.t.ppf(0.975, n - 1)
    shift = effect * np.sqrt(n)
    expected = stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift)
    assert power_of_t(effect, n) == pytest.approx(expected, abs=1e-8)
    assert power_of_t(effect, n, alpha=0.025, two_sided=False) == pytest.approx(
        stats.nct.sf(critical, n - 1, shift), abs=1e-8
    )


@pytest.mark.parametrize(("n", "alpha"), [(3, 0.05), (3, 0.0025), (5, 0.0025)])
def test_simulated_seeds_detect_the_effect_in_four_of_five(n, alpha):
    # 20,000 experiments: the standard error of the share is 0.0028; 4 are allowed.
    effect = float(minimum_detectable_effect(n, alpha=alpha))
    differences = np.random.default_rng(0).normal(effect, 1.0, (20_000, n))
    assert (stats.ttest_1samp(differences, 0.0, axis=1).pvalue < alpha).mean() == pytest.approx(0.8, abs=0.0114)


def test_simulated_equal_networks_match_in_four_of_five():
    margin = float(non_inferiority_margin(4))
    differences = np.random.default_rng(0).normal(0.0, 1.0, (20_000, 4))
    p = stats.ttest_1samp(differences, -margin, axis=1, alternative="greater").pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.0114)


def test_one_seed_detects_nothing():
    assert np.isnan(minimum_detectable_effect([0, 1, np.nan])).all()
    assert np.isnan(non_inferiority_margin(1))


def test_counts_and_levels_broadcast():
    table = minimum_detectable_effect([[3], [5]], alpha=[0.05, 0.0025])
    assert table.round(2).tolist() == [[3.26, 14.65], [1.68, 3.78]]
