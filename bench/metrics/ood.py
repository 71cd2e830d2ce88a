"""Out-of-distribution detection by the largest softmax probability."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.evaluation import Conditions, Evaluation
from bench.metrics.outputs import per_example

Reals = npt.NDArray[np.float64]


def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`ood_auroc` and `ood_fpr95` of telling the test set (positive) from the set "out" by confidence.

    Labels of neither set are read. Per example of the test set `confidence`; details: `n_out`. Raises ValueError for no
    examples, for outputs that are not finite, and where no set "out" is given.
    Hendrycks and Gimpel 2017, arXiv:1610.02136.
    """
    if "out" not in conditions.others:
        raise ValueError('ood needs a further set "out": name it in the grid, ood(against=<data set>)')
    inside = per_example(network, conditions.batches(), _measure, pause=conditions.pause)
    outside = per_example(network, conditions.others["out"](), _measure, pause=conditions.pause)["confidence"]
    confidence = inside["confidence"]
    metrics = {"ood_auroc": auroc(confidence, outside), "ood_fpr95": false_positive_rate(confidence, outside, 0.95)}
    return Evaluation(metrics=metrics, examples=inside, details={"n_out": len(outside)})


def auroc(positive: Reals, negative: Reals) -> float:
    """Probability that a positive's score exceeds a negative's, ties counting half, in [0, 1].

    Mann and Whitney 1947 (doi:10.1214/aoms/1177730491).
    """
    n, m = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))[:n]
    return float((ranks.sum() - n * (n + 1) / 2) / (n * m))


def false_positive_rate(positive: Reals, negative: Reals, true_positive_rate: float) -> float:
    """Share of negatives that reach the highest score which at least that share of the positives reaches."""
    wanted = math.ceil(true_positive_rate * len(positive))
    threshold = np.sort(positive)[len(positive) - wanted]
    return float((negative >= threshold).mean())


def _measure(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"confidence": F.softmax(logits, dim=1).amax(dim=1)}
