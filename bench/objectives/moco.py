"""A view is matched with the key of its other view among a queue of earlier keys: MoCo, with the head of its v2."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.contrastive import Contrastive
from bench.spec import Recipe


def loss(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the right key among it and the queue (nats); logits (b, 1 + queue), the right key first.

    network: a `Contrastive` with a queue. Of images (2b, 3, h, w) in [0, 1] the first b are queries, the second views
    of the same examples are keys. The momentum encoder follows the encoder before it makes them; afterwards the queue
    holds those of all processes. With several groups of batch normalisation the keys are shuffled between them, a
    function of (seed, step). Labels are not read. Raises ValueError if the recipe has no contrast with a queue.
    He et al. 2020, arXiv:1911.05722; Chen et al. 2020, arXiv:2003.04297.
    """
    contrast = recipe.contrast
    if contrast is None or not contrast.queue:
        raise ValueError("MoCo needs a recipe with contrast and a queue, found none")
    model = cast(Contrastive, network)
    seen, shown = images.chunk(2)
    queries = model(seen)
    model.follow(contrast.momentum)
    keys = model.keys(shown, shuffle=(seed, step) if contrast.groups > 1 else None)
    with torch.autocast(queries.device.type, enabled=False):
        right = (queries * model.own_rows(keys)).sum(dim=1, keepdim=True)
        # A copy: the queue changes before the gradient is computed.
        logits = torch.cat([right, queries @ model.queue.clone()], dim=1) / contrast.temperature
        value = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
    model.enqueue(keys)
    return value, logits
