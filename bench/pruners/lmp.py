"""Learnable mask pruning: the weights are frozen, and scores that choose among them are trained instead.

`attach` once the network is on its device, train the parameters it returns, `detach`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench import granularity as granularities
from bench.granularity import group_shape, keep_n_of_m, period, spread, top_groups
from bench.masks import Scores
from bench.models import Network, weights
from bench.spec import Word


class Masked(nn.Module):
    """A weight times the mask of its groups, whose gradient passes straight through to their absolute scores.

    scores: one a group, trained. scale: what makes scores of different layers comparable. kept: 1.0 or 0.0 a group.
    """

    kept: Tensor

    def __init__(self, scores: Tensor, scale: float) -> None:
        super().__init__()
        self.scores, self.scale = nn.Parameter(scores), scale
        # No part of the state: it follows from the scores.
        self.register_buffer("kept", torch.ones_like(scores), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        importance = self.scores.abs()
        return weight * spread(self.kept + (importance - importance.detach()), weight)


class Chooser:
    """Before a forward pass of the network, chooses anew which groups are kept if the scores have changed.

    layers: name -> (its parametrisation, the weight). `handle` ends it.
    """

    handle: torch.utils.hooks.RemovableHandle

    def __init__(
        self,
        network: Network,
        layers: Mapping[str, tuple[Masked, Tensor]],
        *,
        keep: int,
        granularity: Word,
        allocation: str,
    ) -> None:
        self.layers, self.keep, self.granularity = layers, keep, granularity
        self.budgets = granularities.budgets({name: weight for name, (_, weight) in layers.items()}, keep, allocation)
        self.trained = {name: weight.requires_grad for name, (_, weight) in layers.items()}
        self.orders = {name: list(_place(network, name)[0]._parameters) for name in layers}
        self.seen: list[int] = []

    def __call__(self, network: nn.Module, inputs: object) -> None:
        # The steps of an attack are many forward passes with the same scores. A version counts the changes in place
        # by optimisers and load_state_dict; those through `.data` it does not see.
        versions = [masked.scores._version for masked, _ in self.layers.values()]
        if versions != self.seen:
            self.choose()
            self.seen = versions

    @torch.no_grad()
    def choose(self) -> None:
        """Set `kept` of every layer: exactly what bench/granularity.py keeps, up to ties of unstructured scores."""
        if self.granularity.name == "n_of_m":
            flags = keep_n_of_m(self.importance(list(self.layers)), self.keep, m=period(self.granularity), within=None)
        else:
            flags = {}
            for names, budget in self.budgets.items():
                flags |= self.best(names, budget)
        for name, flag in flags.items():
            self.layers[name][0].kept.copy_(flag)

    def best(self, names: Sequence[str], budget: int) -> dict[str, Tensor]:
        """Flags of the groups of these layers that fit into `budget`."""
        importance = self.importance(names)
        if self.granularity.name == "unstructured":
            flat = torch.cat([value.flatten() for value in importance.values()])
            # A threshold, for the sort that breaks ties would take longer than a small network's pass.
            low = flat.topk(budget, sorted=False).values.min() if budget else torch.inf
            return {name: value >= low for name, value in importance.items()}
        sizes = [
            torch.full_like(value, self.layers[name][1].numel() // value.numel(), dtype=torch.int64).flatten()
            for name, value in importance.items()
        ]
        every_layer = self.granularity.name == "channel"
        flags = top_groups([v.flatten() for v in importance.values()], sizes, budget, every_layer=every_layer)
        return {name: flag.view_as(value) for flag, (name, value) in zip(flags, importance.items(), strict=True)}

    def importance(self, names: Sequence[str]) -> Scores:
        """Absolute scores in units of their layer's scale, one a group."""
        return {name: self.layers[name][0].scores.detach().abs() / self.layers[name][0].scale for name in names}


def attach(
    network: Network, names: Sequence[str], *, keep: int, granularity: Word, allocation: str, seed: int
) -> list[nn.Parameter]:
    """Score parameters, one tensor for each weight of `names`; the network now computes with masked, frozen weights.

    Every forward pass uses the groups with the highest absolute scores: `keep` weights as in
    bench.granularity.keep_top. Scores are in the network's state dict, so a training that is resumed goes on exactly.
    They are drawn from the seed: uniform in +-1 / sqrt(fan-in) (Kaiming with a = sqrt(5)), one score a filter from
    N(0, 1). Across layers they are ranked in units of that bound: otherwise layers of large fan-in, whose scores
    start small, would lose all their weights before the first step. Raises ValueError for what `keep_top` refuses.
    Ramanujan et al. 2020, arXiv:1911.13299 (per layer, single weights).
    """
    own = weights(network, tuple(names))
    # What cannot be kept of these weights cannot be kept by any scores: say so before the network is changed.
    granularities.keep_top(own, keep, granularity=granularity, allocation=allocation)
    generator = torch.Generator().manual_seed(seed)
    layers: dict[str, tuple[Masked, Tensor]] = {}
    for name, weight in own.items():
        scores, scale = _drawn(group_shape(weight, granularity.name), generator)
        layers[name] = (Masked(scores.to(weight), scale), weight)
    chooser = Chooser(network, layers, keep=keep, granularity=granularity, allocation=allocation)
    chooser.choose()
    for name, (masked, frozen) in layers.items():
        frozen.requires_grad_(False)
        parametrize.register_parametrization(*_place(network, name), masked)
    chooser.handle = network.register_forward_pre_hook(chooser)
    return [masked.scores for masked, _ in layers.values()]


def detach(network: Network) -> Scores:
    """Remove the scores and give the weights back as they were; returns the absolute scores, one for every weight.

    keep_top of these at the granularity and allocation of `attach` is the trained mask, with exactly `keep` weights.
    Raises ValueError if nothing is attached.
    """
    choosers = [hook for hook in network._forward_pre_hooks.values() if isinstance(hook, Chooser)]
    if not choosers:
        raise ValueError(f"no scores are attached to {network.label}: call attach first")
    (chooser,) = choosers
    chooser.handle.remove()
    scores = chooser.importance(list(chooser.layers))
    for name, (_, weight) in chooser.layers.items():
        module, tensor = _place(network, name)
        parametrize.remove_parametrizations(module, tensor, leave_parametrized=False)
        weight.requires_grad_(chooser.trained[name])
        # Back in its place: optimisers and state dicts go by the order of parameters.
        for other in chooser.orders[name]:
            module._parameters[other] = module._parameters.pop(other)
        scores[name] = spread(scores[name], weight).contiguous()
    return scores


def _drawn(shape: torch.Size, generator: torch.Generator) -> tuple[Tensor, float]:
    """Random scores and the scale of their distribution."""
    if len(shape) == 1:
        return torch.randn(shape, generator=generator), 1.0
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator), bound


def _place(network: Network, name: str) -> tuple[nn.Module, str]:
    """The module that holds the body's tensor `name`, and its name there."""
    path, _, tensor = name.rpartition(".")
    return network.body.get_submodule(path), tensor
