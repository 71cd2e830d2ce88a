"""Cross-entropy of an answer's first and last token over the tokens of its text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.spec import Recipe


class Passage(Protocol):
    """Positions of the answer's first and last token in the input; 0 and 0 where the input does not hold it."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


def loss(
    network: nn.Module,
    inputs: Tensor,
    labels: Sequence[Passage],
    *,
    recipe: Recipe,
    seed: int,
    step: int,
    indices: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean over the examples of the mean of both cross-entropies, and the logits (n, 2, l): of first and last token.

    inputs (n, 2, l) int64, labels: n passages. An answer that reaches beyond the input is at 0, the token [CLS], as one
    that the input does not hold. Reads no seed, step, indices or label smoothing. Devlin et al. 2019, arXiv:1810.04805.
    """
    logits = network(inputs)
    length = logits.shape[-1]
    spans = [(found.start, found.end) if max(found.start, found.end) < length else (0, 0) for found in labels]
    return F.cross_entropy(logits.flatten(0, 1), torch.tensor(spans, device=logits.device).flatten()), logits
