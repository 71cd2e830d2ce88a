import pandas as pd
import pytest

from analysis.tasks import are_first_scores, first_score, in_order


@pytest.mark.parametrize(
    ("dataset", "score"),
    [
        ("cifar10", "accuracy"),
        ("voc2012", "mean_iou"),
        ("voc2007", "ap"),
        ("mrpc", "accuracy"),
        ("stsb", "pearson"),
        ("toy(of=stsb)", "pearson"),
        ("cola", "matthews"),
        ("squad", "f1"),
        ("mlm", "accuracy"),
        ("toy", ""),
        ("theirs", ""),
    ],
)
def test_what_a_data_set_is_judged_by_first(dataset, score):
    assert first_score(dataset) == score


def test_the_metric_without_options_comes_first_and_of_unknown_sets_the_foremost():
    pairs = [
        ("mnli", "accuracy(split=mismatched)", False),
        ("mnli", "accuracy", True),
        ("qqp", "f1", False),
        ("qqp", "accuracy", True),
        ("cola", "accuracy(examples=9)", True),
        ("theirs", "nll", False),
        ("theirs", "mean_iou", True),
    ]
    table = pd.DataFrame(pairs, columns=["dataset", "metric", "first"])
    # Cola is judged by its correlation; where only its accuracy is there, that is what there is.
    assert are_first_scores(table).tolist() == table["first"].tolist()
    assert are_first_scores(table[:0]).tolist() == []


def test_sets_stand_in_the_order_of_the_catalog_and_stand_ins_in_their_place():
    assert in_order(["theirs", "mlm", "squad", "toy(of=qqp)", "cola", "mnli", "cifar10", "mnli"]) == [
        "cifar10", "mnli", "toy(of=qqp)", "cola", "squad", "mlm", "theirs",
    ]  # fmt: skip
