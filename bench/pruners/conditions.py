"""What a pruner reads beside the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from bench.masks import Masks, Scores
from bench.spec import Scalar


class Batch(Protocol):
    """What the network reads and labels (n,), on its device."""

    @property
    def inputs(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How many weights a ticket will keep, and what scores are computed from.

    select(scores, keep): masks at the cell's granularity and allocation, for pruners that prune in steps.
    resolution: side of the images in pixels. batches: none for pruners that read no data. options: of the grid's word,
    defaults filled in.
    """

    keep: int
    select: Callable[[Scores, int], Masks]
    resolution: int
    batches: Sequence[Batch] = ()
    seed: int = 0
    options: Mapping[str, Scalar] = field(default_factory=dict)

    def number(self, option: str) -> float:
        """The value of a numeric option. Raises ValueError for a value that is no number."""
        value = self.options[option]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"pruner option {option} is a number, found {value!r}")
        return value
