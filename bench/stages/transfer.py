"""Transfer of a ticket: pre-trained weights and mask, a new head, finetuned or with frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench import masks as masking
from bench import models
from bench.data import Split, draws
from bench.masks import Masks
from bench.recipe import ROBUST
from bench.spec import Recipe, TransferParameters
from bench.stages import networks, weights
from bench.stages.context import Context, plain_split
from bench.stages.fit import fit
from bench.store import Artifact
from bench.training.loop import Trained, train
from bench.training.seeding import derive


def run(parameters: TransferParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """sparse.safetensors (and the mask): the transferred network; ticket.json, history.json.

    sparse-<selection>.safetensors for every further selection of the recipe.
    """
    network = starting_network(parameters, inputs, context)
    masks: Masks = {}
    summary: dict[str, Any] = {"kept": None, "prunable": None, "sparsity": 0.0}
    if "ticket" in inputs:
        masks = weights.load_masks(inputs["ticket"])
        summary = inputs["ticket"].json(weights.TICKET)
        masking.apply_(network, masks)
    adapt = finetune if parameters.transfer == "finetune" else linear
    trained = adapt(parameters, network, masks, context)
    weights.save_summary(folder, "history.json", trained.history)
    summary |= weights.cost_summary(network, masks, parameters.data.resolution)
    weights.save_summary(folder, weights.TICKET, summary)
    weights.save_sparse(folder, models.state(network), masks)
    for selection, state in trained.others.items():
        # Last: the network is no longer needed as it was.
        network.load_state_dict(state)
        weights.save_sparse(folder, models.state(network), masks, selection)


def starting_network(
    parameters: TransferParameters, inputs: Mapping[str, Artifact], context: Context
) -> models.Network:
    """The network before its training, with a new head: pre-trained, or as the ticket says."""
    data, source = parameters.data, parameters.source_classes
    state = weights.load_weights(inputs["pretrain"])
    for role in ("start", "ticket"):
        if role in inputs and weights.START in inputs[role].manifest["files"]:
            # Its head may be of another task; the new one replaces it anyway.
            heads = (f"{models.head_name(parameters.architecture)}.", models.TOP)
            started = weights.load_weights(inputs[role], weights.START)
            if inputs[role].manifest["stage"]["parameters"]["control"] == "reinitialised":
                # Where no weight is pre-trained there is no head to keep.
                state = {name: value for name, value in state.items() if not name.startswith(models.TOP)}
            state |= {name: value for name, value in started.items() if not name.startswith(heads)}
            break
    network = networks.downstream(parameters.architecture, data, source, state, parameters.seed, context)
    if "start" in inputs and weights.START not in inputs["start"].manifest["files"]:
        # Of a search that rewinds the prunable weights alone all else goes on, the head too: found on this very set.
        models.load_state(network, {**models.state(network), **weights.load_weights(inputs["start"], weights.CARRIED)})
    return network


def finetune(parameters: TransferParameters, network: models.Network, masks: Masks, context: Context) -> Trained:
    """Train every kept weight and the head."""
    data, recipe, seed = parameters.data, parameters.recipe, derive(parameters.seed, "transfer")
    return fit(network, data, recipe, seed=seed, context=context, masks=masks or None)


def linear(parameters: TransferParameters, network: models.Network, masks: Masks, context: Context) -> Trained:
    """Train the head on frozen features (statistics of normalisation layers frozen too).

    Where images reach the network as they are, their features never change: they are computed once and the head
    trains on them, which is exact.
    """
    data, recipe, seed = parameters.data, parameters.recipe, derive(parameters.seed, "transfer")
    network.requires_grad_(False)
    head = models.head(network).requires_grad_(True)
    network.eval()
    if recipe.augmentation or recipe.attack is not None or recipe.sigma or ROBUST in recipe.select:
        trained = list(head.parameters())
        return fit(network, data, recipe, seed=seed, context=context, parameters=trained, frozen=True)
    batch = max(recipe.batch_size, 256)
    train_features = features(network, plain_split(data, "train", batch, context), recipe)
    held_out = features(network, plain_split(data, "validation", batch, context), recipe)
    batches = FeatureBatches(
        *train_features,
        batch_size=recipe.batch_size,
        drop_last=recipe.drop_last,
        seed=seed,
        rank=context.run.rank,
        world_size=context.run.world_size,
    )
    trained_head = train(
        head,
        batches,
        recipe,
        loss=networks.objective(recipe),
        seed=seed,
        run=context.run,
        validate={"validation_accuracy": feature_validator(*held_out)},
        frozen=True,
    )
    return trained_head._replace(others=whole_states(network, trained_head.others))


def whole_states(network: models.Network, heads: Mapping[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """States of the network with each of these heads."""
    names = models.head_parameters(network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return {
        selection: state | {f"body.{name}": head[name.rpartition(".")[2]] for name in names}
        for selection, head in heads.items()
    }


class FeatureBatch(NamedTuple):
    """A batch of frozen features; `images` is what the head reads, (n, d) float32."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor


@torch.no_grad()
def features(network: models.Network, split: Split, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Features (n, d) float32 and labels (n,) of a split, on the device, in the split's order.

    Computed in the recipe's precision, as every batch of a training would be.
    """
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    values, labels = [], []
    for batch in split.batches(0):
        with torch.autocast(batch.inputs.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            values.append(network.features(batch.inputs).float())
        labels.append(batch.labels)
    return torch.cat(values), torch.cat(labels)


@dataclass(frozen=True, slots=True)
class FeatureBatches:
    """Batches of features, of the same examples in the same order as the training split with this seed has.

    Of texts, which the split sorts by length, the order is that before.
    """

    values: Tensor
    labels: Tensor
    batch_size: int
    drop_last: bool
    seed: int
    rank: int = 0
    world_size: int = 1

    @property
    def n_examples(self) -> int:
        return len(self.labels)

    @property
    def steps_per_epoch(self) -> int:
        return draws.steps(self.n_examples, self.batch_size, self.drop_last)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[FeatureBatch]:
        visited = draws.order(self.n_examples, seed=self.seed, epoch=epoch, shuffle=True)
        for step in range(start_step, self.steps_per_epoch):
            chosen = torch.from_numpy(
                draws.share(visited, step, batch_size=self.batch_size, rank=self.rank, world_size=self.world_size)
            )
            on_device = chosen.to(self.values.device)
            yield FeatureBatch(self.values[on_device], self.labels[on_device], chosen)


def feature_validator(values: Tensor, labels: Tensor) -> Callable[[nn.Module], float]:
    """Top-1 accuracy of a head on held-out features."""

    def validate(head: nn.Module) -> float:
        with torch.no_grad():
            return float((head(values).argmax(1) == labels).double().mean())

    return validate
