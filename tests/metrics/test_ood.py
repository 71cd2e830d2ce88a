"""Out-of-distribution detection by hand and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn

from bench.data.records import Batch
from bench.metrics import ood
from bench.metrics.evaluation import Conditions


class Table(nn.Module):
    """Logits written into the image."""

    def forward(self, images):
        return images[:, 0, 0]


def batches(probabilities):
    """Images of two classes whose network gives the first these probabilities."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    images = torch.stack([p.log(), (1 - p).log()], dim=1)[:, None, None].expand(-1, 3, 1, 2)
    return lambda: [Batch(images[i], torch.zeros(len(i)), i) for i in torch.arange(len(p)).split(3)]


def test_auroc_and_fpr95_by_hand():
    others = {"out": batches([0.6, 0.75, 0.95])}
    found = ood.evaluate(Table(), Conditions(batches=batches([0.9, 0.2, 0.7]), others=others))
    # Confidences 0.9, 0.8, 0.7 against 0.6, 0.75, 0.95: the in-distribution one is higher in 2 + 2 + 1 of 9 pairs.
    assert found.metrics["ood_auroc"] == pytest.approx(5 / 9)
    assert found.metrics["ood_fpr95"] == pytest.approx(2 / 3)  # to keep all three, the threshold is 0.7
    assert found.examples["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert found.details == {"n_out": 3}


def test_equal_scores_count_half():
    assert ood.auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0, 1.0])) == 0.5
    assert ood.auroc(np.array([2.0, 1.0]), np.array([1.0])) == 0.75


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [5, 10**9], ids=["ties", "no ties"])
def test_both_are_scikit_learns(seed, levels):
    draw = np.random.default_rng(seed)
    positive = np.round(draw.beta(4, 2, 211) * levels) / levels
    negative = np.round(draw.beta(2, 2, 97) * levels) / levels
    labels, scores = np.r_[np.ones(211), np.zeros(97)], np.r_[positive, negative]
    assert ood.auroc(positive, negative) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert ood.false_positive_rate(positive, negative, 0.95) == pytest.approx(false[true >= 0.95][0], abs=1e-12)


def test_without_an_out_set_the_grid_is_told_what_to_name():
    with pytest.raises(ValueError, match=r"ood\(against=<data set>\)"):
        ood.evaluate(Table(), Conditions(batches=batches([0.5])))
