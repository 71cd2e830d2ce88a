"""Accuracy under PGD."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.attacks.gradient import vanished
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd_until_broken
from bench.metrics.attacked import evaluation_attack, vanishing, withstands
from bench.metrics.evaluation import Batch, Conditions, Evaluation, finite, in_order
from bench.models.fold import folded
from bench.models.modes import evaluation_mode
from bench.spec import Attack


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`pgd_accuracy` in [0, 1]: share of examples right clean and at every image that the attack arrives at.

    Per example `correct`. `conditions.attack` is run with all its restarts and, unless options["margin"] is false,
    once more with the margin loss; an example is attacked until an iterate is misclassified, so the accuracy is at
    most that at the last iterates. The steps run on the network with batch normalisation folded, the verdict is the
    network's own. details: the accuracy after each run, and the share of right examples whose gradient is zero.
    flags: gradients that vanish, adversarial images outside the ball (which then break nothing).
    The network runs in evaluation mode and is left as it was. Random starts are functions of (seed, run, index).
    Raises ValueError for no examples, outputs that are not finite, and an attack that asks for batch statistics.
    """
    attack = evaluation_attack(conditions)
    runs = {f"restart_{number}": attack for number in range(1, attack.restarts + 1)}
    if conditions.options.get("margin", True) and attack.loss != "margin":
        runs["margin"] = dataclasses.replace(attack, loss="margin")
    found: list[_Found] = []
    with evaluation_mode(network):
        fast = folded(network)
        for batch in conditions.batches():
            conditions.pause()
            found.append(_attacked(network, fast, batch, tuple(runs.values()), conditions.seed))
    right = in_order([part.indices for part in found], [part.right for part in found])
    without = sum(int(part.vanished.sum()) for part in found) / max(int(right[:, 0].sum()), 1)
    outside = sum(part.outside for part in found)
    strays = (f"{outside} adversarial images lay outside the ball or [0, 1] and broke nothing",) if outside else ()
    after = dict(zip(("clean", *runs), right.mean(axis=0).tolist(), strict=True))
    return Evaluation(
        metrics={"pgd_accuracy": float(right[:, -1].mean())},
        examples={"correct": right[:, -1]},
        details={"accuracy_after": after, "zero_gradient_share": without},
        flags=vanishing(without) + strays,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """right (n, 1 + runs): clean, and clean and after each run so far; vanished (n,): right without a gradient."""

    indices: Tensor
    right: Tensor
    vanished: Tensor
    outside: int


def _attacked(network: nn.Module, fast: nn.Module, batch: Batch, runs: tuple[Attack, ...], seed: int) -> _Found:
    clean = finite(network(batch.inputs)).argmax(dim=1) == batch.labels
    positions = batch.indices.to(batch.inputs.device)
    # In evaluation mode examples do not see each other, so the broken ones can leave the batch.
    alive, columns, outside = clean.nonzero().flatten(), [clean], 0
    for run, attack in enumerate(runs):
        if len(alive):
            images, labels = batch.inputs[alive], batch.labels[alive]
            noise = random_noise(tuple(images.shape), attack, seed=seed, indices=positions[alive], draw=run)
            points = pgd_until_broken(fast, images, labels, attack, noise=noise)
            right, strays = withstands(network, images, labels, points, attack)
            alive, outside = alive[right], outside + int(strays.sum())
        columns.append(torch.zeros_like(clean).index_fill_(0, alive, True))
    without = clean & vanished(fast, batch.inputs, batch.labels)
    return _Found(indices=batch.indices, right=torch.stack(columns, dim=1), vanished=without, outside=outside)
