"""An encoder trained by contrast: with a projection head and, where there is a queue, a copy that makes its keys."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.errors import ModelError
from bench.models.network import Network, head, head_parameters, misfits, seeded
from bench.models.rows import AllRows, OwnRows
from bench.spec import Contrast


class Contrastive(nn.Module):
    """Images (n, 3, h, h) float in [0, 1] -> projections (n, dimensions) float32 or wider, of length 1.

    encoder: the network that is trained; its classification head is not, and nothing reads it. projection: two layers
    on its features. momentum_encoder, momentum_projection: only with a queue; copies of both as they are now, with the
    encoder's zeros where it is masked. queue (dimensions, K): keys of length 1, the newest before `queue_at`; random
    ones at first. groups: see bench.recipe.Contrast; bench.training.batchwide gives batch normalisation its groups.
    Projection and queue are drawn from the seed; the global random generator is left as it was.
    """

    queue: Tensor
    queue_at: Tensor
    top: None = None  # that of a classification network, as models.state reads it

    def __init__(self, encoder: Network, contrast: Contrast, *, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        like = head(encoder).weight
        made, keys = seeded(
            lambda: (projection(like.shape[1], contrast), torch.randn(contrast.dimensions, contrast.queue)), seed
        )
        self.projection = made.to(device=like.device, dtype=like.dtype)
        self.groups = contrast.groups
        self.all_rows, self.own_rows = AllRows(), OwnRows()
        if contrast.queue:
            self.momentum_encoder = copy.deepcopy(encoder).requires_grad_(False)
            self.momentum_projection = copy.deepcopy(self.projection).requires_grad_(False)
            self.register_buffer("queue", F.normalize(keys, dim=0).to(device=like.device, dtype=like.dtype))
            self.register_buffer("queue_at", torch.zeros((), dtype=torch.int64, device=like.device))

    @property
    def body(self) -> nn.Module:
        """The encoder's body: what masks act on."""
        return self.encoder.body

    @property
    def label(self) -> str:
        return self.encoder.label

    def forward(self, images: Tensor) -> Tensor:
        return _unit(self.projection(self.encoder.features(images)))

    def trained_parameters(self) -> list[nn.Parameter]:
        """Those of the encoder without its head, then the projection's."""
        untrained = head_parameters(self.encoder)
        named = self.encoder.body.named_parameters()
        return [parameter for name, parameter in named if name not in untrained] + list(self.projection.parameters())

    def load_projection(self, state: Mapping[str, Tensor]) -> None:
        """Copy `state` into the projection, and into the one that makes keys. Raises ModelError if it does not fit."""
        expected = {name: tensor.shape for name, tensor in self.projection.state_dict().items()}
        misfit = misfits(expected, state)
        if misfit:
            raise ModelError(f"the projection head of {self.label} has other weights than the recipe's: {misfit}")
        self.projection.load_state_dict(state)
        if hasattr(self, "queue"):
            self.momentum_projection.load_state_dict(state)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move the parameters of the copies to momentum * theirs + (1 - momentum) * the trained ones, in place.

        Their running statistics are their own.
        """
        keys: list[Tensor] = [*self.momentum_encoder.parameters(), *self.momentum_projection.parameters()]
        queries = [*self.encoder.parameters(), *self.projection.parameters()]
        torch._foreach_mul_(keys, momentum)
        torch._foreach_add_(keys, [parameter.detach() for parameter in queries], alpha=1 - momentum)

    @torch.no_grad()
    def keys(self, images: Tensor, *, shuffle: tuple[int, ...] | None = None) -> Tensor:
        """Keys (N, dimensions) of all rows of the batch, of which `images` (n, 3, h, h) are this process's.

        shuffle: the momentum encoder sees the rows in an order that is a function of these numbers, so that a key
        shares its group of batch normalisation with others than its query does; None: as they are.
        """
        if shuffle is None:
            return self._keys(images)
        rows = self.all_rows(images)
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(shuffle)))
        order = torch.from_numpy(draw.permutation(len(rows))).to(rows.device)
        found = self._keys(self.own_rows(rows[order]))
        return torch.empty_like(found).index_copy_(0, order, found)

    def _keys(self, images: Tensor) -> Tensor:
        features = self.momentum_encoder.features(images)
        return cast(Tensor, self.all_rows(_unit(self.momentum_projection(features))))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys (N, dimensions) where the oldest are; of more keys than the queue holds the last ones."""
        size = self.queue.shape[1]
        skipped = max(len(keys) - size, 0)
        places = (self.queue_at + torch.arange(skipped, len(keys), device=keys.device)) % size
        self.queue.index_copy_(1, places, keys[skipped:].T.to(self.queue.dtype))
        self.queue_at.add_(len(keys)).remainder_(size)


def projection(width: int, contrast: Contrast) -> nn.Sequential:
    """Features (n, width) -> (n, dimensions): two linear layers.

    Chen et al. 2020, arXiv:2002.05709 and arXiv:2003.04297.
    """
    hidden = contrast.hidden or width
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, contrast.dimensions))


def _unit(projections: Tensor) -> Tensor:
    # Products of half-precision vectors would be too coarse for a temperature of 0.1.
    wide = projections if projections.dtype == torch.float64 else projections.float()
    return F.normalize(wide, dim=1)
