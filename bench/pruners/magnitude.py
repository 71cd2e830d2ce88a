"""Magnitude pruning: a weight's score is its absolute value."""

from __future__ import annotations

from collections.abc import Sequence

from bench.masks import Scores
from bench.models import Network, weights
from bench.pruners.conditions import Conditions


def scores(network: Network, names: Sequence[str], conditions: Conditions) -> Scores:
    """Absolute values of the weights of `names`. Reads no conditions.

    Han et al. 2015, arXiv:1506.02626; ranked globally as in Chen et al. 2021, arXiv:2012.06908. At a coarser
    granularity the mean over a group is its L1 norm per weight.
    """
    return {name: weight.detach().abs() for name, weight in weights(network, tuple(names)).items()}
