"""Top-1 accuracy on clean images."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.evaluation import Conditions, Evaluation
from bench.metrics.outputs import correct, per_example


def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`accuracy` in [0, 1]; per example `correct` and `nll`, which is -log p(label) in nats.

    Reads only the batches. Raises ValueError for no examples and for outputs that are not finite.
    """
    examples = per_example(network, conditions.batches(), _measure, pause=conditions.pause)
    return Evaluation(metrics={"accuracy": float(examples["correct"].mean())}, examples=examples)


def _measure(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return correct(logits, labels) | {"nll": F.cross_entropy(logits, labels, reduction="none")}
