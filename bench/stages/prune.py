"""Tickets: a mask over the prunable weights, in one shot or one round of iterative magnitude pruning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bench import granularity, models
from bench import masks as masking
from bench.catalog import PRUNERS, load
from bench.masks import Masks
from bench.spec import PruneParameters
from bench.stages import networks, weights
from bench.stages.context import Context
from bench.stages.fit import fit
from bench.store import Artifact
from bench.training.seeding import derive

CARRIED = "carried.safetensors"


def run(parameters: PruneParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """mask.safetensors and ticket.json; history.json where a round trained; carried.safetensors what is not rewound."""
    state = weights.load_weights(inputs["pretrain"])
    network = starting_network(parameters, state, context)
    names = models.prunable(network, parameters.prunable)
    masks = masking.ones(network, names)
    if "previous" in inputs:
        masks = weights.load_masks(inputs["previous"])
        if CARRIED in inputs["previous"].manifest["files"]:
            models.load_state(network, {**models.state(network), **weights.load_weights(inputs["previous"], CARRIED)})
    if parameters.recipe is not None:
        train_round(parameters, network, masks, folder, context)
    scores = load(PRUNERS[parameters.pruner.name].module or "").scores(
        network, names, (), seed=derive(parameters.seed or 0, "scores")
    )
    total = sum(mask.numel() for mask in masks.values())
    ticket = granularity.keep_top(
        scores, keep_count(parameters, total), granularity=parameters.granularity, within=masks
    )
    weights.save_masks(folder, ticket)
    weights.save_summary(folder, weights.TICKET, weights.ticket_summary(ticket))
    carried = {
        name: value for name, value in models.state(network).items() if not rewound(network, name, parameters.rewind)
    }
    if parameters.recipe is not None and carried:
        weights.save_weights(folder, carried, CARRIED)


def keep_count(parameters: PruneParameters, total: int) -> int:
    """Weights kept: by the round of the ladder, so that one-shot and iterative tickets keep equally many."""
    if parameters.ladder is not None and parameters.round is not None:
        return parameters.ladder.kept(total, parameters.round)
    return total - round(parameters.sparsity * total)


def starting_network(parameters: PruneParameters, state: Mapping[str, Tensor], context: Context) -> models.Network:
    """The network rewound to its pre-trained weights; downstream with the seed's head, the same every round."""
    data, classes = parameters.data, parameters.source_classes
    if data is not None and dict(parameters.pruner.options).get("on") == "downstream":
        return networks.downstream(parameters.architecture, data, classes, state, parameters.seed or 0, context)
    return networks.pretrained(parameters.architecture, data, classes, state, context)


def train_round(
    parameters: PruneParameters, network: models.Network, masks: Masks, folder: Path, context: Context
) -> None:
    """Train the masked network for one round; the mask of the next comes from the weights at its end."""
    data, recipe = parameters.data, parameters.recipe
    assert data is not None
    assert recipe is not None
    # Every round has its own data order; only what the protocol names is the same in each.
    seed = derive(parameters.seed or 0, "round", parameters.round or 0)
    masking.apply_(network, masks)
    history = fit(network, data, recipe, seed=seed, context=context, masks=masks)
    weights.save_summary(folder, "history.json", history)


def rewound(network: models.Network, name: str, rewind: tuple[str, ...]) -> bool:
    """Does this tensor return to its pre-trained value before the next round?"""
    if name in models.head_parameters(network):
        return "head" in rewind
    return ("batchnorm" if models.is_normalisation(network, name) else "weights") in rewind
