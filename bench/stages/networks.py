"""Networks as stages need them: pre-trained, with the downstream head, with a ticket's mask, validated."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bench import models
from bench.catalog import LOSSES, METRICS, load
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
    """The pre-trained network with a new random head for the downstream task, drawn from the seed.

    So is a stem that the pre-trained network has in another form.
    """
    network = build(architecture, data, source_classes, seed=derive(seed, "stem"))
    models.load_state(network, state, allow_head_mismatch=True)
    new_head(network, data, seed=derive(seed, "head"))
    return network.to(context.device)


def transferred(architecture: Word, data: Data, state: Mapping[str, Tensor], context: Context) -> models.Network:
    """A downstream network of these weights, those of its head too."""
    network = build(architecture, data, data.classes, seed=0)
    if data.task != "classification":
        new_head(network, data, seed=0)
    models.load_state(network, state)
    return network.to(context.device)


def new_head(network: models.Network, data: Data, *, seed: int) -> None:
    """Give the network a fresh head for the set's task, in place: a linear layer, or one on maps of features."""
    if data.task == "classification":
        models.replace_head(network, data.classes, seed=seed)
    else:
        models.attach_top(network, data.task, data.classes, resolution=data.resolution, seed=seed)


def objective(recipe: Recipe, task: str = "classification") -> Loss:
    """The loss of the set's task, or the one that the recipe asks for: noise, an attack, TRADES, contrast."""
    name = "smoothing" if recipe.sigma else "standard"
    if task != "classification":
        name = task
    if recipe.attack is not None:
        name = "trades" if recipe.trades_beta else "adversarial"
    if recipe.contrast is not None:
        name = "moco" if recipe.contrast.queue else "simclr"
    loss: Loss = load(LOSSES[name].module).loss
    return loss


def validators(split: Split, recipe: Recipe, seed: int, task: str = "classification") -> Validate:
    """Numbers on a split in [0, 1] by their name in the history: what measures the task.

    Of classification that is the accuracy, clean and under the recipe's validation attack.
    """
    if task != "classification":
        metric = load(METRICS[task].module)
        first = next(iter(METRICS[task].reports))
        return {
            f"validation_{first}": lambda network: metric.evaluate(
                network, Conditions(batches=lambda: split.batches(0))
            ).metrics[first]
        }

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
