"""What the first images of a split show, beside what the network makes of them: for people to look at."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.metrics.evaluation import Batch

SHOWN = 8  # images


def pictures(batch: Batch) -> tuple[Tensor, Tensor]:
    """Of the batch's images those among the first of the split: indices (k,) and pictures (k, h, w, 3) uint8."""
    chosen = batch.indices < SHOWN
    images = batch.inputs[chosen.to(batch.inputs.device)]
    return batch.indices[chosen], (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
