"""What the metrics under attack share: the attack they need, the verdict on its images, and doubts about gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.attacks.ball import ball, contains
from bench.metrics.evaluation import Conditions, finite
from bench.spec import Attack

# A larger share of examples without any gradient makes gradient attacks meaningless.
VANISHED = 0.1


def evaluation_attack(conditions: Conditions) -> Attack:
    """The attack of the conditions. Raises ValueError if there is none or it asks for batch statistics."""
    attack = conditions.attack
    if attack is None or attack.batchnorm != "eval":
        found = "none" if attack is None else f"one with batchnorm {attack.batchnorm!r}"
        raise ValueError(f"robust accuracy needs an attack in evaluation mode (batchnorm 'eval'), found {found}")
    return attack


@torch.no_grad()
def withstands(
    network: nn.Module, images: Tensor, labels: Tensor, points: Tensor, attack: Attack
) -> tuple[Tensor, Tensor]:
    """Which examples are right at their adversarial `points`, and which points the attack may not use, (n,) bool.

    A point outside the ball or the valid pixels breaks nothing. Raises ValueError for outputs that are not finite.
    """
    right = finite(network(points)).argmax(dim=1) == labels
    outside = ~contains(ball(images, attack), points)
    return right | outside, outside


def vanishing(share: float) -> tuple[str, ...]:
    """The flag for a share of right examples whose cross-entropy has no gradient."""
    if share <= VANISHED:
        return ()
    return (f"gradients vanish on {share:.1%} of the examples that are right: gradient masking suspected",)
