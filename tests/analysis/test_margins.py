import math

import pandas as pd
import pytest

from analysis.margins import margin, margins


@pytest.mark.parametrize(
    ("metric", "n_examples", "expected"),
    [
        ("accuracy", 10_000, 0.005),
        ("accuracy", 5_000, 0.005),
        ("accuracy", 4_999, 0.01),
        ("accuracy", math.nan, 0.005),
        ("pgd_accuracy(steps=50)", 500, 0.01),
        ("autoattack_accuracy", 1_000, 0.01),
        ("corruption_accuracy", 10_000, 0.01),
        ("ece", 500, 0.01),
        ("brier", 500, 0.005),
        ("ood_auroc(against=svhn)", 500, 0.005),
        ("mean_iou", 10_000, 0.005),
        ("ap", 10_000, 0.005),
        ("mean_iou", 1_449, 0.01),
        ("ap", 4_952, 0.01),
        ("pixel_accuracy", 1_449, 0.01),
        ("accuracy_mask_swap_0.01(draws=5)", 10_000, 0.01),
        ("f1", 10_570, 0.005),
        ("matthews", 1_043, 0.01),
        ("pearson", 1_500, 0.01),
        ("accuracy_weight_noise_0.1", 500, 0.01),
    ],
)
def test_margins_are_in_the_unit_of_the_metric(metric, n_examples, expected):
    assert margin(metric, n_examples=n_examples, dense_mean=0.9) == expected


def test_the_margin_of_a_likelihood_is_two_percent_of_dense():
    assert margin("nll", n_examples=500, dense_mean=1.5) == pytest.approx(0.03)


@pytest.mark.parametrize(("metric", "dense_mean"), [("frechet_distance", 3.0), ("nll", math.nan), ("nll", 0.0)])
def test_without_a_known_margin_there_is_none(metric, dense_mean):
    assert math.isnan(margin(metric, n_examples=500, dense_mean=dense_mean))


def test_a_stated_margin_replaces_the_table_by_name_and_before_that_by_label():
    stated = {"pgd_accuracy": 0.02, "pgd_accuracy(steps=50)": 0.03, "frechet_distance": 1.0}
    found = margins(
        pd.Series(["pgd_accuracy(steps=20)", "pgd_accuracy(steps=50)", "frechet_distance", "accuracy"]),
        pd.Series([500, 500, None, 500], dtype="Int64"),
        pd.Series([0.9] * 4),
        stated,
    )
    assert found.tolist() == [0.02, 0.03, 1.0, 0.01]


@pytest.mark.parametrize("value", [0.0, -0.01, math.nan, math.inf])
def test_a_stated_margin_is_a_positive_number(value):
    with pytest.raises(ValueError, match=r'margin of "ece" is .*: state a positive number'):
        margin("ece", n_examples=500, dense_mean=0.1, stated={"ece": value})


def test_no_metrics_have_no_margins():
    empty = pd.Series([], dtype="float64")
    assert margins(pd.Series([], dtype="str"), empty, empty).empty
