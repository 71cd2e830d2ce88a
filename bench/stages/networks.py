"""Networks as stages need them: pre-trained, with the downstream head, with a ticket's mask, validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from bench import models
from bench.catalog import OBJECTIVES, load
from bench.data import Split
from bench.metrics import accuracy
from bench.spec import Data, Recipe, Word
from bench.stages.context import Context
from bench.training.loop import Loss
from bench.training.seeding import derive


def build(architecture: Word, data: Data | None, classes: int, seed: int) -> models.Network:
    """A fresh network with the statistics of the images it will see in its first layer, if it will see any."""
    mean, std = (data.mean, data.std) if data is not None else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return models.build(architecture, classes=classes, mean=mean, std=std, seed=seed)


def pretrained(
    architecture: Word, data: Data | None, classes: int, state: Mapping[str, Tensor], context: Context
) -> models.Network:
    """The network with the pre-trained weights; its head is the source's."""
    network = build(architecture, data, classes, seed=0)
    models.load_state(network, state)
    return network.to(context.device)


def downstream(
    architecture: Word, data: Data, source_classes: int, state: Mapping[str, Tensor], seed: int, context: Context
) -> models.Network:
    """The pre-trained network with a new random head for the downstream classes, drawn from the seed."""
    network = pretrained(architecture, data, source_classes, state, context)
    models.replace_head(network, data.classes, seed=derive(seed, "head"))
    return network.to(context.device)


def objective(recipe: Recipe) -> Loss:
    """The loss a recipe trains with: adversarial where it has an attack."""
    loss: Loss = load(OBJECTIVES["adversarial" if recipe.attack else "standard"].module).loss
    return loss


def validator(split: Split) -> Callable[[nn.Module], float]:
    """Top-1 accuracy on a split in [0, 1], for selection and for the record."""

    def validate(network: nn.Module) -> float:
        with torch.no_grad():
            found = accuracy.evaluate(network, split.batches(0), attack=None, seed=0, options={})
        return found.metrics["accuracy"]

    return validate
