"""Train a network by a recipe: exact resume, masks held, selection on the validation split only."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bench.masks import Holder, Masks
from bench.models import Network
from bench.spec import Recipe
from bench.training import checkpoint, distributed
from bench.training.seeding import derive, seed_step

Loss = Callable[..., tuple[Tensor, Tensor]]


class Interrupted(Exception):
    """The stage was asked to stop; its checkpoint is written and it goes on from there."""


class Diverged(ValueError):
    """The training loss is no longer a finite number."""


class Batches(Protocol):
    """What the loop reads: a data split, or features computed from one."""

    @property
    def n_examples(self) -> int: ...

    @property
    def steps_per_epoch(self) -> int: ...

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Any]: ...


@dataclass(kw_only=True, slots=True)
class Run:
    """Where a training runs: its scratch folder, when to stop, whom to tell, and its share of the processes."""

    scratch: Path
    device: str = "cpu"
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[Mapping[str, Any]], None] = lambda _: None
    checkpoint_s: float = 60.0
    rank: int = 0
    world_size: int = 1


@dataclass(kw_only=True, slots=True)
class State:
    """Everything that a checkpoint holds beside the network and the optimiser."""

    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_value: float = -math.inf
    best_epoch: int = -1
    best_network: dict[str, Tensor] | None = None


def train(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    loss: Loss,
    seed: int,
    run: Run,
    parameters: Sequence[nn.Parameter] | None = None,
    masks: Masks | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    frozen: bool = False,
) -> list[dict[str, float]]:
    """Train in place and return the history, one record per epoch (loss, learning rate, validation accuracy).

    Batch order, augmentation, attack noise and dropout are functions of (seed, epoch or step), so a run resumed from
    its checkpoint ends bit-identical to one that was never interrupted. `parameters` are trained (default: all);
    `frozen` keeps the network in eval mode throughout (normalisation statistics do not move). Pruned weights stay
    zero. With recipe.select = "best_validation" the network ends as it was after its best epoch.
    Raises Interrupted after writing a checkpoint when run.stop() turns true, Diverged on a non-finite loss.
    """
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    trained = list(network.parameters()) if parameters is None else list(parameters)
    optimizer = make_optimizer(trained, recipe)
    state = restore(network, optimizer, run)
    holder = Holder(cast(Network, network), masks) if masks is not None else None
    if holder is not None:
        holder.apply_()
    wrapped = distributed.wrap(network, run.world_size)
    per_epoch, total = batches.steps_per_epoch, batches.steps_per_epoch * recipe.epochs
    if recipe.epochs and not per_epoch:
        raise ValueError(
            f"{batches.n_examples} examples make no batch of {recipe.batch_size} with drop_last; lower batch_size"
        )
    saved_at = time.monotonic()
    while state.step < total:
        epoch, first = divmod(state.step, per_epoch)
        network.train(not frozen)
        # A float64 sum carried through the checkpoint: the same additions in the same order, interrupted or not.
        losses = torch.tensor(state.loss_sum, dtype=torch.float64, device=run.device)
        for batch in batches.batches(epoch, first):
            set_lr(optimizer, recipe, state.step, per_epoch)
            losses += one_step(wrapped, batch, recipe, optimizer, loss=loss, seed=seed, step=state.step)
            if holder is not None:
                holder.apply_()
            state.step += 1
            if state.step % per_epoch:
                saved_at = pause(network, optimizer, state, run, losses=losses, saved_at=saved_at)
        state.loss_sum = losses.item()
        end_epoch(network, optimizer, state, recipe, per_epoch=per_epoch, validate=validate)
        if state.step < total:
            saved_at = pause(network, optimizer, state, run, losses=None, saved_at=saved_at)
        run.progress({**state.history[-1], "epoch": epoch + 1, "epochs": recipe.epochs})
    if recipe.select == "best_validation" and state.best_network is not None:
        network.load_state_dict(state.best_network)
    network.eval()
    return state.history


def pause(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    run: Run,
    *,
    losses: Tensor | None,
    saved_at: float,
) -> float:
    """Write a checkpoint if one is due or the run is to stop; returns when the last one was written.

    `losses`: the sum of the epoch so far, read from the device only if it is written. Raises Interrupted.
    """
    stopping = distributed.agree(run.stop(), run.world_size, run.device)
    if not stopping and time.monotonic() - saved_at <= run.checkpoint_s:
        return saved_at
    if losses is not None:
        state.loss_sum = losses.item()
    save(network, optimizer, state, run)
    if stopping:
        raise Interrupted
    return time.monotonic()


def one_step(
    network: nn.Module,
    batch: Any,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    *,
    loss: Loss,
    seed: int,
    step: int,
) -> Tensor:
    """One update; returns the detached loss without waiting for the device."""
    seed_step(seed, step)
    images = (
        batch.images.to(memory_format=torch.channels_last)
        if recipe.channels_last and batch.images.dim() == 4
        else batch.images
    )
    with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        value, _ = loss(
            network, images, batch.labels, recipe=recipe, seed=derive(seed, "attack"), step=step, indices=batch.indices
        )
    optimizer.zero_grad(set_to_none=True)
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value.detach()


def end_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    recipe: Recipe,
    *,
    per_epoch: int,
    validate: Callable[[nn.Module], float] | None,
) -> None:
    """Close the epoch's record; validate after every epoch where the recipe selects, else after the last one."""
    epoch = state.step // per_epoch
    record = {"epoch": float(epoch), "loss": state.loss_sum / per_epoch, "lr": float(optimizer.param_groups[0]["lr"])}
    state.loss_sum = 0.0
    if not math.isfinite(record["loss"]):
        raise Diverged(
            f"the training loss became {record['loss']} in epoch {epoch} of {recipe.epochs}; lower the learning rate"
        )
    if validate is not None and (recipe.select == "best_validation" or epoch == recipe.epochs):
        network.eval()
        record["validation_accuracy"] = value = validate(network)
        if recipe.select == "best_validation" and value > state.best_value:
            state.best_value, state.best_epoch = value, epoch
            state.best_network = copy.deepcopy(network.state_dict())
    state.history.append(record)


def make_optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        parameters, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay
    )


def learning_rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Learning rate of a step: linear warm-up per step, then the schedule; cosine and linear end at zero."""
    warmup, total = recipe.warmup_epochs * per_epoch, recipe.epochs * per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(step // per_epoch >= milestone for milestone in recipe.milestones)
    share = (step - warmup) / max(total - warmup, 1)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    return recipe.lr * (1 - share) if recipe.schedule == "linear" else recipe.lr


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, per_epoch: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step, per_epoch)


def save(network: nn.Module, optimizer: torch.optim.Optimizer, state: State, run: Run) -> None:
    """Write the checkpoint; only rank 0 does."""
    if run.rank == 0:
        content = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "threads": torch.get_num_threads(),
        }
        checkpoint.save(run.scratch, content | {name: getattr(state, name) for name in State.__slots__})
    distributed.barrier(run.world_size)


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, run: Run) -> State:
    """The state of the checkpoint, network and optimiser set to it; a fresh state where there is none.

    Sums are rounded in another order with another number of threads: a checkpoint written with one is not used.
    """
    content = checkpoint.load(run.scratch)
    if content is None or content.pop("threads") != torch.get_num_threads():
        return State()
    network.load_state_dict(content.pop("network"))
    optimizer.load_state_dict(content.pop("optimizer"))
    return State(**content)
