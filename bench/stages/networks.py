"""Networks as stages need them: pre-trained, with the downstream head, with a ticket's mask, validated."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bench import catalog, models
from bench.data import Split
from bench.metrics import robust
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
    """The network with the pre-trained weights; its head is the source's, where that is not one on maps of features."""
    network = build(architecture, data, classes, seed=0)
    if data is not None and catalog.TASKS[data.task].top:
        new_head(network, data, seed=0)
    # Of two heads of other kinds neither fits the other's network; all else fits, or is the wrong weights.
    kinds_differ = network.top is not None or any(name.startswith(models.TOP) for name in state)
    models.load_state(network, state, allow_head_mismatch=kinds_differ)
    return network.to(context.device)


def downstream(
    architecture: Word, data: Data, source_classes: int, state: Mapping[str, Tensor], seed: int, context: Context
) -> models.Network:
    """The pre-trained network with a new random head for the downstream task, drawn from the seed.

    So is a stem that the pre-trained network has in another form. The pre-trained head stays where the task keeps it.
    """
    network = build(architecture, data, source_classes, seed=derive(seed, "stem"))
    models.load_state(network, state, allow_head_mismatch=True)
    new_head(network, data, seed=derive(seed, "head"))
    if catalog.TASKS[data.task].keeps_head:
        models.load_state(network, state, allow_head_mismatch=True)
    return network.to(context.device)


def transferred(architecture: Word, data: Data, state: Mapping[str, Tensor], context: Context) -> models.Network:
    """A downstream network of these weights, those of its head too."""
    network = build(architecture, data, data.classes, seed=0)
    if catalog.TASKS[data.task].top:
        new_head(network, data, seed=0)
    models.load_state(network, state)
    return network.to(context.device)


def new_head(network: models.Network, data: Data, *, seed: int) -> None:
    """Give the network a fresh head for the set's task, in place."""
    models.new_head(network, data.task, data.classes, resolution=data.resolution, seed=seed)


def objective(recipe: Recipe, task: str = "classification") -> Loss:
    """The loss of the set's task, or the one that the recipe asks for: noise, an attack, TRADES, contrast."""
    name = catalog.TASKS[task].loss or ("smoothing" if recipe.sigma else "standard")
    if recipe.attack is not None:
        name = "trades" if recipe.trades_beta else "adversarial"
    if recipe.contrast is not None:
        name = "moco" if recipe.contrast.queue else "simclr"
    loss: Loss = catalog.load(catalog.LOSSES[name].module).loss
    return loss


def validators(split: Split, recipe: Recipe, seed: int, data: Data) -> Validate:
    """Numbers on a split by their name in the history: what the set is judged by, first.

    Of images to classify, their accuracy under the recipe's validation attack too.
    """
    task = catalog.TASKS[data.task]
    metric = catalog.load(catalog.METRICS[task.metric].module)
    first = next(iter(catalog.reports(Word(task.metric), data.dataset)))

    def clean(network: nn.Module) -> float:
        found = metric.evaluate(network, Conditions(batches=lambda: split.batches(0)))
        return float(found.metrics[first])

    def attacked(network: nn.Module) -> float:
        # The same starts after every epoch, and no second attack by margin: epochs are compared, not certified.
        conditions = Conditions(
            batches=lambda: split.batches(0),
            attack=recipe.validation_attack,
            seed=derive(seed, "validation"),
            options={"margin": False},
        )
        return robust.evaluate(network, conditions).metrics["pgd_accuracy"]

    return {f"validation_{first}": clean, "robust_validation_accuracy": attacked}
