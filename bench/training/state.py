"""Where a training runs, and what its checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.training import checkpoint, distributed


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


class Best(NamedTuple):
    """The network after the best epoch so far of one selection."""

    value: float
    epoch: int
    network: dict[str, Tensor]


@dataclass(kw_only=True, slots=True)
class State:
    """Everything that a checkpoint holds beside the network and the optimiser; `best` by selection."""

    step: int = 0
    loss_sum: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Best] = field(default_factory=dict)


def save(network: nn.Module, optimizer: torch.optim.Optimizer, state: State, run: Run) -> None:
    """Write the checkpoint; only rank 0 does, and what it writes is the state of all."""
    if run.rank == 0:
        content = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "sums": sums_of(run)}
        # Plain tuples: a checkpoint is read back without unpickling objects.
        best = {name: tuple(found) for name, found in state.best.items()}
        checkpoint.save(
            run.scratch,
            content | {"step": state.step, "loss_sum": state.loss_sum, "history": state.history, "best": best},
        )


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, run: Run) -> State:
    """The state of rank 0's checkpoint in all processes, network and optimiser set to it; without one a fresh state.

    Sums are rounded in another order with other threads or processes: on the CPU, where threads change from machine
    to machine, a checkpoint written with others is not used. On a device hours of work are worth more than last bits.
    """
    # Rank 0's alone: a shared file system may show another node an older file.
    content = checkpoint.load(run.scratch) if run.rank == 0 else None
    if content is not None and run.device == "cpu" and content.get("sums") != sums_of(run):
        content = None
    if run.world_size > 1:
        encoded = distributed.from_first(checkpoint.encode(content) if content else None, run.device)
        content = checkpoint.decode(encoded) if encoded is not None else None
    if content is None:
        distributed.copy_from_first(list(network.state_dict().values()), run.world_size)
        return State()
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return State(
        step=content["step"],
        loss_sum=content["loss_sum"],
        history=content["history"],
        best={name: Best(*found) for name, found in content["best"].items()},
    )


def sums_of(run: Run) -> list[int]:
    """What decides the order of additions on the CPU: threads and processes."""
    return [torch.get_num_threads(), run.world_size]
