"""Sparsities counted in rounds of pruning. Imports no torch."""

from __future__ import annotations

import builtins
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Ladder:
    """A sequence of sparsities counted in rounds.

    of = "survivors": every round prunes `rate` of what is left, sparsity 1 - (1 - rate)^round;
    of = "original": every round prunes `rate` of the original weights, sparsity rate * round.
    """

    of: str = "survivors"
    rate: float = 0.2

    def __post_init__(self) -> None:
        if self.of not in ("survivors", "original"):
            raise ValueError(f"ladder of {self.of!r} (known: survivors, original)")
        if not 0 < self.rate < 1:
            raise ValueError(f"ladder rate {self.rate} is not between 0 and 1")

    def sparsity(self, round: int) -> float:
        """Nominal fraction of prunable weights at zero after `round` rounds, in [0, 1)."""
        value = 1 - (1 - self.rate) ** round if self.of == "survivors" else self.rate * round
        return builtins.round(value, 10)

    def rounds(self) -> int:
        """The last round that leaves something to keep (survivor ladders have no last round: 100)."""
        return 100 if self.of == "survivors" else int(1 / self.rate - 1e-9)

    def amount(self, round: int) -> float:
        """Share of the survivors of round - 1 that `round` prunes."""
        return self.rate if self.of == "survivors" else self.rate / (1 - self.rate * (round - 1))

    def kept(self, total: int, round: int) -> int:
        """Exact number of weights kept of `total` after `round` rounds.

        Compounds with a rounding to the nearest count in every round, as repeated calls of
        torch.nn.utils.prune do, so that one-shot and iterative tickets of a round keep equally many.
        """
        kept = total
        for k in range(1, round + 1):
            kept -= builtins.round(self.amount(k) * kept)
        return kept
