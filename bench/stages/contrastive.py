"""Contrastive training in stages: the encoder with its projection and queue, and what rounds of pruning hand on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from bench import models
from bench.data import Split
from bench.metrics import probes
from bench.models.contrastive import Contrastive
from bench.spec import Data, Recipe
from bench.stages import weights
from bench.store import Artifact
from bench.training.loop import Trained, Validate
from bench.training.seeding import derive

PROJECTION = "projection.safetensors"
# What a round hands on to the next by the recipe's `carry`.
TRAINING = "carried_training.safetensors"
QUEUE = ("queue", "queue_at")


def seen(data: Data | None, recipe: Recipe | None) -> Data | None:
    """The set whose statistics normalise what a network of this recipe sees; None: it sees pixels as they are."""
    return None if recipe is not None and recipe.contrast is not None and not recipe.contrast.normalise else data


def begin(
    encoder: models.Network, recipe: Recipe, inputs: Mapping[str, Artifact], *, seed: int
) -> models.Network | Contrastive:
    """What a round trains: the encoder itself or, by contrast, with a projection, a queue and a copy for its keys.

    The projection is that of the pre-training; where that has none, the one that the round before ended with. The
    queue goes on from that round where the recipe carries it. Without these both are drawn from the seed.
    """
    if recipe.contrast is None:
        return encoder
    network = Contrastive(encoder, recipe.contrast, seed=derive(seed, "contrast"))
    source = next((inputs[role] for role in ("pretrain", "previous") if has(inputs.get(role), PROJECTION)), None)
    if source is not None:
        network.load_projection(weights.load_weights(source, PROJECTION))
    if "queue" in recipe.carry and recipe.contrast.queue and has(inputs.get("previous"), TRAINING):
        carried = weights.load_weights(inputs["previous"], TRAINING)
        network.load_state_dict({**network.state_dict(), **{name: carried[name] for name in QUEUE}})
    return network


def optimizer_state(recipe: Recipe, inputs: Mapping[str, Artifact]) -> dict[str, Any] | None:
    """What the optimiser of the round before had gathered, where the recipe carries it and there is such a round."""
    if "optimizer" not in recipe.carry or not has(inputs.get("previous"), TRAINING):
        return None
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in weights.load_weights(inputs["previous"], TRAINING).items():
        if name.startswith("optimizer."):
            _, index, part = name.split(".", 2)
            state.setdefault(int(index), {})[part] = value
    return {"state": state}


def hand_on(network: nn.Module, trained: Trained, recipe: Recipe, inputs: Mapping[str, Artifact], folder: Path) -> None:
    """Write what the next round begins with, beside its encoder: projection.safetensors where the pre-training has
    none, carried_training.safetensors where the recipe carries something.
    """
    carried: dict[str, Tensor] = {}
    if isinstance(network, Contrastive):
        if not has(inputs["pretrain"], PROJECTION):
            save_projection(network, folder)
        if "queue" in recipe.carry:
            carried |= {name: value for name, value in network.state_dict().items() if name in QUEUE}
    if "optimizer" in recipe.carry:
        for index, gathered in trained.optimizer["state"].items():
            for part, value in gathered.items():
                if isinstance(value, Tensor):
                    carried[f"optimizer.{index}.{part}"] = value
    if carried:
        weights.save_weights(folder, carried, TRAINING)


def save_projection(network: Contrastive, folder: Path) -> None:
    weights.save_weights(folder, network.projection.state_dict(), PROJECTION)


def has(artifact: Artifact | None, name: str) -> bool:
    """Is there such an artifact, with a file of this name?"""
    return artifact is not None and name in artifact.manifest["files"]


def validators(train: Split, held_out: Split) -> Validate:
    """Accuracies on a split of what labels can be read off the encoder's features, by their name in the history."""

    def probe(measure: Callable[[Tensor, Tensor, Tensor, Tensor], float]) -> Callable[[nn.Module], float]:
        def validate(network: nn.Module) -> float:
            encoder = cast(Contrastive, network).encoder
            return measure(*probes.features(encoder, train.batches(0)), *probes.features(encoder, held_out.batches(0)))

        return validate

    return {"knn_accuracy": probe(probes.knn_accuracy), "linear_accuracy": probe(probes.linear_accuracy)}
