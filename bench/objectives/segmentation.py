"""Cross-entropy over the pixels of scenes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.models import Network
from bench.spec import Recipe

NOT_COUNTED = 255


def loss(
    network: Network, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy over all counted pixels of the batch, with the recipe's label smoothing, and the logits.

    images (n, 3, s, s) in [0, 1], labels (n, s, s) int64, 255 = not counted; logits (n, classes, s, s). The mean is
    over the batch of all processes, the same in each; it is 0 where no pixel counts. Reads no seed, step or indices.
    """
    logits = network(images)
    pixels = F.cross_entropy(
        logits, labels, ignore_index=NOT_COUNTED, label_smoothing=recipe.label_smoothing, reduction="none"
    )
    counted = (labels != NOT_COUNTED).to(pixels.dtype)
    rows = torch.stack([pixels.sum((1, 2)), counted.sum((1, 2))], dim=1)
    total, count = cast(Tensor, network.all_rows(rows)).sum(0)
    return total / count.clamp(min=1), logits
