"""Cross-entropy on the images as they are."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.spec import Recipe


def loss(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy, with the recipe's label smoothing, and the logits (n, classes).

    images (n, 3, h, w) in [0, 1], labels (n,) int64. Deterministic: reads no seed, step or indices.
    """
    logits = network(images)
    return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing), logits
