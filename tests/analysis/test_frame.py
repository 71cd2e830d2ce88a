import math

import pandas as pd
import pytest

from analysis.frame import COLUMNS, frame, missing
from bench.spec import AXES


def test_every_planned_result_has_a_row_and_every_axis_a_column(small_grid):
    table = frame(small_grid, grid="toy")
    assert list(table.columns) == list(COLUMNS)
    assert set(AXES) < set(COLUMNS)
    assert len(table) == 12
    assert set(table["grid"]) == {"toy"}
    assert table["status"].value_counts().to_dict() == {"done": 10, "failed": 1, "missing": 1}


def test_order_does_not_depend_on_the_order_read(small_grid):
    pd.testing.assert_frame_equal(frame(small_grid, grid="toy"), frame(small_grid[::-1], grid="toy"))


def test_words_are_their_labels(row):
    table = frame([row("imp(on=downstream)", value=0.5, pretraining="pgd_adversarial(epsilon=4)")], grid="toy")
    assert table.loc[0, ["pruner", "pretraining"]].to_list() == ["imp(on=downstream)", "pgd_adversarial(epsilon=4)"]


def test_missing_names_each_absent_result_and_its_reason(small_grid):
    absent = missing(frame(small_grid, grid="toy"))
    assert absent[["pruner", "sparsity", "seed", "status", "reason"]].to_numpy().tolist() == [
        ["omp", 0.9, 1, "failed", "transfer 12ab failed: out of memory (log: x.log)"],
        ["omp", 0.9, 2, "missing", "not run"],
    ]


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_finished_evaluation_without_a_finite_value_is_corrupt_and_listed(row, value):
    table = frame([row(value=value)], grid="toy")
    assert table["status"].tolist() == ["corrupt"]
    assert math.isnan(table.loc[0, "value"])
    assert missing(table)["reason"].tolist() == ["the evaluation has no finite value of accuracy"]


def test_a_value_that_is_not_done_is_not_a_result(row):
    assert math.isnan(frame([row(value=0.7, status="corrupt", reason="truncated")], grid="toy").loc[0, "value"])


def test_two_results_of_one_cell_and_metric_are_refused(row):
    with pytest.raises(ValueError, match=r"two results of one cell, metric and selection .*pruner omp.*seed 3"):
        frame([row(seed=3, value=0.5), row(seed=3, value=0.6)], grid="toy")


def test_a_metric_with_two_directions_is_refused(row):
    rows = [row(seed=0, value=0.5, metric="nll"), row(seed=1, value=0.5, metric="nll", higher_is_better=False)]
    with pytest.raises(ValueError, match="metric nll is said to be better when higher and when lower"):
        frame(rows, grid="toy")


def test_counts_stay_whole_numbers_where_some_are_missing(small_grid):
    table = frame(small_grid, grid="toy")
    for name in ("round", "kept", "prunable", "n_examples"):
        assert str(table[name].dtype) == "Int64"
