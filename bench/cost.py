"""What a stage costs, estimated from its parameters alone: epochs, images, operations, bytes. Imports no torch."""

from __future__ import annotations

from bench.catalog import ARCHITECTURES, METRICS, described
from bench.spec import EvaluateParameters, PruneParameters, Stage, TransferParameters


def epochs(stage: Stage) -> int:
    """Training epochs of a stage."""
    recipe = getattr(stage.parameters, "recipe", None)
    if recipe is None:
        return 0
    # The point that early rewinding returns to is trained so far and no farther.
    point = stage.parameters.epoch if isinstance(stage.parameters, PruneParameters) else None
    return recipe.epochs if point is None else point


def images(stage: Stage) -> tuple[float, float]:
    """(images trained on, forward-and-backward passes per image) of a stage, for estimates."""
    parameters = stage.parameters
    if isinstance(parameters, EvaluateParameters):
        metric, attack = METRICS[parameters.metric.name], parameters.attack
        test = described(parameters.data.dataset).test
        # What is measured by more than one attack says so itself.
        steps = attack.steps * attack.restarts if attack is not None and metric.passes < 1 else metric.passes
        return min(test, parameters.examples or test), steps
    recipe = parameters.recipe
    if recipe is None or parameters.data is None:
        return 0, 0
    entry = described(parameters.data.dataset)
    count = (entry.train - parameters.data.validation) * parameters.data.fraction
    if recipe.epoch_steps is not None:
        count = min(count, recipe.epoch_steps * recipe.batch_size)
    count *= epochs(stage)
    attack_steps: float = recipe.attack.steps if recipe.attack else 0
    if recipe.trades_beta:
        attack_steps += 4 / 3  # clean predictions to attack, and clean images to train on
    if recipe.contrast is not None:
        # Two views; a momentum encoder reads one of them, forward only.
        return count, 4 / 3 if recipe.contrast.queue else 2
    if not (isinstance(parameters, TransferParameters) and parameters.transfer == "linear"):
        return count, attack_steps + 1
    # Frozen features need no backward pass; without augmentation and attack they are computed once.
    once = not recipe.augmentation and not attack_steps and not recipe.sigma
    return count, attack_steps + 1 / (3 * (max(recipe.epochs, 1) if once else 1))


def tera_operations(stage: Stage) -> float:
    """Estimated 1e12 multiply-adds x 2 of a stage; a backward pass costs two forward passes."""
    count, passes = images(stage)
    if not count:
        return 0.0
    parameters = stage.parameters
    entry = ARCHITECTURES[parameters.architecture.name]
    assert parameters.data is not None
    power = 2 if entry.reads == "images" else 1
    stem = entry.cifar_factor if dict(parameters.architecture.options).get("stem") == "cifar" else 1
    scale = (parameters.data.resolution / entry.flops_resolution) ** power * stem
    return count * passes * 3 * 2 * entry.gflops * scale / 1e3


def disk_bytes(stage: Stage) -> float:
    """Estimated size of a stage's artifact."""
    weights = ARCHITECTURES[stage.parameters.architecture.name].parameters_m * 1e6
    if stage.kind == "pretrain":
        return weights * 4
    if stage.kind == "prune":
        return weights / 8
    if isinstance(stage.parameters, TransferParameters):
        return weights * 4 * len(stage.parameters.recipe.select)
    assert isinstance(stage.parameters, EvaluateParameters)
    return 4096 + described(stage.parameters.data.dataset).test * 5
