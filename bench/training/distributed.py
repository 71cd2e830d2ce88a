"""Several processes on one stage: each takes its slice of every global batch, gradients are averaged."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@contextlib.contextmanager
def process_group(
    rank: int, world_size: int, *, init_method: str, device: str, timeout_min: float = 30
) -> Iterator[None]:
    """A process group for the block; nothing where there is one process. gloo on CPU, nccl on CUDA."""
    if world_size == 1:
        yield
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(
        backend, init_method=init_method, rank=rank, world_size=world_size, timeout=timedelta(minutes=timeout_min)
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def wrap(network: nn.Module, world_size: int) -> nn.Module:
    """The network, its gradients averaged over the processes if there are several."""
    return DistributedDataParallel(network) if world_size > 1 else network


def agree(flag: bool, world_size: int, device: str) -> bool:
    """True in every process if it is in one: all stop at the same step."""
    if world_size == 1:
        return flag
    shared = torch.tensor(int(flag), device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return bool(shared.item())


def barrier(world_size: int) -> None:
    if world_size > 1:
        dist.barrier()
