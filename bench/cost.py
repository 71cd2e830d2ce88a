"""What a stage costs, estimated from its parameters alone: epochs, images, operations, bytes. Imports no torch."""

from __future__ import annotations

from bench.catalog import ARCHITECTURES, DATASETS
from bench.spec import EvaluateParameters, Stage, TransferParameters


def epochs(stage: Stage) -> int:
    """Training epochs of a stage."""
    recipe = getattr(stage.parameters, "recipe", None)
    return recipe.epochs if recipe is not None else 0


def images(stage: Stage) -> tuple[float, float]:
    """(images trained on, forward-and-backward passes per image) of a stage, for estimates."""
    parameters = stage.parameters
    if isinstance(parameters, EvaluateParameters):
        entry, attack = DATASETS[parameters.data.dataset.name], parameters.attack
        return entry.test, (1 / 3 if attack is None else attack.steps * attack.restarts)
    recipe = parameters.recipe
    if recipe is None or parameters.data is None:
        return 0, 0
    entry = DATASETS[parameters.data.dataset.name]
    count = (entry.train - entry.validation) * parameters.data.fraction * recipe.epochs
    attack_steps = recipe.attack.steps if recipe.attack else 0
    if not (isinstance(parameters, TransferParameters) and parameters.transfer == "linear"):
        return count, attack_steps + 1
    # Frozen features need no backward pass; without augmentation and attack they are computed once.
    once = not recipe.augmentation and not attack_steps
    return count, attack_steps + 1 / (3 * (max(recipe.epochs, 1) if once else 1))


def tera_operations(stage: Stage) -> float:
    """Estimated 1e12 multiply-adds x 2 of a stage; a backward pass costs two forward passes."""
    count, passes = images(stage)
    if not count:
        return 0.0
    parameters = stage.parameters
    entry = ARCHITECTURES[parameters.architecture.name]
    assert parameters.data is not None
    stem = entry.cifar_factor if dict(parameters.architecture.options).get("stem") == "cifar" else 1
    scale = (parameters.data.resolution / entry.flops_resolution) ** 2 * stem
    return count * passes * 3 * 2 * entry.gflops * scale / 1e3


def disk_bytes(stage: Stage) -> float:
    """Estimated size of a stage's artifact."""
    weights = ARCHITECTURES[stage.parameters.architecture.name].parameters_m * 1e6
    if stage.kind == "pretrain":
        return weights * 4
    if stage.kind == "prune":
        return weights / 8
    if stage.kind == "transfer":
        return weights * 4
    return 4096 + DATASETS[stage.parameters.data.dataset.name].test * 5  # type: ignore[union-attr]
