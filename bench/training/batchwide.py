"""Layers that mix or draw over a batch, computed over the global batch when several processes share it.

Batch normalisation takes its statistics from the rows of all processes; dropout and stochastic depth draw for all
rows and use their own, so that what a row meets does not depend on how many processes there are. AllRows and OwnRows
collect rows and hand them out again. All other layers treat every example alone.

A tensor may hold several rows of every example, as with two views of it: the first ones of all examples, then the
second ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import StochasticDepth

from bench.models.rows import AllRows, OwnRows
from bench.training.distributed import Rows, add_up


@contextmanager
def over_all_processes(network: nn.Module, rows: Rows) -> Iterator[None]:
    """Inside, layers in training mode see the global batch that `rows` describes; names and tensors stay the same.

    Every process must run the same forward and backward passes. Where all rows are here, and in evaluation mode,
    layers are as they always are; but a network's attribute `groups`, above 1, is the number of contiguous parts of the
    global batch that batch normalisation sees alone. Raises ValueError unless every process holds whole groups.
    """
    groups = int(getattr(network, "groups", 1))
    if groups > 1 and groups % rows.world_size:
        raise ValueError(
            f"{groups} groups of batch normalisation do not divide among {rows.world_size} processes: "
            f"take as many processes as divide {groups}, or another number of groups"
        )
    changed: list[Any] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            forward = (
                partial(_normalise_groups, module, rows, groups) if groups > 1 else partial(_normalise, module, rows)
            )
            vars(module)["forward"] = forward
        elif isinstance(module, nn.Dropout | StochasticDepth):
            vars(module)["forward"] = partial(_drop, module, rows)
        elif isinstance(module, AllRows):
            vars(module)["forward"] = partial(_all_rows, rows)
        elif isinstance(module, OwnRows):
            vars(module)["forward"] = partial(_own_rows, rows)
        else:
            continue
        changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _normalise(norm: _BatchNorm, rows: Rows, x: Tensor) -> Tensor:
    """`norm` of x (n, c, ...) with mean and variance over the rows of all processes."""
    if not norm.training or rows.all_here:
        return type(norm).forward(norm, x)
    count = x.numel() // (x.shape[0] * x.shape[1]) * rows.n_global * _of_each(x, rows)
    out, mean, variance = _Normalise.apply(x, norm.weight, norm.bias, norm.eps, count)
    with torch.no_grad():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_((variance * (count / (count - 1))).to(norm.running_var.dtype), norm.momentum)
    return cast(Tensor, out)


def _normalise_groups(norm: _BatchNorm, rows: Rows, groups: int, x: Tensor) -> Tensor:
    """`norm` of x (n, c, ...), every group with its own statistics; the running ones move to the groups' average."""
    if not norm.training:
        return type(norm).forward(norm, x)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    # Where processes divide the groups, the bounds of their rows are bounds of groups.
    bounds = [rows.n_global * i // groups - rows.first for i in range(groups + 1)]
    parts = [(a, b) for a, b in pairwise(bounds) if 0 <= a < b <= rows.n]
    by_example = x.view(_of_each(x, rows), rows.n, *x.shape[1:])
    sums = torch.zeros(2, *norm.running_mean.shape, dtype=norm.running_mean.dtype, device=x.device)
    outs = []
    for a, b in parts:
        part = by_example[:, a:b]
        # With momentum 1 these become the part's mean and variance.
        found = torch.zeros_like(sums)
        out = F.batch_norm(part.flatten(0, 1), found[0], found[1], norm.weight, norm.bias, True, 1.0, norm.eps)
        outs.append(out.view(part.shape))
        sums += found
    if not rows.all_here:
        add_up(sums)
    with torch.no_grad():
        mean, variance = sums / min(groups, rows.n_global)
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance, norm.momentum)
    return torch.cat(outs, dim=1).flatten(0, 1)


class _Normalise(torch.autograd.Function):
    """Batch normalisation over `count` values per channel in all processes; also returns the mean and the variance.

    Not torch.nn.SyncBatchNorm: that runs on CUDA only, and one path that the tests reach on the CPU is worth more
    than its fused kernels. One all-reduce forward, one backward; kept for the backward pass is the input, no more.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = x if x.dtype == torch.float64 else x.float()
        variance, mean = torch.var_mean(wide, [0, *range(2, x.dim())], correction=0)
        # In doubles the difference of the mean square and the squared mean loses nothing that single precision holds.
        first, second = mean.double(), variance.double()
        sums = torch.stack([first, second + first * first]) * (x.numel() // x.shape[1])
        add_up(sums)
        first, second = sums / count
        mean, variance = first.to(mean.dtype), (second - first * first).clamp(min=0).to(mean.dtype)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count = eps, count
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad: Tensor, _mean: Tensor, _variance: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None]:
        x, weight, mean, variance = ctx.saved_tensors
        # In evaluation mode this is the plain sum over the rows that are here.
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([of_weight, of_bias])
        add_up(sums)
        along, mean_grad = sums / ctx.count
        inverse = torch.rsqrt(variance + ctx.eps)
        scale = weight * inverse
        # scale * (grad - mean_grad - (x - mean) * inverse * along), as a line in x and grad for each channel.
        slope = -scale * inverse * along
        level = -scale * mean_grad - slope * mean
        shape = [1, -1] + [1] * (x.dim() - 2)
        of_x = torch.addcmul(level.view(shape), x, slope.view(shape)).addcmul_(grad, scale.view(shape)).to(x.dtype)
        return of_x, of_weight, of_bias, None, None


def _drop(module: nn.Dropout | StochasticDepth, rows: Rows, x: Tensor) -> Tensor:
    """What `module` makes of x, its draws being those of this process's rows in one draw for the global batch."""
    if not module.training or rows.all_here:
        return cast(Tensor, type(module).forward(module, x))
    # Stochastic depth draws one number per row, dropout one per value.
    shape = [1] * (x.dim() - 1) if isinstance(module, StochasticDepth) else x.shape[1:]
    of_each = _of_each(x, rows)
    factors = type(module).forward(module, x.new_ones((of_each * rows.n_global, *shape)))
    mine = factors.view(of_each, rows.n_global, *shape)[:, rows.first : rows.first + rows.n]
    return x * mine.flatten(0, 1)


def _of_each(x: Tensor, rows: Rows) -> int:
    """Rows of x that each example of this process has."""
    count, rest = divmod(x.shape[0], rows.n)
    assert not rest, f"{x.shape[0]} rows are not equally many of each of {rows.n} examples"
    return count


def _all_rows(rows: Rows, x: Tensor) -> Tensor:
    """x (n, ...) of all processes, (N, ...)."""
    return x if rows.all_here else cast(Tensor, _Collect.apply(x, rows.n_global, rows.first, rows.weight))


def _own_rows(rows: Rows, x: Tensor) -> Tensor:
    return x if rows.all_here else x[rows.first : rows.first + rows.n]


class _Collect(torch.autograd.Function):
    """Rows of all processes; backward, this process's own.

    What is computed from all rows is the same in every process, and there the loss is weighted by the process's share:
    divided by it, the gradient of its rows is the whole one.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, n_global: int, first: int, weight: float) -> Tensor:
        ctx.first, ctx.n, ctx.weight = first, len(x), weight
        # A sum with zeros is exact, and needs no equal shares.
        whole = x.new_zeros((n_global, *x.shape[1:]))
        whole[first : first + len(x)] = x
        add_up(whole)
        return whole

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad[ctx.first : ctx.first + ctx.n] / ctx.weight, None, None, None
