"""What a metric returns, and how it gathers numbers per example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Batch(Protocol):
    """Images (n, 3, h, w) in [0, 1], labels (n,) and positions in the split (n,), as bench.data hands them out."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def indices(self) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """metrics: name -> number, as the catalog declares them; examples: name -> array (n,) in the split's order."""

    metrics: Mapping[str, float]
    examples: Mapping[str, npt.NDArray[Any]]


def in_order(indices: Sequence[Tensor], values: Sequence[Tensor]) -> npt.NDArray[Any]:
    """Values of all batches as one array (n,), each at the position its index says.

    Raises ValueError unless the indices are 0 .. n-1, each once, with n > 0.
    """
    if not indices:
        raise ValueError("there are no examples to evaluate")
    positions = torch.cat([part.cpu() for part in indices]).numpy()
    if not np.array_equal(np.sort(positions), np.arange(positions.size)):
        raise ValueError(f"the {positions.size} examples do not have the indices 0 to {positions.size - 1}, each once")
    gathered = torch.cat([part.cpu() for part in values]).numpy()
    ordered = np.empty_like(gathered)
    ordered[positions] = gathered
    return ordered


def finite(logits: Tensor) -> Tensor:
    """The logits. Raises ValueError if one is infinite or not a number."""
    if not torch.isfinite(logits).all():
        raise ValueError("the network's outputs are not finite: its training diverged")
    return logits
