"""Optimisers of a recipe, and the learning rate of every step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.spec import Recipe

# You et al. 2017, arXiv:1708.03888, as SimCLR uses it (Chen et al. 2020, arXiv:2002.05709, appendix B.6).
TRUST = 1e-3
POWER = 0.9


def make_optimizer(
    parameters: Sequence[nn.Parameter], recipe: Recipe, heads: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The recipe's optimiser of `parameters`; those among `heads` have the recipe's learning rate for heads.

    LARS adapts weights only: biases and parameters of normalisation, which have one dimension, follow plain momentum
    without weight decay.
    """
    groups = _groups(list(parameters), recipe, {id(head) for head in heads})
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, weight_decay=recipe.weight_decay)
    settings: dict[str, Any] = {
        "lr": recipe.lr, "momentum": recipe.momentum, "nesterov": recipe.nesterov, "weight_decay": recipe.weight_decay
    }  # fmt: skip
    if recipe.optimizer == "lars":
        # timm loads slowly, and only this needs it.
        from timm.optim.lars import Lars

        return Lars(groups, trust_coeff=TRUST, **settings)
    return torch.optim.SGD(groups, **settings)


def _groups(parameters: list[nn.Parameter], recipe: Recipe, heads: set[int]) -> list[dict[str, Any]]:
    """The parameters by how they are trained; `lr_factor`: learning rate in units of the recipe's."""
    groups: list[dict[str, Any]] = [{"params": parameters}]
    if recipe.optimizer == "lars":
        groups = [
            # Without weight decay too: timm adapts nothing where it is zero, unless told to.
            {"params": [p for p in parameters if p.dim() > 1], "always_adapt": True},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
    if heads and recipe.head_lr != 1:
        groups = [
            {**group, "params": [p for p in group["params"] if (id(p) in heads) == is_head], "lr_factor": factor}
            for group in groups
            for is_head, factor in ((False, 1.0), (True, recipe.head_lr))
        ]
    return [group for group in groups if group["params"]]


def go_on_from(optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> None:
    """Take over what another optimiser of the same parameters had gathered, a copy; not its settings."""
    gathered = {
        index: {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in found.items()}
        for index, found in given["state"].items()
    }
    optimizer.load_state_dict({**optimizer.state_dict(), "state": gathered})


def learning_rate(recipe: Recipe, step: int, per_epoch: int) -> float:
    """Learning rate of a step: linear warm-up per step, then the schedule; cosine, linear and poly end at final_lr."""
    warmup, total = recipe.warmup_epochs * per_epoch, recipe.epochs * per_epoch
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** sum(step // per_epoch >= milestone for milestone in recipe.milestones)
    share = (step - warmup) / max(total - warmup, 1)
    drop = recipe.lr - recipe.final_lr
    if recipe.schedule == "cosine":
        return recipe.final_lr + drop * 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "poly":
        return recipe.final_lr + drop * math.pow(1 - share, POWER)
    return recipe.final_lr + drop * (1 - share) if recipe.schedule == "linear" else recipe.lr


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, per_epoch: int) -> None:
    """Give every group its learning rate of the step."""
    lr = learning_rate(recipe, step, per_epoch)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


@contextlib.contextmanager
def batchnorm_momentum(network: nn.Module, momentum: float | None) -> Iterator[None]:
    """Inside, running statistics of batch normalisation move by `momentum` a step; None: as they always do."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if momentum is not None else []
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = momentum
    try:
        yield
    finally:
        for norm, old in zip(norms, before, strict=True):
            norm.momentum = old
