"""Controls of a ticket: its mask on other weights, or the weights that it prunes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import controls, models
from bench.spec import PruneParameters
from bench.stages import networks, weights
from bench.stages.context import Context
from bench.store import Artifact
from bench.training.seeding import derive


def run(parameters: PruneParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """mask.safetensors and ticket.json, and start.safetensors where the control has weights of its own.

    reinitialised: a fresh random initialisation; shuffled: the starting weights permuted within each prunable layer;
    permuted_layers: the prunable weights of whole blocks exchanged; reversed: the complement of the mask on the same
    weights.
    """
    mask = weights.load_masks(inputs["ticket"])
    if parameters.control == "reversed":
        mask = controls.reversed_masks(mask)
    elif parameters.control == "shuffled":
        state = weights.load_start(inputs)
        shuffled = controls.shuffled(state, tuple(mask), seed=derive(parameters.seed or 0, "shuffled"))
        weights.save_weights(folder, shuffled, weights.START)
    elif parameters.control == "permuted_layers":
        state, seed = weights.load_start(inputs), derive(parameters.seed or 0, "permuted layers")
        blocks = models.outline(parameters.architecture, classes=2).blocks
        weights.save_weights(folder, controls.permuted_layers(state, tuple(mask), blocks, seed=seed), weights.START)
    else:
        seed = derive(parameters.seed or 0, "reinitialised")
        network = networks.build(parameters.architecture, None, parameters.source_classes, seed=seed)
        weights.save_weights(folder, models.state(network), weights.START)
    weights.save_masks(folder, mask)
    weights.save_summary(folder, weights.TICKET, weights.ticket_summary(mask))
