"""Several processes on one training: each takes its slice of every global batch, and the numbers do not tell how many.

Losses are weighted so that the sum over the processes is the mean over the global batch; gradients, losses and
requests to stop are summed in one all-reduce a step. Layers that look across a batch: see batchwide.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Disconnected(RuntimeError):
    """Another process of this training ended or stopped answering; why, only it can tell."""


@dataclass(slots=True)
class Rows:
    """Rows `first` to `first + n - 1` of a global batch of `n_global` are this process's; set before every step."""

    rank: int = 0
    world_size: int = 1
    first: int = 0
    n: int = 0
    n_global: int = 0

    def set(self, n_global: int, n: int) -> None:
        """Take the place of `n` examples in a batch of `n_global`, cut as bench.data.draws.share cuts it."""
        self.n_global = n_global
        self.first, end = 0, n_global
        if n_global >= self.world_size:
            self.first, end = (n_global * rank // self.world_size for rank in (self.rank, self.rank + 1))
        self.n = end - self.first
        assert self.n == n, f"rank {self.rank} of {self.world_size} has {n} examples of {n_global}, not {self.n}"

    @property
    def all_here(self) -> bool:
        """One process, or a batch of fewer examples than processes: each computes it whole."""
        return self.n == self.n_global

    @property
    def weight(self) -> float:
        """Share of this process's mean in the sum over all processes."""
        return 1 / self.world_size if self.all_here else self.n / self.n_global


@dataclass(slots=True)
class Stop:
    """The request to stop, seen at the same step by all processes."""

    asked: Callable[[], bool]
    world_size: int = 1
    last: Tensor | None = None
    before: Tensor | None = None

    def told(self, flags: Tensor) -> None:
        """Take the sum of what the processes were asked, as `combine` returned it."""
        self.before, self.last = self.last, flags

    def now(self) -> bool:
        """Stop after this step? Of several processes after the step that follows the request.

        The sum of the step before is there already: reading it does not keep the device waiting.
        """
        return self.asked() if self.world_size == 1 else self.before is not None and bool(self.before)


@contextlib.contextmanager
def process_group(rank: int, world_size: int, *, store: Any, device: str, timeout_min: float = 30) -> Iterator[None]:
    """A process group for the block; nothing where there is one process. gloo on CPU, nccl on CUDA.
    `store`: a torch.distributed.Store that the processes share.

    Collectives raise Disconnected where another process ended, at the latest after `timeout_min`. At the end the
    group's threads are gone, so that the process may end in any way it likes.
    """
    if world_size == 1:
        yield
        return
    chosen = torch.device(device)
    with talking():
        dist.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(minutes=timeout_min),
            device_id=chosen if chosen.type == "cuda" else None,
        )
    try:
        yield
    finally:
        leave_group()


def leave_group() -> None:
    """Close this process's connections to the others, if there are any: their collectives then fail at once.

    torch's DistributedDataParallel would keep the group, and gloo's threads with it, alive past this call; a thread
    that asks for Python's lock while the interpreter ends aborts the process.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def talking() -> Iterator[None]:
    """Failures of collectives in the block are Disconnected."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Disconnected(f"the connection to the other processes of the stage broke: {reason}") from error


def add_up(tensor: Tensor) -> None:
    """Sum over all processes, in place."""
    with talking():
        dist.all_reduce(tensor)


def combine(parameters: Sequence[nn.Parameter], report: Tensor) -> Tensor:
    """Sum the gradients over the processes, in place, and return the sum of the vector `report`.

    All in one tensor in the order of the parameters. Not DistributedDataParallel: it arranges its buckets anew
    after a process's first step, and with them the order of additions of three and more processes, so that a resumed
    training would not end bit-identical; and it counts backward passes, of which an attack makes more than one a step.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), report])
    add_up(flat)
    *sums, report = torch.split(flat, [*(gradient.numel() for gradient in gradients), len(report)])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view(gradient.shape))
    # A copy: a view would keep the whole of `flat`.
    return report.clone()


def from_first(content: memoryview | None, device: str) -> memoryview | None:
    """Rank 0's content, in every process."""
    with talking():
        size = torch.tensor(-1 if content is None else len(content), device=device)
        dist.broadcast(size, 0)
        if int(size) < 0:
            return None
        data = torch.empty(int(size), dtype=torch.uint8, device=device)
        if content is not None:
            data.copy_(torch.frombuffer(content, dtype=torch.uint8))
        dist.broadcast(data, 0)
    return data.cpu().numpy().data


@torch.no_grad()
def copy_from_first(tensors: Sequence[Tensor], world_size: int) -> None:
    """Set the tensors to rank 0's, in place."""
    if world_size > 1:
        with talking():
            for tensor in tensors:
                # Dense in memory: one in channels_last order is not.
                whole = tensor.contiguous()
                dist.broadcast(whole, 0)
                tensor.copy_(whole)


def number_from_first(value: float, world_size: int, device: str) -> float:
    """Rank 0's number, in every process."""
    if world_size == 1:
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    copy_from_first([shared], world_size)
    return float(shared)
