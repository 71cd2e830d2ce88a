"""What a metric reads and returns, and how it gathers numbers per example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.masks import Masks
from bench.spec import Attack, Scalar


class Batch(Protocol):
    """What the network reads, labels (n,) and positions in the split (n,), as bench.data hands them out."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def indices(self) -> Tensor: ...


Batches = Callable[[], Iterable[Batch]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What a network is evaluated on, and how.

    batches: the test split or a fixed subset of it, in batches, from the start at every call. others: further sets by
    role ("out", "source", "<corruption>/<severity>"). masks: the ticket's, empty for a dense network. pretrained: the
    body's pre-trained weights by name, where the metric reads them. scratch: folder for the partial results of long
    evaluations, which may not exist yet. pause: to be called between batches; raises where the evaluation is to stop.
    """

    batches: Batches
    seed: int = 0
    attack: Attack | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    others: Mapping[str, Batches] = field(default_factory=dict)
    masks: Masks = field(default_factory=dict)
    pretrained: Mapping[str, Tensor] = field(default_factory=dict)
    scratch: Path | None = None
    pause: Callable[[], None] = lambda: None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """metrics: name -> number, as the catalog declares them; examples: name -> array (n, ...) in the split's order.

    details: finer numbers as JSON, for example by corruption. flags: doubts about the numbers, a sentence each.
    gallery: what the first images of the split show, to look at, see bench.metrics.gallery; empty: nothing.
    n_examples: what the numbers are means of, where that is not the split's examples but for instance questions.
    """

    metrics: Mapping[str, float]
    examples: Mapping[str, npt.NDArray[Any]]
    details: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    gallery: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    n_examples: int | None = None


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
