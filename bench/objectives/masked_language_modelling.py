"""Cross-entropy of the tokens that were chosen to be predicted."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models import Network
from bench.spec import Recipe

NOT_CHOSEN = -100


def loss(
    network: Network, inputs: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all chosen tokens of the batch, with the recipe's label smoothing, and their logits.

    inputs (n, 2, l) int64, labels (n, l) int64: the true tokens, -100 = not chosen; logits (k, vocabulary) of the k
    chosen tokens, no others are computed. The mean is over the batch of all processes, the same in each; it is 0 where
    no token is chosen. Reads no seed, step or indices. Devlin et al. 2019, arXiv:1810.04805.
    """
    chosen = labels != NOT_CHOSEN
    logits = cast(Any, network.top).at(network.maps(inputs)[0], chosen)
    total = F.cross_entropy(logits, labels[chosen], label_smoothing=recipe.label_smoothing, reduction="sum")
    # A row per example, as the layer across processes wants them; only their sum is read.
    rows = (torch.stack([total, chosen.sum().to(total.dtype)]) / len(labels)).expand(len(labels), 2)
    total, count = cast(Tensor, network.all_rows(rows)).sum(0)
    return total / count.clamp(min=1), logits
