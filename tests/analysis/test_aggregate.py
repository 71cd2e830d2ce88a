import math

import numpy as np
import pandas as pd
import pytest

from analysis.aggregate import AGGREGATES_COLUMNS, PROFILES_COLUMNS, TAUS, aggregates, relative
from analysis.frame import frame


def rows(row, values, pruner="omp", sparsity=0.9, **axes):
    return [row(pruner, sparsity, seed, value, **axes) for seed, value in enumerate(values)]


@pytest.fixture
def two_datasets(row):
    """Ten classes each: chance 0.1. Relative scores of omp: 0.5, 0.5 on digits, 0.75, 1.0 on svhn."""
    return [
        *rows(row, [0.9, 0.9], "dense", 0.0),
        *rows(row, [0.5, 0.5]),
        *rows(row, [0.4, 0.6], "dense", 0.0, dataset="svhn"),
        *rows(row, [0.4, 0.5], dataset="svhn"),
    ]


def table_of(found):
    return frame(found, grid="toy")


def test_scores_are_relative_to_dense_above_chance(two_datasets):
    table = table_of(two_datasets)
    scores = table.assign(**relative(table)).query("pruner == 'omp'").sort_values(["dataset", "seed"])["score"]
    assert scores.tolist() == pytest.approx([0.5, 0.5, 0.75, 1.0])


def test_aggregates_are_over_the_data_sets(two_datasets):
    found, _ = aggregates(table_of(two_datasets))
    ticket = found[found["sparsity"] == 0.9].iloc[0]
    assert ticket["method"] == "omp"
    assert [ticket["n_tasks"], ticket["n_runs"]] == [2, 4]
    # Runs 0.5, 0.5, 0.75, 1: the middle two; task means 0.5 and 0.875.
    assert [ticket["iqm"], ticket["mean"], ticket["median"], ticket["worst_quartile"]] == pytest.approx(
        [0.625, 0.6875, 0.6875, 0.5]
    )
    assert ticket["mean_low"] < ticket["mean"] < ticket["mean_high"]
    assert ticket["note"] == ""


def test_dense_networks_score_one(two_datasets):
    found, _ = aggregates(table_of(two_datasets))
    assert found.loc[found["method"] == "dense", "mean"].tolist() == pytest.approx([1.0])


def test_profiles_are_shares_of_all_runs(two_datasets):
    _, profiles = aggregates(table_of(two_datasets))
    shares = profiles[profiles["method"] == "omp"].set_index("tau")["share"]
    assert len(shares) == len(TAUS)
    assert [shares[0.0], shares[0.45], shares[0.7], shares[0.8], shares[1.0]] == [1.0, 1.0, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("metric", "higher", "dense", "value", "score"),
    [
        ("pgd_accuracy(steps=50)", True, 0.5, 0.25, 0.5),
        ("nll", False, 0.5, 1.0, 0.5),
        ("mean_iou", True, 0.5, 0.4, 0.8),
        ("pixel_accuracy", True, 0.5, 0.4, 0.8),
        ("ap", True, 0.5, 0.4, 0.8),
        ("corruption_accuracy", True, 0.5, 0.3, 0.5),
    ],
)
def test_other_metrics_are_ratios_to_dense(row, metric, higher, dense, value, score):
    axes = {"metric": metric, "higher_is_better": higher}
    table = table_of([*rows(row, [dense], "dense", 0.0, **axes), *rows(row, [value], **axes)])
    assert table.assign(**relative(table)).set_index("pruner").loc["omp", "score"] == pytest.approx(score)


@pytest.mark.parametrize(
    ("dataset", "chance"),
    [
        ("toy(of=cifar100)", 0.01),
        ("folder(name=birds, classes=4)", 0.25),
        ("digits", 0.1),
        ("rte", 0.5),
        ("toy(of=mnli)", 1 / 3),
        # Nobody guesses among the classes of masked words: their accuracy is relative to nothing.
        ("mlm", 0.0),
    ],
)
def test_chance_is_that_of_the_classes(row, dataset, chance):
    table = table_of([*rows(row, [0.5 + chance], "dense", 0.0, dataset=dataset), *rows(row, [chance], dataset=dataset)])
    assert relative(table)["score"].min() == pytest.approx(0, abs=1e-12)


def test_a_perturbed_network_guesses_like_any_other(row):
    axes = {"metric": "accuracy_mask_swap_0.01"}
    table = table_of([*rows(row, [0.5], "dense", 0.0, **axes), *rows(row, [0.1], **axes)])
    assert relative(table)["score"].min() == pytest.approx(0, abs=1e-12)


def test_what_is_missing_is_said(row, two_datasets):
    unknown = [*rows(row, [0.9, 0.9], "dense", 0.0, dataset="mystery"), *rows(row, [0.5, 0.5], dataset="mystery")]
    lost = [
        *rows(row, [0.9], "dense", 0.0, dataset="pcam"),
        row("dense", 0.0, 1, dataset="pcam", status="failed"),
        *rows(row, [0.7, 0.7], dataset="pcam"),
    ]
    gone = [
        *rows(row, [0.9, 0.8], "dense", 0.0, dataset="stl10"),
        row(seed=0, value=0.5, dataset="stl10"),
        row(seed=1, dataset="stl10", status="missing"),
    ]
    found, _ = aggregates(table_of([*two_datasets, *unknown, *lost, *gone]))
    ticket = found[found["sparsity"] == 0.9].iloc[0]
    assert [ticket["n_tasks"], ticket["n_runs"]] == [3, 5]
    assert (
        ticket["note"]
        == "5 of 10 runs have no score; no complete dense network on pcam; the number of classes is not known of mystery"
    )


def test_one_data_set_and_one_seed_give_no_interval(row):
    found, profiles = aggregates(table_of([*rows(row, [0.9], "dense", 0.0), *rows(row, [0.5])]))
    ticket = found[found["sparsity"] == 0.9].iloc[0]
    assert ticket["iqm"] == pytest.approx(0.5)
    assert math.isnan(ticket["iqm_low"])
    assert (
        ticket["note"] == "one data set: all aggregates are about it; no interval: no data set has two runs that differ"
    )
    assert profiles["low"].isna().all()


def test_a_dense_network_at_chance_has_no_ratio(row):
    found, _ = aggregates(table_of([*rows(row, [0.1, 0.1], "dense", 0.0), *rows(row, [0.2, 0.3])]))
    assert found["n_tasks"].tolist() == [0, 0]
    assert found["iqm"].isna().all()
    assert found["note"].str.contains("a value of 0 or below chance has no ratio on digits").all()


def test_pretraining_seeds_are_averaged_before_runs_are_counted(row):
    found = [*rows(row, [0.9, 0.9], "dense", 0.0), *rows(row, [0.5, 0.7])]
    again = [*rows(row, [0.9, 0.9], "dense", 0.0, pretraining_seed=1), *rows(row, [0.3, 0.5], pretraining_seed=1)]
    ticket = aggregates(table_of(found + again))[0].iloc[-1]
    assert ticket["n_runs"] == 2
    # (0.4 + 0.2) / 1.6 and (0.6 + 0.4) / 1.6.
    assert ticket["mean"] == pytest.approx(0.5)


def test_order_of_rows_does_not_matter(two_datasets):
    table = table_of(two_datasets)
    for ours, shuffled in zip(aggregates(table), aggregates(table.sample(frac=1, random_state=1)), strict=True):
        pd.testing.assert_frame_equal(ours, shuffled)


def test_nothing_gives_empty_tables_with_their_columns(two_datasets):
    for columns, source in ((True, table_of(two_datasets)), (False, table_of(two_datasets)[:0])):
        found, profiles = aggregates(source)
        assert list(found) == list(AGGREGATES_COLUMNS)
        assert list(profiles) == list(PROFILES_COLUMNS)
        assert bool(len(found)) is columns


def test_nothing_done_is_a_blank_row_and_no_profile(row):
    found, profiles = aggregates(table_of([row(seed=seed, status="missing") for seed in (0, 1)]))
    assert found["n_runs"].tolist() == [0]
    assert np.isnan(found["mean"].iloc[0])
    assert found["note"].str.startswith("2 of 2 runs have no score").all()
    assert profiles.empty


def test_fewer_seeds_planned_are_not_missing(row, two_datasets):
    third = [row("dense", 0.0, 2, 0.9), row("omp", 0.9, 2, 0.5)]
    ticket = aggregates(table_of([*two_datasets, *third]))[0].iloc[-1]
    assert [ticket["method"], ticket["n_runs"], ticket["note"]] == ["omp", 5, ""]
