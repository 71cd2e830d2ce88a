"""Numbers of sentence tasks: hand-computed fractions, degenerate cases, and whatever the batches."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import catalog
from bench.metrics import glue
from bench.metrics.evaluation import Conditions


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Written(nn.Module):
    """Logits are what the first tokens say, in tenths; drops half of them while it is trained."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.dropout(inputs[:, 0, : self.outputs] / 10)


def evaluate(logits, labels, *, order=None, sizes=None, network=None):
    """Logits (n, k) are written into texts of k tokens."""
    tokens = (torch.tensor(logits) * 10).round().long()
    inputs, labels = torch.stack([tokens, torch.zeros_like(tokens)], dim=1), torch.tensor(labels)
    positions = torch.arange(len(labels)) if order is None else torch.tensor(order)
    parts = [Batch(inputs[part], labels[part], part) for part in positions.split(sizes or len(labels))]
    return glue.evaluate(network or Written(tokens.shape[1]), Conditions(batches=lambda: parts))


def of_classes(predicted, labels, classes=2, **options):
    return evaluate([[float(k == p) for k in range(classes)] for p in predicted], labels, **options)


def test_two_classes_by_hand():
    # 3 true and 1 false positives, 2 false and 2 true negatives.
    found = of_classes([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0])
    assert found.metrics == {
        "accuracy": 5 / 8,
        "f1": pytest.approx(2 * 3 / (2 * 3 + 1 + 2)),
        "matthews": pytest.approx((3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4)),
    }
    assert found.examples["correct"].tolist() == [True, True, True, False, False, False, True, True]
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    assert found.examples["nll"].tolist() == pytest.approx([right] * 3 + [wrong] * 3 + [right] * 2)


def test_three_classes_have_an_accuracy_alone():
    found = of_classes([0, 1, 2, 2], [0, 1, 1, 2], classes=3)
    assert found.metrics == {"accuracy": 3 / 4}
    assert set(found.examples) == {"correct", "nll"}


@pytest.mark.parametrize(
    ("predicted", "labels", "f1"),
    [([1, 1, 1, 1], [1, 1, 0, 1], 6 / 7), ([0, 0, 0, 0], [1, 0, 0, 0], 0.0), ([0, 0], [0, 0], 0.0), ([1, 1], [1, 1], 1.0)],
)  # fmt: skip
def test_constant_predictions_have_a_matthews_correlation_of_zero(predicted, labels, f1):
    found = of_classes(predicted, labels)
    assert found.metrics["matthews"] == 0
    assert found.metrics["f1"] == pytest.approx(f1)
    assert found.flags == ()


def test_scores_by_hand():
    # Means 2.5 and 2.5; covariance 1.25 + 0.25 - 0.25 + 1.5 * 1.5 over squares of 5 each. Ranks are the values.
    found = evaluate([[1.0], [3.0], [2.0], [4.0]], [1.0, 2.0, 3.0, 4.0])
    assert found.metrics == {"pearson": pytest.approx(4 / 5), "spearman": pytest.approx(4 / 5)}
    assert found.examples["predicted"].tolist() == pytest.approx([1, 3, 2, 4])
    assert found.examples["squared_error"].tolist() == pytest.approx([0, 1, 1, 0])
    # Cubes: in order, but on no line. Deviations -1, 0, 1 and -12, -5, 17... of 1, 8, 27 from 12.
    cubes = evaluate([[1.0], [8.0], [27.0]], [1.0, 2.0, 3.0])
    assert cubes.metrics["pearson"] == pytest.approx((11 + 15) / math.sqrt(2 * (11**2 + 4**2 + 15**2)))
    assert cubes.metrics["spearman"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("predicted", "truth", "what"),
    [([[2.0], [2.0], [2.0]], [1.0, 2.0, 3.0], "predictions"), ([[1.0], [2.0]], [3.0, 3.0], "true scores")],
)
def test_undefined_correlations_are_zero_and_flagged(predicted, truth, what):
    found = evaluate(predicted, truth)
    assert found.metrics == {"pearson": 0.0, "spearman": 0.0}
    assert found.flags == (f"the {what} are all the same: the correlations are undefined and given as 0",)


@pytest.mark.parametrize("kind", ["classes", "scores"])
def test_neither_batches_nor_their_order_matter_and_the_network_is_left_as_it_was(kind):
    draw = np.random.default_rng(0)
    logits = draw.integers(0, 50, (7, 2 if kind == "classes" else 1)) / 10
    labels = [0, 1, 1, 0, 1, 0, 1] if kind == "classes" else [0.0, 5.0, 2.5, 2.5, 1.0, 4.0, 3.0]
    network = Written(logits.shape[1]).train()
    one = evaluate(logits.tolist(), labels, network=network)
    many = evaluate(logits.tolist(), labels, order=[6, 2, 0, 5, 1, 3, 4], sizes=[1, 4, 2], network=network)
    assert one.metrics == many.metrics
    assert all(values.tolist() == many.examples[name].tolist() for name, values in one.examples.items())
    assert network.training
    assert network.dropout.training
    assert set(one.metrics) < set(catalog.METRICS["glue"].reports)


def test_no_examples_and_infinite_outputs_are_refused():
    with pytest.raises(ValueError, match="no examples"):
        glue.evaluate(Written(2), Conditions(batches=list))

    class Diverged(nn.Module):
        def forward(self, inputs):
            return torch.full((len(inputs), 2), math.nan)

    with pytest.raises(ValueError, match="not finite"):
        of_classes([0, 1], [0, 1], network=Diverged())
