"""Accuracy under PGD."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.metrics.evaluation import Batch, Evaluation, finite, in_order
from bench.models.modes import evaluation_mode
from bench.spec import Attack, Scalar


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Iterable[Batch], *, attack: Attack | None, seed: int, options: Mapping[str, Scalar]
) -> Evaluation:
    """`pgd_accuracy` in [0, 1]: share of examples that are right clean and after every restart of `attack`.

    Per example `correct`. The network runs in evaluation mode and is left as it was. `attack` holds what the
    options say. Random starts are functions of (seed, restart, index). Raises ValueError for no examples, outputs that
    are not finite, and an attack that asks for batch statistics.
    """
    if attack is None or attack.batchnorm != "eval":
        found = "none" if attack is None else f"one with batchnorm {attack.batchnorm!r}"
        raise ValueError(f"robust accuracy needs an attack in evaluation mode (batchnorm 'eval'), found {found}")
    indices, correct = [], []
    with evaluation_mode(network):
        for batch in batches:
            indices.append(batch.indices)
            correct.append(_survivors(network, batch, attack, seed))
    robust = in_order(indices, correct)
    return Evaluation(metrics={"pgd_accuracy": float(robust.mean())}, examples={"correct": robust})


def _survivors(network: nn.Module, batch: Batch, attack: Attack, seed: int) -> Tensor:
    """(n,) bool: right clean and after every restart."""
    robust = finite(network(batch.images)).argmax(dim=1) == batch.labels
    for restart in range(attack.restarts):
        # In evaluation mode examples do not see each other, so the broken ones can leave the batch.
        alive = robust.nonzero().flatten()
        if not len(alive):
            break
        images, labels, indices = batch.images[alive], batch.labels[alive], batch.indices[alive.cpu()]
        noise = random_noise(
            tuple(images.shape), attack, seed=seed, indices=indices, draw=restart, device=images.device
        )
        logits = finite(network(pgd(network, images, labels, attack, noise=noise)))
        robust[alive] = logits.argmax(dim=1) == labels
    return robust
