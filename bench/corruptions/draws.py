"""Random numbers of corruptions: an example's depend neither on its batch nor on the device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks import noise

PARTS = 16  # arrays that a corruption may draw


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """The numbers of a batch of examples: functions of (seed, stream, index) and of the part asked for.

    indices (n,) int64: the examples' positions in their split. `stream` numbers what the draws are for.
    """

    seed: int
    stream: int
    indices: Tensor

    def uniform(self, *shape: int, part: int = 0) -> Tensor:
        """(n, *shape) float64 in (0, 1)."""
        draw = self.stream * PARTS + part
        numbers = noise.uniform(math.prod(shape), seed=self.seed, indices=self.indices, draw=draw)
        return numbers.double().view(len(self.indices), *shape)

    def normal(self, *shape: int, part: int = 0) -> Tensor:
        """(n, *shape) float64, standard normal."""
        normal: Tensor = torch.special.ndtri(self.uniform(*shape, part=part))
        return normal
