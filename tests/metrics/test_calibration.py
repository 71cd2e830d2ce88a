"""Calibration by hand and against scikit-learn and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor, nn

from bench.data.records import Batch
from bench.metrics import calibration
from bench.metrics.evaluation import Conditions


class Table(nn.Module):
    """Logits written into the image."""

    def forward(self, images):
        return images[:, 0, 0]


def evaluate(logits: Tensor, labels: Tensor):
    images = logits[:, None, None].expand(-1, 3, 1, -1)
    parts = torch.arange(len(labels)).split(100)
    return calibration.evaluate(Table(), Conditions(batches=lambda: [Batch(images[i], labels[i], i) for i in parts]))


def drawn(seed, scale):
    """600 logits of 7 classes, half of the labels as predicted."""
    draw = np.random.default_rng(seed)
    logits = torch.from_numpy(draw.normal(size=(600, 7)) * scale)
    labels = torch.from_numpy(draw.integers(0, 7, 600))
    return logits, torch.where(torch.from_numpy(draw.random(600) < 0.5), logits.argmax(dim=1), labels)


def test_ece_nll_and_brier_by_hand():
    # Probabilities (3/4, 1/4) twice, once right, and (9/10, 1/10), right.
    odds = torch.tensor([[3.0, 1.0], [3.0, 1.0], [9.0, 1.0]], dtype=torch.float64)
    found = evaluate(odds.log(), torch.tensor([0, 1, 0]))
    # Bin (11/15, 12/15] holds two of confidence 0.75 and accuracy 0.5, bin (13/15, 14/15] one of 0.9 and 1.
    assert found.metrics["ece"] == pytest.approx((2 * 0.25 + 0.1) / 3)
    assert found.metrics["nll"] == pytest.approx(-(math.log(0.75) + math.log(0.25) + math.log(0.9)) / 3)
    assert found.metrics["brier"] == pytest.approx((2 * 0.25**2 + 2 * 0.75**2 + 2 * 0.1**2) / 3)
    assert found.examples["correct"].tolist() == [True, False, True]
    assert found.examples["confidence"].tolist() == pytest.approx([0.75, 0.75, 0.9])
    rows = [row for row in found.details["reliability"] if row["n"]]
    assert [row["n"] for row in rows] == [2, 1]
    assert [row["confidence"] for row in rows] == pytest.approx([0.75, 0.9])
    assert [row["accuracy"] for row in rows] == [0.5, 1.0]


def test_a_bin_holds_its_upper_edge_and_full_confidence_lies_in_the_last():
    table = calibration.reliability(np.array([0.2, 0.2000001, 1.0]), np.array([True, False, True]), bins=5)
    assert [row["n"] for row in table] == [1, 1, 0, 0, 1]
    assert [row["accuracy"] for row in table] == [1.0, 0.0, None, None, 1.0]
    assert [row["to"] for row in table] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


# torchmetrics 1.9.0 run beside: multiclass_calibration_error(probabilities, labels, 7, n_bins=15), norm l1.
@pytest.mark.parametrize(
    ("seed", "scale", "ece"), [(0, 1, 0.20502793788), (1, 2, 0.15477836132), (2, 4, 0.23956158757)]
)
def test_ece_is_torchmetrics(seed, scale, ece):
    assert evaluate(*drawn(seed, scale)).metrics["ece"] == pytest.approx(ece, abs=1e-7)  # theirs is in single precision


@pytest.mark.parametrize("seed", [0, 1])
def test_nll_and_brier_are_scikit_learns(seed):
    logits, labels = drawn(seed, 3.0)
    found = evaluate(logits, labels).metrics
    probabilities = torch.softmax(logits.float().double(), dim=1).numpy()
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(7)), rel=1e-6)
    expected = brier_score_loss(labels, probabilities, labels=range(7), scale_by_half=False)
    assert found["brier"] == pytest.approx(expected, rel=1e-6)


def test_confident_likelihoods_do_not_overflow():
    found = evaluate(torch.tensor([[1000.0, 0.0]]), torch.tensor([1])).metrics
    assert found == {"ece": 1.0, "nll": 1000.0, "brier": 2.0}
