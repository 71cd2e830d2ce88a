"""Random pruning: every choice of the kept weights is equally likely."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from bench.masks import Scores
from bench.models import Network, weights
from bench.pruners.conditions import Conditions


def scores(network: Network, names: Sequence[str], conditions: Conditions) -> Scores:
    """Independent uniform numbers in [0, 1), a function of `conditions.seed` and the shapes. Reads no batches.

    A float has 24 bits here, so of 25 M weights the few that equal the threshold are kept by position.
    """
    # Drawn on the CPU, so that a seed means the same mask on every device.
    generator = torch.Generator().manual_seed(conditions.seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in weights(network, tuple(names)).items()
    }
