"""Magnitude pruning: a weight's score is its absolute value, ranked over all layers together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from bench.masks import Scores
from bench.models import Network, weights


def scores(network: Network, names: Sequence[str], batches: Iterable[tuple[Tensor, ...]], *, seed: int) -> Scores:
    """Absolute values of the weights of `names`. Reads neither `batches` nor `seed`.

    Han et al. 2015, arXiv:1506.02626; ranked globally as in Chen et al. 2021, arXiv:2012.06908.
    """
    return {name: weight.detach().abs() for name, weight in weights(network, tuple(names)).items()}
