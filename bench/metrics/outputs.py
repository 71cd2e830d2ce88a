"""The one loop in which metrics read a network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.metrics.evaluation import Batch, finite, in_order
from bench.models.modes import evaluation_mode

Measure = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


@torch.no_grad()
def per_example(
    network: nn.Module, batches: Iterable[Batch], measure: Measure, *, pause: Callable[[], None]
) -> dict[str, npt.NDArray[Any]]:
    """What `measure` finds in every batch, (n, ...) in the split's order.

    measure(logits (b, k) float64, labels (b,) int64) -> name -> (b, ...). The network runs in evaluation mode and is
    left as it was. Raises ValueError for no examples and for outputs that are not finite.
    """
    indices: list[Tensor] = []
    found: dict[str, list[Tensor]] = {}
    with evaluation_mode(network):
        for batch in batches:
            pause()
            # Doubles from here on: the log-likelihoods of a confident network cancel in single precision.
            logits = finite(network(batch.inputs)).double()
            indices.append(batch.indices)
            for name, values in measure(logits, batch.labels).items():
                found.setdefault(name, []).append(values)
    if not indices:
        raise ValueError("there are no examples to evaluate")
    return {name: in_order(indices, values) for name, values in found.items()}


def correct(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Is the largest logit the label's? Of equal ones the first counts."""
    return {"correct": logits.argmax(dim=1) == labels}
