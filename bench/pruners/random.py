"""Random pruning: every choice of the kept weights, over all layers together, is equally likely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bench.masks import Scores
from bench.models import Network, weights


def scores(network: Network, names: Sequence[str], batches: Iterable[tuple[Tensor, ...]], *, seed: int) -> Scores:
    """Independent uniform numbers in [0, 1), a function of `seed` and the shapes. Does not read `batches`.

    A float has 24 bits here, so of 25 M weights the few that equal the threshold are kept by position.
    """
    # Drawn on the CPU, so that a seed means the same mask on every device.
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(weight.shape, generator=generator).to(weight.device)
        for name, weight in weights(network, tuple(names)).items()
    }
