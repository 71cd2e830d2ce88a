"""Top-1 accuracy and negative log-likelihood on clean images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn
from torch.nn import functional as F

from bench.metrics.evaluation import Batch, Evaluation, finite, in_order
from bench.models.modes import evaluation_mode
from bench.spec import Attack, Scalar


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterable[Batch], *, attack: Attack | None, seed: int, options: Mapping[str, Scalar]
) -> Evaluation:
    """`accuracy` in [0, 1] and `nll`, the mean of -log p(label) in nats; per example `correct` and `nll`.

    The network runs in evaluation mode and is left as it was. Reads no attack, seed or options. Raises ValueError
    for no examples and for outputs that are not finite.
    """
    indices, correct, nll = [], [], []
    with evaluation_mode(network):
        for batch in batches:
            # Doubles from here on: the log-likelihoods of a confident network cancel in single precision.
            logits = finite(network(batch.images)).double()
            indices.append(batch.indices)
            correct.append(logits.argmax(dim=1) == batch.labels)
            nll.append(F.cross_entropy(logits, batch.labels, reduction="none"))
    examples = {"correct": in_order(indices, correct), "nll": in_order(indices, nll)}
    metrics = {"accuracy": float(examples["correct"].mean()), "nll": float(examples["nll"].mean())}
    return Evaluation(metrics=metrics, examples=examples)
