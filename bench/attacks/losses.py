"""What attacks ascend: losses per example, larger where the network is nearer to an error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) -log of the right class's probability."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """(n,) largest wrong logit less the right one: positive where the prediction is wrong."""
    right = labels[:, None]
    wrong = logits.scatter(1, right, -torch.inf).amax(dim=1)
    return wrong - logits.gather(1, right)[:, 0]


def targeted(targets: Tensor) -> Loss:
    """The loss that pulls examples towards their `targets` (n,): targeted difference of logits ratio.

    (z_target - z_right) / (z_1 - (z_3 + z_4) / 2), z_k the k-th largest logit. With fewer than four classes the
    denominator does not exist and the loss is the difference itself. Croce and Hein 2020, arXiv:2003.01690, eq. 6.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        difference = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None]))[:, 0]
        if logits.shape[1] < 4:
            return difference
        first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
        return difference / (first - (third + fourth) / 2 + 1e-12)

    return loss


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin}
