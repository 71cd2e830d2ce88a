"""Layers that look across a batch. In one process they are the identity; where several processes share a training,
bench.training.batchwide gives them their meaning.
"""

from __future__ import annotations

from torch import Tensor, nn


class AllRows(nn.Module):
    """(n, ...), this process's rows -> (N, ...), those of all processes in their order in the batch.

    What is computed from all rows is the same in every process; gradients are as if it were computed once.
    """

    def forward(self, rows: Tensor) -> Tensor:
        return rows


class OwnRows(nn.Module):
    """(N, ...), rows that every process holds -> (n, ...), this process's share of them."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows
