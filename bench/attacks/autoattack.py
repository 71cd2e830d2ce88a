"""AutoAttack, standard version: four attacks without parameters to tune, the worst case over which is reported."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bench.attacks.apgd import apgd
from bench.attacks.fab import fab
from bench.attacks.square import square
from bench.spec import Attack

ENSEMBLE = ("apgd_ce", "apgd_t", "fab_t", "square")

# Numbers of the random draws, so that no two attacks share one: 0 APGD-CE, 1 to 9 APGD-T, from here on Square.
SQUARE_DRAW = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Iterations of APGD and FAB, queries of Square, and the most target classes: the published ones by default."""

    steps: int = 100
    queries: int = 5000
    targets: int = 9

    def __post_init__(self) -> None:
        if min(self.steps, self.queries, self.targets) < 1:
            raise ValueError(f"AutoAttack needs steps, queries and targets of 1 or more, found {self}")


STANDARD = Budget()


@torch.no_grad()
def attacked(
    name: str,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seed: int,
    indices: Tensor,
    budget: Budget = STANDARD,
) -> Tensor:
    """Images by one of ENSEMBLE: misclassified ones where it finds them, else some other points of the ball.

    images (n, c, h, h) in [0, 1], which the network must classify as their labels (n,) say; only the norm and
    epsilon of `attack` are read. The targeted attacks take the wrong classes in the order of the clean logits, at most
    `budget.targets` and all of them if there are fewer; an example broken for one is not attacked for the next.
    The targeted DLR loss needs four classes: with two or three, APGD-T takes the difference of the two logits. Nothing
    depends on the batch an example comes in. The network must be in evaluation mode.
    Croce and Hein 2020, arXiv:2003.01690, section 5.
    """
    plain = dataclasses.replace(attack, steps=budget.steps, loss="cross_entropy")
    indices = indices.to(images.device)
    random = partial(apgd, network, attack=plain, seed=seed)
    if name == "apgd_ce":
        return random(images, labels, indices=indices, draw=0)
    if name == "square":
        return square(
            network, images, labels, plain, seed=seed, indices=indices, draw=SQUARE_DRAW, queries=budget.queries
        )
    targets = _targets(network(images), labels, budget.targets)
    found, alive = images.clone(), torch.arange(len(labels), device=labels.device)
    for number, target in enumerate(targets.unbind(1), start=1):
        some, right = images[alive], labels[alive]
        if name == "apgd_t":
            found[alive] = random(some, right, indices=indices[alive], draw=number, targets=target[alive])
        else:
            found[alive] = fab(network, some, right, plain, targets=target[alive])
        alive = alive[network(found[alive]).argmax(dim=1) == right]
        if not len(alive):
            break
    return found


def _targets(logits: Tensor, labels: Tensor, most: int) -> Tensor:
    """(n, k) wrong classes by falling logit, k the smaller of `most` and all of them."""
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.argsort(dim=1, descending=True, stable=True)[:, : min(most, logits.shape[1] - 1)]
