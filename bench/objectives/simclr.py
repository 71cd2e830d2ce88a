"""Two views of an image are told from the other views of the batch: SimCLR."""

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
    """NT-Xent of the whole batch, the same in all processes, and the projections (2b, dimensions) that are here.

    network: a `Contrastive`. images (2b, 3, h, w) in [0, 1]: the first views of b examples, then their second views.
    Labels are not read and nothing is drawn. Raises ValueError if the recipe has no contrast.
    Chen et al. 2020, arXiv:2002.05709.
    """
    if recipe.contrast is None:
        raise ValueError("SimCLR needs a recipe with contrast, found none")
    model = cast(Contrastive, network)
    projections = model(images)
    first, second = (model.all_rows(view) for view in projections.chunk(2))
    return nt_xent(first, second, temperature=recipe.contrast.temperature), projections


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """Mean over all 2n views of -log of the softmax share that the other view of the same example has (nats).

    first, second (n, d): projections of length 1, row i of both of the same example. A view's candidates are all
    others of the batch. (A released script takes -log of the mean share instead.) Equation 1 of arXiv:2002.05709.
    """
    views = torch.cat([first, second])
    n = len(first)
    with torch.autocast(views.device.type, enabled=False):
        similarities = views @ views.T / temperature
        similarities = similarities.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=views.device), -torch.inf)
        partners = torch.arange(2 * n, device=views.device).roll(n)
        return F.cross_entropy(similarities, partners)
