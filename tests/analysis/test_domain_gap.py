import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from analysis.domain_gap import GAP_POINTS_COLUMNS, GAP_REGRESSION_COLUMNS, gap_points, gap_regression
from analysis.frame import frame

GAPS = {"digit_glyphs": 1.0, "digits": 2.0, "digits_inverted": 4.0, "digits_noisy": 7.0}
METRIC = "frechet_distance(features=supervised)"


def gap_rows(row, gaps=GAPS):
    return [
        row(
            "dense",
            0.0,
            0,
            gap,
            dataset=dataset,
            pretraining=pretraining,
            metric=METRIC,
            higher_is_better=False,
            selection="",
        )
        for dataset, gap in gaps.items()
        for pretraining in ("supervised", "pgd_adversarial")
    ]


def accuracies(row, gains, *, pruner="omp", sparsity=0.9, noise=(-0.01, 0.0, 0.01), **axes):
    """Natural 0.5 for every seed; robust 0.5 + gain + noise."""
    return [
        row(pruner, sparsity, seed, value, dataset=dataset, pretraining=pretraining, **axes)
        for dataset, gain in gains.items()
        for seed, spread in enumerate(noise)
        for pretraining, value in (("supervised", 0.5), ("pgd_adversarial", 0.5 + gain + spread))
    ]


@pytest.fixture
def table(row):
    found = [*gap_rows(row), *accuracies(row, dict(zip(GAPS, (0.0, 0.1, 0.1, 0.3), strict=True)))]
    dense = accuracies(row, dict.fromkeys(GAPS, 0.02), pruner="dense", sparsity=0.0)
    return frame(found + dense, grid="toy")


def test_a_point_is_the_mean_gain_of_a_data_set_with_a_t_interval(table):
    points = gap_points(table).query("pruner == 'omp' and sparsity == 0.9").set_index("dataset")
    assert points["gap"].to_dict() == GAPS
    assert points["gain"].tolist() == pytest.approx([0.0, 0.1, 0.1, 0.3])
    # t(0.975, 2) * 0.01 / sqrt(3) = 4.303 * 0.005774.
    assert (points["gain_high"] - points["gain"]).tolist() == pytest.approx([0.024841] * 4, abs=1e-6)
    assert points["n"].tolist() == [3] * 4
    assert set(points["natural"] + " " + points["robust"]) == {"supervised pgd_adversarial"}


def test_the_line_has_one_observation_per_data_set(table):
    fit = gap_regression(gap_points(table)).query("pruner == 'omp' and sparsity == 0.9").iloc[0]
    expected = sm.OLS([0.0, 0.1, 0.1, 0.3], sm.add_constant(list(GAPS.values()))).fit()
    assert fit["n_datasets"] == 4
    assert [fit["intercept"], fit["slope"]] == pytest.approx(expected.params, abs=1e-8)
    assert [fit["slope_low"], fit["slope_high"], fit["p"]] == pytest.approx(
        [*expected.conf_int()[1], expected.pvalues[1]], abs=1e-8
    )
    assert fit["note"] == ""


def test_rows_are_by_pruner_and_sparsity_by_pruner_and_over_all_tickets(row, table):
    more = frame(accuracies(row, dict.fromkeys(GAPS, 0.2), pruner="imp", sparsity=0.5), grid="toy")
    fits = gap_regression(gap_points(pd.concat([table, more])))
    assert [(pruner, sparsity) for pruner, sparsity in fits[["pruner", "sparsity"]].fillna(-1).itertuples(index=False)] == [
        ("", -1), ("dense", 0.0), ("imp", 0.5), ("imp", -1), ("omp", 0.9), ("omp", -1),
    ]  # fmt: skip
    pooled = gap_points(pd.concat([table, more])).query("pruner == ''").set_index("dataset")
    # Mean of omp's gain and imp's 0.2; dense networks are no tickets.
    assert pooled["gain"].tolist() == pytest.approx([0.1, 0.15, 0.15, 0.25])
    assert pooled["n"].tolist() == [3] * 4


def test_a_seed_without_one_of_its_cells_does_not_count(row, table):
    more = accuracies(row, dict.fromkeys(GAPS, 0.2), pruner="imp", sparsity=0.5)
    lost = [result for result in more if (str(result.cell.dataset), result.cell.seed) != ("digits", 2)]
    for pretraining in ("supervised", "pgd_adversarial"):
        lost.append(row("imp", 0.5, 2, status="failed", dataset="digits", pretraining=pretraining))
    points = gap_points(pd.concat([table, frame(lost, grid="toy")])).query("pruner == ''").set_index("dataset")
    assert points["n"].tolist() == [3, 2, 3, 3]
    # Seeds 0 and 1 of digits: noise -0.01 and 0 for both pruners.
    assert points.loc["digits", "gain"] == pytest.approx(0.145)
    assert points.loc["digits", "note"] == "a seed lacks a value at one of the levels"


def test_a_data_set_without_a_gap_stays_and_is_named(row):
    gaps = {name: gap for name, gap in GAPS.items() if name != "digits"}
    points = gap_points(
        frame([*gap_rows(row, gaps), *accuracies(row, dict.fromkeys(GAPS, 0.1), noise=(0.0, 0.1))], grid="toy")
    )
    assert points.loc[points["dataset"] == "digits", "note"].unique().tolist() == ["the gap is not measured"]
    fits = gap_regression(points)
    assert fits["note"].str.startswith("without digits: gap or gain is not known").all()
    assert (fits["n_datasets"] == 3).all()


def test_two_data_sets_make_no_line(row):
    two = {"digits": 1.0, "digits_noisy": 5.0}
    fit = gap_regression(
        gap_points(frame([*gap_rows(row, two), *accuracies(row, dict.fromkeys(two, 0.1))], grid="toy"))
    ).iloc[0]
    assert math.isnan(fit["slope"])
    assert math.isnan(fit["p_spearman"])
    assert fit["note"] == "2 data sets: a line with an interval needs 3"


def test_equal_gains_make_no_line(row):
    found = gap_points(
        frame([*gap_rows(row), *accuracies(row, dict.fromkeys(GAPS, 0.25), noise=(0.0, 0.0))], grid="toy")
    )
    assert found["gain_low"].isna().all()
    assert set(found["note"]) == {"no interval: fewer than two seeds, or the same gain for all"}
    fit = gap_regression(found).iloc[0]
    assert math.isnan(fit["slope"])
    assert fit["note"] == "the gain is the same for all data sets"


def test_random_weights_are_no_robust_pretraining(row, table):
    random = [row(seed=seed, value=0.3, dataset=dataset, pretraining="random") for dataset in GAPS for seed in range(3)]
    points = gap_points(pd.concat([table, frame(random, grid="toy")]))
    assert set(points["robust"]) == {"pgd_adversarial"}
    assert set(points["metric"]) == {"accuracy"}


def test_weights_trained_without_labels_are_no_robust_pretraining(row, table):
    others = [
        row(seed=seed, value=0.7, dataset=dataset, pretraining=pretraining)
        for dataset in GAPS
        for seed in range(3)
        for pretraining in ("simclr", "checkpoint(path=m.pth, method=moco)")
    ]
    points = gap_points(pd.concat([table, frame(others, grid="toy")]))
    assert set(points["robust"]) == {"pgd_adversarial"}


def test_without_gaps_both_tables_are_empty_with_their_columns(row):
    points = gap_points(frame(accuracies(row, GAPS), grid="toy"))
    assert (list(points), len(points)) == (list(GAP_POINTS_COLUMNS), 0)
    fits = gap_regression(points)
    assert (list(fits), len(fits)) == (list(GAP_REGRESSION_COLUMNS), 0)


def test_order_of_rows_does_not_matter(table):
    shuffled = gap_points(table.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(gap_points(table), shuffled)
    pd.testing.assert_frame_equal(
        gap_regression(gap_points(table)), gap_regression(shuffled.sample(frac=1, random_state=0))
    )


def test_a_gap_is_averaged_over_pretraining_seeds_only_when_all_are_there(row):
    again = [row("dense", 0.0, 0, 3.0, metric=METRIC, higher_is_better=False, selection="", pretraining_seed=1)]
    gone = [
        row("dense", 0.0, 0, metric=METRIC, higher_is_better=False, selection="", pretraining_seed=2, status="missing")
    ]
    cells = [*gap_rows(row, {"digits": 1.0}), *again, *accuracies(row, {"digits": 0.1})]
    assert gap_points(frame(cells, grid="toy"))["gap"].unique().tolist() == [2.0]
    assert np.isnan(gap_points(frame(cells + gone, grid="toy"))["gap"]).all()
