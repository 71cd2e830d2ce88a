"""Networks as stages need them: pre-trained, with the downstream head, with a ticket's mask, validated."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bench import models
from bench.catalog import LOSSES, load
from bench.data import Split
from bench.metrics import accuracy, robust
from bench.metrics.evaluation import Conditions
from bench.spec import Data, Recipe, Word
from bench.stages.context import Context
from bench.training.loop import Loss, Validate
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
    """The loss that what the recipe holds asks for: noise, an attack, TRADES, or none of them."""
    name = "smoothing" if recipe.sigma else "standard"
    if recipe.attack is not None:
        name = "trades" if recipe.trades_beta else "adversarial"
    loss: Loss = load(LOSSES[name].module).loss
    return loss


def validators(split: Split, recipe: Recipe, seed: int) -> Validate:
    """Accuracies on a split in [0, 1] by their name in the history: clean, and under the recipe's validation attack."""

    def clean(network: nn.Module) -> float:
        found = accuracy.evaluate(network, Conditions(batches=lambda: split.batches(0)))
        return found.metrics["accuracy"]

    def attacked(network: nn.Module) -> float:
        # The same starts after every epoch, and no second attack by margin: epochs are compared, not certified.
        conditions = Conditions(
            batches=lambda: split.batches(0),
            attack=recipe.validation_attack,
            seed=derive(seed, "validation"),
            options={"margin": False},
        )
        return robust.evaluate(network, conditions).metrics["pgd_accuracy"]

    return {"validation_accuracy": clean, "robust_validation_accuracy": attacked}
