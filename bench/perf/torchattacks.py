"""PGD of torchattacks (github.com/Harry24k/adversarial-attacks-pytorch), where it is on the path.

It is no dependency: its requirements pin versions that others here exclude. A checkout on PYTHONPATH does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from unittest import mock

import torch
from torch import Tensor, nn

from bench.spec import Attack

NAME = "torchattacks"


def pgd(network: nn.Module, attack: Attack) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Its PGD with the constants of a Linf `attack`: images, labels -> adversarial images; None if it is not there."""
    try:
        found = importlib.import_module(NAME)
    except ModuleNotFoundError as error:
        if error.name != NAME:
            raise
        return None
    made: Callable[[Tensor, Tensor], Tensor] = found.PGD(
        network, eps=attack.epsilon_255 / 255, alpha=attack.step_255 / 255, steps=attack.steps
    )
    return made


def from_start(attack: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Its adversarial images from images + noise; its own random numbers would be the global generator's."""
    with mock.patch.object(torch.Tensor, "uniform_", lambda empty, *_: empty.copy_(noise)):
        return attack(images, labels)
