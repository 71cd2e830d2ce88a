"""Calibration: does a network's confidence say how often it is right?"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.evaluation import Conditions, Evaluation
from bench.metrics.outputs import correct, per_example

BINS = 15


def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`ece` in [0, 1], `nll` in nats and `brier` in [0, 2], all means over examples.

    Per example `correct`, `confidence` (the largest softmax probability), `nll` and `brier` (squared distance of the
    probabilities from the label's corner). Details: `reliability`, the table behind `ece`. The ECE of a perfectly
    calibrated network is above 0 and falls with n: compare at equal n only. Raises ValueError for no examples and
    for outputs that are not finite. Brier 1950 (doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).
    """
    examples = per_example(network, conditions.batches(), _measure, pause=conditions.pause)
    table = reliability(examples["confidence"], examples["correct"])
    metrics = {
        "ece": expected_calibration_error(table),
        "nll": float(examples["nll"].mean()),
        "brier": float(examples["brier"].mean()),
    }
    return Evaluation(metrics=metrics, examples=examples, details={"reliability": table})


def reliability(
    confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], bins: int = BINS
) -> list[dict[str, Any]]:
    """Of every bin its bounds (above `from`, up to `to`), n, mean confidence and accuracy; None in an empty bin.

    Bins are of equal width: bin m of M is ((m - 1) / M, m / M]. Guo et al. 2017, arXiv:1706.04599.
    """
    edges = np.linspace(0, 1, bins + 1)
    member = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    table = []
    for i in range(bins):
        inside = member == i
        n = int(inside.sum())
        means = (float(confidence[inside].mean()), float(right[inside].mean())) if n else (None, None)
        table.append(
            {"from": float(edges[i]), "to": float(edges[i + 1]), "n": n, "confidence": means[0], "accuracy": means[1]}
        )
    return table


def expected_calibration_error(table: list[dict[str, Any]]) -> float:
    """Distance of accuracy from confidence, averaged over the bins by their n; empty bins count nothing."""
    total = sum(row["n"] for row in table)
    return float(sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in table if row["n"]) / total)


def _measure(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    probabilities = F.softmax(logits, dim=1)
    corners = F.one_hot(labels, logits.shape[1])
    return correct(logits, labels) | {
        "confidence": probabilities.amax(dim=1),
        "nll": F.cross_entropy(logits, labels, reduction="none"),
        "brier": (probabilities - corners).square().sum(dim=1),
    }
