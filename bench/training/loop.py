"""Train a network by a recipe: exact resume, masks held, selection on the validation split only."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from bench.masks import Holder, Masks
from bench.models import Network
from bench.recipe import ROBUST
from bench.spec import Recipe
from bench.training import distributed
from bench.training.optimizers import batchnorm_momentum, go_on_from, make_optimizer, set_lr
from bench.training.seeding import derive, seed_step
from bench.training.state import Best, Run, State, restore, save

Loss = Callable[..., tuple[Tensor, Tensor]]
# What a selection compares begins so in the history; of the validators the first such counts.
MEASURES = {"best_validation": "validation_", ROBUST: "robust_validation_"}
# What is measured of features that are trained without labels; it selects nothing.
PROBES = ("knn_accuracy", "linear_accuracy")
Validate = Mapping[str, Callable[[nn.Module], float]]


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


class Trained(NamedTuple):
    """`history`: one record per epoch (loss, learning rate, what was validated).

    `others`: state of the whole network by selection, for every selection of the recipe after the first.
    `optimizer`: its state dict at the end.
    """

    history: list[dict[str, float]]
    others: dict[str, dict[str, Tensor]]
    optimizer: dict[str, Any]


def train(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    loss: Loss,
    seed: int,
    run: Run,
    parameters: Sequence[nn.Parameter] | None = None,
    heads: Sequence[nn.Parameter] = (),
    masks: Masks | None = None,
    validate: Validate | None = None,
    frozen: bool = False,
    epochs: int | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
) -> Trained:
    """Train in place, all epochs of the recipe or only its first `epochs`.

    Batch order, augmentation, attack noise and dropout are functions of (seed, epoch or step), so a run resumed from
    its checkpoint ends bit-identical to one that was never interrupted. `parameters` are trained (default: all), those
    among `heads` with the recipe's head_lr; the optimiser starts afresh, or from the `optimizer_state` of a training of
    the same parameters. `frozen` keeps the network in eval mode throughout (normalisation statistics do not move).
    Pruned weights stay zero. The network ends as the first selection of the recipe says; `validate` measures it by
    the names of MEASURES and PROBES.
    With several processes (`batches` reads this one's share) the numbers are those of one, up to rounding. Raises
    Interrupted in all at once, after writing a checkpoint, when run.stop() turns true, Diverged on a non-finite loss,
    Disconnected where another process ended.
    """
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    trained = list(network.parameters()) if parameters is None else list(parameters)
    optimizer = make_optimizer(trained, recipe, heads)
    if optimizer_state is not None:
        go_on_from(optimizer, optimizer_state)
    state = restore(network, optimizer, run)
    holder = Holder(cast(Network, network), masks) if masks is not None else None
    if holder is not None:
        holder.apply_()
    per_epoch, total = count_steps(batches, recipe)
    if epochs is not None:
        total = min(total, epochs * per_epoch)
    rows, stop = distributed.Rows(run.rank, run.world_size), distributed.Stop(run.stop, run.world_size)
    saved_at = time.monotonic()
    while state.step < total:
        epoch, first = divmod(state.step, per_epoch)
        network.train(not frozen)
        # A float64 sum carried through the checkpoint: the same additions in the same order, interrupted or not.
        losses = torch.tensor(state.loss_sum, dtype=torch.float64, device=run.device)
        with batchnorm_momentum(network, recipe.batchnorm_momentum), shared_layers(network, rows):
            left = itertools.islice(batches.batches(epoch, first), per_epoch - first)
            for step, batch in enumerate(left, start=first):
                set_lr(optimizer, recipe, state.step, per_epoch)
                rows.set(min(recipe.batch_size, batches.n_examples - step * recipe.batch_size), len(batch.labels))
                losses += one_step(
                    network, batch, recipe, optimizer, loss=loss, seed=seed, step=state.step, rows=rows, stop=stop,
                    holder=holder,
                )  # fmt: skip
                if holder is not None:
                    holder.apply_()
                state.step += 1
                if state.step % per_epoch:
                    saved_at = pause(network, optimizer, state, run, losses=losses, saved_at=saved_at, stop=stop)
        state.loss_sum = losses.item()
        end_epoch(network, optimizer, state, recipe, per_epoch=per_epoch, validate=validate, run=run)
        if state.step < total:
            saved_at = pause(network, optimizer, state, run, losses=None, saved_at=saved_at, stop=stop)
        # With the latest of what is not measured every epoch.
        run.progress({**dict(ChainMap(*state.history[::-1])), "epoch": epoch + 1, "epochs": recipe.epochs})
    last = network.state_dict()
    selected = {name: state.best[name].network if name in state.best else last for name in recipe.select}
    others = {name: copy.deepcopy(selected[name]) for name in recipe.select[1:]}
    network.load_state_dict(selected[recipe.select[0]])
    network.eval()
    return Trained(state.history, others, optimizer.state_dict())


def count_steps(batches: Batches, recipe: Recipe) -> tuple[int, int]:
    """Steps of an epoch and of the whole training. Raises ValueError if there is an epoch but no batch."""
    if recipe.epochs and not batches.steps_per_epoch:
        raise ValueError(
            f"{batches.n_examples} examples make no batch of {recipe.batch_size} with drop_last; lower batch_size"
        )
    per_epoch = min(batches.steps_per_epoch, recipe.epoch_steps or batches.steps_per_epoch)
    return per_epoch, per_epoch * recipe.epochs


def shared_layers(network: nn.Module, rows: distributed.Rows) -> AbstractContextManager[None]:
    """Inside, batch normalisation and dropout see the whole batch, of which each process has a part.

    Of a network that says so, batch normalisation sees groups of its rows.
    """
    if rows.world_size == 1 and getattr(network, "groups", 1) == 1:
        return contextlib.nullcontext()
    # It imports torchvision, which the networks of one process may not need.
    from bench.training import batchwide

    return batchwide.over_all_processes(network, rows)


def pause(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    run: Run,
    *,
    losses: Tensor | None,
    saved_at: float,
    stop: distributed.Stop,
) -> float:
    """Write a checkpoint if one is due or the run is to stop; returns when the last one was written.

    `losses`: the sum of the epoch so far, read from the device only if it is written. Raises Interrupted.
    """
    stopping = stop.now()
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
    rows: distributed.Rows,
    stop: distributed.Stop,
    holder: Holder | None = None,
) -> Tensor:
    """One update; returns the detached loss of the whole batch without waiting for the device."""
    seed_step(seed, step)
    inputs = (
        batch.inputs.to(memory_format=torch.channels_last)
        if recipe.channels_last and batch.inputs.dim() == 4
        else batch.inputs
    )
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        value, _ = loss(
            network, inputs, batch.labels, recipe=recipe, seed=derive(seed, "attack"), step=step, indices=batch.indices
        )
    optimizer.zero_grad(set_to_none=True)
    if rows.world_size > 1:
        value = value * rows.weight
    value.backward()  # type: ignore[no-untyped-call]
    value = value.detach()
    if rows.world_size > 1:
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        report = torch.stack([value, torch.full_like(value, stop.asked())])
        value, asked = distributed.combine(trained, report)
        stop.told(asked)
    if holder is not None and (recipe.optimizer == "lars" or recipe.clip_norm):
        # The step is scaled by the norm of a gradient, of which pruned weights are no part.
        holder.mask_gradients_()
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], recipe.clip_norm)
    optimizer.step()
    return value


def end_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    recipe: Recipe,
    *,
    per_epoch: int,
    validate: Validate | None,
    run: Run,
) -> None:
    """Close the epoch's record; validate after every epoch that may be selected, and after the last one."""
    epoch = state.step // per_epoch
    record = {"epoch": float(epoch), "loss": state.loss_sum / per_epoch, "lr": float(optimizer.param_groups[0]["lr"])}
    state.loss_sum = 0.0
    if not math.isfinite(record["loss"]):
        raise Diverged(
            f"the training loss became {record['loss']} in epoch {epoch} of {recipe.epochs}; lower the learning rate"
        )
    network.eval()
    held = validate or {}
    for selection, prefix in MEASURES.items():
        wanted = selection in recipe.select
        # A recipe of fewer epochs than the first that may be selected selects among its last.
        due = wanted and epoch >= min(recipe.select_from, recipe.epochs)
        if selection == "best_validation":
            due = due or epoch == recipe.epochs
        measure = next((name for name in held if name.startswith(prefix)), None)
        if measure is None or not due:
            continue
        record[measure] = distributed.number_from_first(held[measure](network), run.world_size, run.device)
        if wanted and (selection not in state.best or record[measure] > state.best[selection].value):
            state.best[selection] = Best(record[measure], epoch, copy.deepcopy(network.state_dict()))
    if recipe.contrast is not None and (epoch % recipe.contrast.probe_every == 0 or epoch == recipe.epochs):
        for name in (name for name in PROBES if name in held):
            record[name] = distributed.number_from_first(held[name](network), run.world_size, run.device)
    state.history.append(record)
