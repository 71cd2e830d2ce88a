"""Numbers as sentences write them."""

import math

import pytest

from analysis import wording


def test_accuracies_are_percent_with_one_decimal_and_other_metrics_stay_in_their_unit():
    assert wording.value("accuracy", 0.98333) == "98.3 %"
    assert wording.value("pgd_accuracy(steps=50)", 0.5) == "50.0 %"
    assert wording.value("nll", 0.12345) == "0.1235"
    assert wording.difference("accuracy", -0.0125) == "-1.2 points"
    assert wording.difference("ece", 0.0125) == "+0.0125"
    assert wording.interval("accuracy", -0.031, 0.004) == "[-3.1, +0.4]"
    assert wording.interval("nll", math.nan, 0.1) == "no interval"


def test_segmentation_detection_and_perturbed_accuracies_are_percent_too():
    for metric in ("mean_iou", "ap", "ap50", "coco_ap", "pixel_accuracy", "accuracy_mask_swap_0.01(draws=5)"):
        assert wording.value(metric, 0.701) == "70.1 %"
        assert wording.difference(metric, 0.005) == "+0.5 points"
        assert wording.interval(metric, -0.01, 0.01) == "[-1.0, +1.0]"
    # Pixels are no examples.
    assert [wording.is_accuracy(name) for name in ("accuracy", "pgd_accuracy(steps=5)", "pixel_accuracy")] == [
        True,
        True,
        False,
    ]


def test_sentences_are_about_the_metric_of_every_task_and_not_of_second_views():
    metrics = ["ap50", "ap", "accuracy_mask_swap_0.01", "mean_iou", "pixel_accuracy", "accuracy", "ece"]
    assert wording.foremost(metrics, 2) == ["accuracy", "ap", "mean_iou"]
    assert wording.foremost(["ece", "accuracy", "pgd_accuracy"], 2) == ["accuracy", "pgd_accuracy"]
    assert [name for name in metrics if wording.is_secondary(name)] == [
        "ap50",
        "accuracy_mask_swap_0.01",
        "pixel_accuracy",
    ]


def test_texts_have_first_scores_of_several_kinds():
    metrics = [
        "spearman",
        "pearson",
        "f1",
        "exact_match",
        "accuracy(split=mismatched)",
        "matthews",
        "perplexity",
        "accuracy",
    ]
    assert wording.foremost(metrics, 2) == ["accuracy", "f1", "matthews", "pearson"]
    assert [wording.value(metric, 0.5) for metric in ("f1", "exact_match", "matthews")] == ["50.0 %", "50.0 %", "0.5"]


def test_very_sparse_levels_keep_two_decimals():
    assert [wording.sparsity(share) for share in (0.0, 0.59, 0.8926258, 0.99, 0.99564, 1.0)] == [
        "0.0 %",
        "59.0 %",
        "89.3 %",
        "99.00 %",
        "99.56 %",
        "100.0 %",
    ]


def test_small_p_are_bounds():
    assert [wording.probability(p) for p in (0.0004, 0.0123, 0.25, math.nan)] == [
        "p < 0.001",
        "p = 0.012",
        "p = 0.25",
        "p not known",
    ]


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "ticket", "1 ticket"),
        (0, "ticket", "0 tickets"),
        (2, "entry", "2 entries"),
        (1200, "seed", "1,200 seeds"),
        (2, "planned result", "2 planned results"),
    ],
)
def test_plurals(number, noun, said):
    assert wording.count(number, noun) == said


def test_lists_have_one_and():
    assert [wording.listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_metrics_of_the_task_come_first():
    found = wording.primary_first(["ece", "pgd_accuracy", "accuracy", "brier", "accuracy"])
    assert found == ["accuracy", "pgd_accuracy", "brier", "ece"]


def test_what_is_inconclusive_says_what_the_interval_holds():
    both = wording.unsettled("accuracy", -0.022, 0.009, 0.01, higher_is_better=True)
    assert both == "inconclusive: the interval [-2.2, +0.9] points holds both a loss of the margin and none"
    losses = wording.unsettled("accuracy", -0.022, -0.002, 0.01, higher_is_better=True)
    assert losses == "inconclusive: the interval [-2.2, -0.2] points holds both a loss of the margin and a smaller one"
    # Lower is better: a positive difference is a loss.
    assert wording.unsettled("nll", -0.1, 0.2, 0.05, higher_is_better=False).endswith("and none")
    assert wording.unsettled("nll", 0.01, 0.2, 0.05, higher_is_better=False).endswith("and a smaller one")
