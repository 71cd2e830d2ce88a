"""Is the accuracy under attack to be trusted? Cheap comparisons that a network with usable gradients passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.attacks.ball import ball
from bench.attacks.gradient import vanished
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd, pgd_until_broken
from bench.metrics.attacked import evaluation_attack, vanishing, withstands
from bench.metrics.evaluation import Batch, Conditions, Evaluation, finite, in_order
from bench.models.fold import folded
from bench.models.modes import evaluation_mode
from bench.spec import Attack

DRAWS = 10
FEW = 16
LARGE_EPSILON_ACCURACY = 0.05
# (weaker attack, stronger attack, what it means if the weaker one breaks more)
ORDER = (
    ("fgsm", "pgd_50", "50 steps break less than one"),
    ("pgd_10", "pgd_50", "50 steps break less than 10 from the same starts"),
    ("random_noise", "pgd_10", "random noise breaks more than PGD-10"),
)
ATTACKS = ("random_noise", "fgsm", "pgd_10", "pgd_50", "large_epsilon")


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """Accuracies in [0, 1] under attacks of known order, and flags where the order is broken.

    random_noise: ten draws, uniform in the ball, the worst; fgsm: one step of epsilon from the image; pgd_10 and
    pgd_50: the last iterate of 10 and 50 steps of 2.5 epsilon / steps from the same starts; large_epsilon: 50 steps in
    a ball that holds every image, where the accuracy of a network with gradients is about 0. zero_gradient_share is
    the share of right examples whose cross-entropy has a gradient of exactly 0. Per example the same as booleans, and
    `correct`: right under all attacks of the epsilon asked for. Norm and epsilon are those of `conditions.attack`.
    Flags say "gradient masking suspected" and why; an order counts as broken by more than two standard errors of the
    paired difference and more than one point. They also say where outputs are no logits, or depend on the batch.
    Carlini et al. 2019, arXiv:1902.06705, section 3.2.
    The network runs in evaluation mode and is left as it was. Raises ValueError for no examples, outputs that are not
    finite, and an attack that asks for batch statistics.
    """
    attack = evaluation_attack(conditions)
    indices: list[Tensor] = []
    found: list[Tensor] = []
    flags: tuple[str, ...] = ()
    with evaluation_mode(network):
        fast = folded(network)
        for batch in conditions.batches():
            conditions.pause()
            flags = flags if indices else _outputs(network, batch)
            indices.append(batch.indices)
            found.append(_under_attacks(network, fast, batch, attack, conditions.seed))
    names = ("clean", *ATTACKS, "zero_gradient")
    columns = dict(zip(names, in_order(indices, found).T, strict=True))
    right = int(columns["clean"].sum())
    without = int(columns["zero_gradient"].sum()) / max(right, 1)
    metrics = {f"{name}_accuracy": float(columns[name].mean()) for name in ATTACKS}
    worst = np.logical_and.reduce([columns[name] for name in ATTACKS[:-1]])
    return Evaluation(
        metrics=metrics | {"zero_gradient_share": without},
        examples={"correct": worst} | columns,
        details={"accuracy": float(columns["clean"].mean())},
        flags=flags + _flags(columns, metrics["large_epsilon_accuracy"]) + vanishing(without),
    )


def _outputs(network: nn.Module, batch: Batch) -> tuple[str, ...]:
    """What the outputs of a few images tell before any attack: do they see each other, are they logits?"""
    images = batch.inputs[:FEW]
    logits = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    flags = []
    if not torch.allclose(logits, alone, rtol=1e-3, atol=1e-3):
        flags.append("the outputs of an image depend on the others in its batch: attacks are not to be trusted")
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), torch.ones_like(logits[:, 0]), atol=1e-4):
        flags.append("gradient masking suspected: the outputs are probabilities, not logits")
    return tuple(flags)


def _under_attacks(network: nn.Module, fast: nn.Module, batch: Batch, attack: Attack, seed: int) -> Tensor:
    """(n, 7) bool: right clean, right under each of ATTACKS, right without a gradient; wrong examples stay wrong."""
    right = finite(network(batch.inputs)).argmax(dim=1) == batch.labels
    alive = right.nonzero().flatten()
    columns = torch.zeros(len(right), len(ATTACKS) + 2, dtype=torch.bool, device=right.device)
    columns[:, 0] = right
    if not len(alive):
        return columns
    images, labels = batch.inputs[alive], batch.labels[alive]
    indices = batch.indices.to(images.device)[alive]
    noisy = dataclasses.replace(attack, random_start=True, loss="cross_entropy")
    large = dataclasses.replace(noisy, epsilon_255=_reach(images, attack.norm))

    def starts(chosen: Attack, draw: int) -> Tensor | None:
        return random_noise(tuple(images.shape), chosen, seed=seed, indices=indices, draw=draw)

    def holds(points: Tensor, chosen: Attack = noisy) -> Tensor:
        return withstands(network, images, labels, points, chosen)[0]

    noise = torch.ones_like(labels, dtype=torch.bool)
    for draw in range(1, DRAWS + 1):
        start = starts(noisy, draw)
        assert start is not None
        noise &= holds(ball(images, noisy).project(images + start))
    fgsm = dataclasses.replace(noisy, steps=1, step_255=noisy.epsilon_255)
    columns[alive, 1] = noise
    columns[alive, 2] = holds(pgd(fast, images, labels, fgsm, noise=None))
    for column, steps in ((3, 10), (4, 50)):
        chosen = _steps(noisy, steps)
        columns[alive, column] = holds(pgd(fast, images, labels, chosen, noise=starts(noisy, 0)))
    found = pgd_until_broken(fast, images, labels, _steps(large, 50), noise=starts(large, 0))
    columns[alive, 5] = holds(found, large)
    columns[alive, 6] = vanished(fast, images, labels)
    return columns


def _reach(images: Tensor, norm: str) -> float:
    """The epsilon whose ball holds every image: 255/255, or the diagonal of the cube."""
    return 255.0 if norm == "linf" else math.sqrt(images[0].numel())


def _steps(attack: Attack, steps: int) -> Attack:
    return dataclasses.replace(attack, steps=steps, step_255=2.5 * attack.epsilon_255 / steps)


def _flags(columns: Mapping[str, npt.NDArray[Any]], large: float) -> tuple[str, ...]:
    """What contradicts usable gradients."""
    flags = [
        f"gradient masking suspected: {meaning} ({columns[weaker].mean():.1%} and {columns[stronger].mean():.1%} right)"
        for weaker, stronger, meaning in ORDER
        if _broken_order(columns[weaker], columns[stronger])
    ]
    if large > LARGE_EPSILON_ACCURACY:
        flags.append(f"gradient masking suspected: {large:.1%} are right in a ball that holds every image")
    return tuple(flags)


def _broken_order(weaker: npt.NDArray[np.bool_], stronger: npt.NDArray[np.bool_]) -> bool:
    """Does the weaker attack break more examples, beyond chance and rounding?"""
    gained, lost = int((stronger & ~weaker).sum()), int((weaker & ~stronger).sum())
    # Under no difference each of the discordant examples goes either way: variance gained + lost.
    return gained - lost > max(2 * math.sqrt(gained + lost), 0.01 * len(weaker))
