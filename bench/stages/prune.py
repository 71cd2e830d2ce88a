"""Tickets: a mask over the prunable weights, in one shot, one round of iterative pruning, learnt, or from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from bench import granularity, models
from bench import masks as masking
from bench.catalog import PRUNERS, load
from bench.data import Batch
from bench.masks import Masks, Scores
from bench.models import tickets
from bench.pruners import lmp
from bench.pruners.conditions import Conditions
from bench.spec import PruneParameters
from bench.stages import contrastive, controls, networks, weights
from bench.stages.context import Context, plain_split
from bench.stages.fit import fit
from bench.stages.pretrain import check_digest
from bench.store import Artifact
from bench.training.seeding import derive

# Scores of a few examples are sums over batches of at most this size.
SCORE_BATCH = 128


def run(parameters: PruneParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """mask.safetensors and ticket.json; history.json where something trained.

    start.safetensors: the weights that the ticket starts from, where they are not the pre-trained ones;
    carried.safetensors: what later rounds do not rewind.
    """
    if parameters.control is not None:
        controls.run(parameters, inputs, folder, context)
        return
    network = starting_network(parameters, inputs, context)
    names = models.prunable(network, parameters.prunable)
    masks = masking.ones(network, names)
    if "previous" in inputs:
        masks = weights.load_masks(inputs["previous"])
        if weights.CARRIED in inputs["previous"].manifest["files"]:
            models.load_state(
                network, {**models.state(network), **weights.load_weights(inputs["previous"], weights.CARRIED)}
            )
    if parameters.epoch is not None:
        train_round(parameters, inputs, network, masks, folder, context)
        ticket = masks
        weights.save_weights(folder, models.state(network), weights.START)
    elif parameters.path is not None:
        ticket = published(parameters, names)
    else:
        ticket = found(parameters, inputs, network, masks, folder, context)
        carry(parameters, network, folder)
    weights.save_masks(folder, ticket)
    weights.save_summary(folder, weights.TICKET, weights.ticket_summary(ticket))


def starting_network(parameters: PruneParameters, inputs: Mapping[str, Artifact], context: Context) -> models.Network:
    """The network rewound to its pre-trained weights, or to those of a few epochs later.

    Downstream it has the seed's head, the same in every round.
    """
    data, classes = contrastive.seen(parameters.data, parameters.recipe), parameters.source_classes
    downstream = data is not None and dict(parameters.pruner.options).get("on") == "downstream"
    if "rewind" in inputs:
        state = weights.load_weights(inputs["rewind"], weights.START)
        if downstream and data is not None:
            return networks.transferred(parameters.architecture, data, state, context)
        return networks.pretrained(parameters.architecture, data, classes, state, context)
    state = weights.load_weights(inputs["pretrain"])
    if downstream and data is not None:
        return networks.downstream(parameters.architecture, data, classes, state, parameters.seed or 0, context)
    return networks.pretrained(parameters.architecture, data, classes, state, context)


def found(
    parameters: PruneParameters,
    inputs: Mapping[str, Artifact],
    network: models.Network,
    masks: Masks,
    folder: Path,
    context: Context,
) -> Masks:
    """The mask that the pruner finds within `masks`, after a round of training where there is one."""
    entry, options = PRUNERS[parameters.pruner.name], dict(parameters.pruner.options)
    keep = keep_count(parameters, sum(mask.numel() for mask in masks.values()))
    allocation = str(options["allocation"])
    if entry.trains_scores:
        scores = train_scores(parameters, network, tuple(masks), keep, allocation, folder, context)
    else:
        if parameters.recipe is not None:
            train_round(parameters, inputs, network, masks, folder, context)
        conditions = Conditions(
            batches=score_batches(parameters, context),
            seed=derive(parameters.seed or 0, "scores"),
            options=options,
            keep=keep,
            select=granularity.selector(parameters.granularity, allocation=allocation, within=masks),
            resolution=parameters.resolution or (parameters.data.resolution if parameters.data else 0),
        )
        scores = load(entry.module or "").scores(network, tuple(masks), conditions)
    return granularity.keep_top(
        scores,
        keep,
        granularity=parameters.granularity,
        allocation=allocation,
        within=masks,
        combine="first" if entry.random else "mean",
    )


def keep_count(parameters: PruneParameters, total: int) -> int:
    """Weights kept: by the round of the ladder, so that one-shot and iterative tickets keep equally many."""
    if parameters.ladder is not None and parameters.round is not None:
        return parameters.ladder.kept(total, parameters.round)
    return total - round(parameters.sparsity * total)


def score_batches(parameters: PruneParameters, context: Context) -> list[Batch]:
    """The examples that scores are computed on, drawn by the seed: by class where the word does not say how many."""
    entry, data = PRUNERS[parameters.pruner.name], parameters.data
    if not entry.reads_data or data is None:
        return []
    asked = dict(parameters.pruner.options)["examples"]
    count = int(asked) if asked is not None else 10 * data.classes
    # Batches of about one size: batch normalisation cannot compute with a last one of a single example.
    size = math.ceil(count / math.ceil(count / SCORE_BATCH))
    seed = derive(parameters.seed or 0, "examples")
    return list(plain_split(data, "train", size, context, examples=count, seed=seed).batches(0))


def train_round(
    parameters: PruneParameters,
    inputs: Mapping[str, Artifact],
    network: models.Network,
    masks: Masks,
    folder: Path,
    context: Context,
) -> None:
    """Train the masked network for one round; the mask of the next comes from the weights at its end."""
    data, recipe = parameters.data, parameters.recipe
    assert data is not None
    assert recipe is not None
    # Every round has its own data order; only what the protocol names is the same in each.
    seed = derive(parameters.seed or 0, "round", parameters.round or 0)
    masking.apply_(network, masks)
    learner = contrastive.begin(network, recipe, inputs, seed=seed)
    trained = fit(
        learner,
        data,
        recipe,
        seed=seed,
        context=context,
        masks=masks,
        epochs=parameters.epoch,
        optimizer_state=contrastive.optimizer_state(recipe, inputs),
    )
    weights.save_summary(folder, "history.json", trained.history)
    contrastive.hand_on(learner, trained, recipe, inputs, folder)


def train_scores(
    parameters: PruneParameters,
    network: models.Network,
    names: tuple[str, ...],
    keep: int,
    allocation: str,
    folder: Path,
    context: Context,
) -> Scores:
    """Scores trained on frozen weights, together with the head: a new task's head has learnt nothing yet."""
    data, recipe, seed = parameters.data, parameters.recipe, parameters.seed or 0
    assert data is not None
    assert recipe is not None
    network.requires_grad_(False)
    trained = lmp.attach(
        network,
        names,
        keep=keep,
        granularity=parameters.granularity,
        allocation=allocation,
        seed=derive(seed, "scores"),
    )
    head = list(models.head(network).requires_grad_(True).parameters())
    fitted = fit(
        network, data, recipe, seed=derive(seed, "training of scores"), context=context, parameters=[*trained, *head]
    )
    weights.save_summary(folder, "history.json", fitted.history)
    return lmp.detach(network)


def published(parameters: PruneParameters, names: tuple[str, ...]) -> Masks:
    """The mask of a file. Raises ModelError where it is not as sparse as the cell says."""
    path = Path(str(parameters.path))
    check_digest(path, parameters.digest)
    options = dict(parameters.pruner.options)
    read = tickets.read_ticket(
        path,
        architecture=parameters.architecture,
        names=names,
        format=str(options["format"]),
        unpickle=bool(options["unpickle"]),
    )
    sparsity = masking.sparsity(read.masks)
    if abs(sparsity - parameters.sparsity) > 0.005:
        raise models.ModelError(
            f"{path} holds a mask of sparsity {sparsity:.4f}, the cell asks for {parameters.sparsity:.4f}: "
            "give the file of that round ({round} in the path stands for it), or that sparsity"
        )
    return read.masks


def carry(parameters: PruneParameters, network: models.Network, folder: Path) -> None:
    """Keep what the next round does not rewind; where that is everything, tickets start from it too."""
    if parameters.recipe is None or PRUNERS[parameters.pruner.name].trains_scores:
        return
    state = models.state(network)
    prunable = models.prunable(network, parameters.prunable)
    carried = {name: value for name, value in state.items() if not rewound(network, name, parameters.rewind, prunable)}
    if carried:
        weights.save_weights(folder, carried, weights.CARRIED)
    if len(carried) == len(state):
        weights.save_weights(folder, state, weights.START)


def rewound(network: models.Network, name: str, rewind: tuple[str, ...], prunable: tuple[str, ...]) -> bool:
    """Does this tensor return to its earlier value before the next round?"""
    if "prunable" in rewind:
        return name in prunable
    if name in models.head_parameters(network):
        return "head" in rewind
    return ("batchnorm" if models.is_normalisation(network, name) else "weights") in rewind
