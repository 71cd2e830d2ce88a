"""Which weights are pruned together, and how masks are chosen from scores at each granularity.

A convolution's weight is [out, in, kernel height, kernel width] (in: per group); a linear layer's, [out, in], counts
as a 1 x 1 convolution. Groups: unstructured, single weights; row, [out, in, kernel height]; kernel, [out, in];
channel, [out], whole filters; n_of_m(m), n of every m consecutive inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bench import allocation as allocations
from bench import masks
from bench.masks import Masks, Scores
from bench.spec import Word

# The leading dimensions of a weight that tell its groups apart; n_of_m also chooses single weights.
DIMENSIONS = {"unstructured": 4, "row": 3, "kernel": 2, "channel": 1, "n_of_m": 4}


def keep_top(
    scores: Mapping[str, Tensor],
    keep: int,
    *,
    granularity: Word,
    allocation: str = "global",
    within: Mapping[str, Tensor] | None = None,
    combine: str = "mean",
) -> Masks:
    """Masks that keep the groups of highest scores: `keep` weights or, of larger groups, as many as fit into `keep`.

    A group's score is the mean of its members' or, with combine="first", its first member's (means of random scores
    would treat small and large groups differently). Groups are ranked over all layers together, or in each layer for
    its share of `keep` (bench/allocation.py), and kept from the top until the next one does not fit; of equal scores
    the earlier position is kept. "channel" keeps at least one filter a layer: a layer without any cuts the network.
    "n_of_m": see `keep_n_of_m`; every layer has the same density, whether allocation is "global" or "layerwise".
    `within`: only weights kept there can be kept again. Raises ValueError for what cannot be kept and for a score that
    is not a number.
    """
    if granularity.name not in DIMENSIONS:
        raise ValueError(f"granularity {granularity.name!r} (known: {', '.join(DIMENSIONS)})")
    if not scores:
        raise ValueError("there are no weights to prune")
    if within is not None:
        masks.check_alike(within, scores)
    if granularity.name == "n_of_m":
        if allocation not in ("global", "layerwise"):
            raise ValueError(
                f"granularity {granularity} gives every layer the same density: "
                f"allocation is global or layerwise, not {allocation}"
            )
        return keep_n_of_m(scores, keep, m=period(granularity), within=within)
    chosen: Masks = {}
    for names, budget in budgets(scores, keep, allocation, within).items():
        part = {name: scores[name] for name in names}
        survivors = None if within is None else {name: within[name] for name in names}
        if granularity.name == "unstructured":
            chosen |= masks.keep_top(part, budget, within=survivors)
        else:
            chosen |= _keep_groups(part, budget, granularity=granularity.name, within=survivors, combine=combine)
    if (found := masks.kept(chosen)) > keep:
        raise ValueError(f"cannot keep {keep} weights: one filter in every layer is {found}; ask for a lower sparsity")
    return chosen


def selector(
    granularity: Word, *, allocation: str = "global", within: Masks | None = None, combine: str = "mean"
) -> Callable[[Scores, int], Masks]:
    """`keep_top` as a function of scores and `keep` alone, for pruners that reach their sparsity in steps.

    Where n_of_m cannot keep exactly that share, it keeps the next larger one that it can.
    """

    def select(scores: Scores, keep: int) -> Masks:
        if granularity.name == "n_of_m":
            m, total = period(granularity), sum(score.numel() for score in scores.values())
            n = math.floor(m * (keep - _slack(m)) / total) + 1
            keep = round(min(max(n, 1), m) * total / m)
        return keep_top(scores, keep, granularity=granularity, allocation=allocation, within=within, combine=combine)

    return select


def budgets(
    weights: Mapping[str, Tensor], keep: int, allocation: str, within: Mapping[str, Tensor] | None = None
) -> dict[tuple[str, ...], int]:
    """Names of the layers ranked together -> weights that they keep together."""
    shapes = {name: weight.shape for name, weight in weights.items()}
    available = None if within is None else {name: int(within[name].sum()) for name in weights}
    counts = allocations.counts(shapes, keep, allocation=allocation, available=available)
    return {tuple(weights): keep} if counts is None else {(name,): counts[name] for name in weights}


def period(granularity: Word) -> int:
    """m of n_of_m(m). Raises ValueError unless it is a whole number from 2."""
    m = granularity["m"]
    if not isinstance(m, int) or m < 2:
        raise ValueError(f"granularity {granularity} needs a whole number m from 2, found {m}")
    return m


def group_shape(weight: Tensor, granularity: str) -> torch.Size:
    """The weight's leading dimensions that tell its groups apart."""
    return weight.shape[: DIMENSIONS[granularity]]


def spread(groups: Tensor, weight: Tensor) -> Tensor:
    """One value per group -> the same value for every weight of the group, as a view of the weight's shape."""
    return groups.view(*groups.shape, *(1,) * (weight.dim() - groups.dim())).expand(weight.shape)


def top_groups(values: Sequence[Tensor], sizes: Sequence[Tensor], keep: int, *, every_layer: bool) -> list[Tensor]:
    """Per layer, flags of the groups with the highest values whose sizes together are at most `keep`.

    values, sizes (groups of the layer,): sizes in weights, 0 where nothing is left to choose. every_layer: the best
    group of each layer is kept first, even if it does not fit. Computed on the device of `values`.
    """
    size, lengths = torch.cat(list(sizes)), [len(value) for value in values]
    first = torch.zeros_like(size, dtype=torch.bool)
    alive = [torch.where(size > 0, value, -torch.inf) for value, size in zip(values, sizes, strict=True)]
    if every_layer:
        for value, best in zip(alive, torch.split(first, lengths), strict=True):
            best[value.argmax()] = True
    order = torch.cat(alive).masked_fill(first, -torch.inf).sort(descending=True, stable=True).indices
    left = keep - int(size[first].sum()) if every_layer else keep
    fits = size[order].cumsum(0) <= left
    flags = first | torch.zeros_like(first).scatter_(0, order, fits)
    return list(torch.split(flags, lengths))


def keep_n_of_m(scores: Mapping[str, Tensor], keep: int, *, m: int, within: Mapping[str, Tensor] | None) -> Masks:
    """Masks that keep exactly the n highest scores of every m consecutive inputs of an output.

    Inputs are those of a linear layer, or the input channels at one position of the kernel: the layout of NVIDIA's
    2:4 sparsity. n = m * keep / total must be whole, up to what a ladder rounds. Layers whose number of inputs m does
    not divide are not pruned, so n / m is the density of the others. Raises ValueError for another `keep`, and where
    `within` leaves a group fewer than n. Mishra et al. 2021, arXiv:2104.08378.
    """
    total = sum(score.numel() for score in scores.values())
    n = round(m * keep / total)
    if not 1 <= n <= m or abs(keep - n * total / m) >= _slack(m):
        known = ", ".join(f"{1 - k / m:.4g}" for k in range(m, 0, -1))
        raise ValueError(f"n_of_m(m={m}) cannot have a sparsity of {1 - keep / total:.4g} (known: {known})")
    chosen = {}
    for name, score in scores.items():
        alive = torch.ones_like(score, dtype=torch.bool) if within is None else within[name].to(score.device)
        ranked = score.detach().masked_fill(~alive, -torch.inf)
        _check_numbers([ranked])
        chosen[name] = n_of_m(ranked, n, m) if score.shape[1] % m == 0 else alive
        if (chosen[name] & ~alive).any():
            raise ValueError(f"{name} has fewer than {n} weights left to keep in a group of {m}")
    return chosen


def n_of_m(score: Tensor, n: int, m: int) -> Tensor:
    """Flags of the n highest of every m consecutive entries along dimension 1, the earlier ones of equal scores."""
    last = score.movedim(1, -1)
    groups = last.reshape(*last.shape[:-1], -1, m)
    best = groups.sort(dim=-1, descending=True, stable=True).indices[..., :n]
    flags = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True)
    return flags.flatten(-2).movedim(-1, 1).contiguous()


def _keep_groups(
    scores: Mapping[str, Tensor], keep: int, *, granularity: str, within: Mapping[str, Tensor] | None, combine: str
) -> Masks:
    alive = {
        name: torch.ones_like(score, dtype=torch.bool) if within is None else within[name].to(score.device)
        for name, score in scores.items()
    }
    if not 0 <= keep <= (most := masks.kept(alive)):
        raise ValueError(f"cannot keep {keep} of {most} weights")
    values, sizes = [], []
    for name, score in scores.items():
        groups = group_shape(score, granularity).numel()
        members, left = score.detach().reshape(groups, -1), alive[name].reshape(groups, -1)
        sizes.append(left.sum(1))
        mean = members.masked_fill(~left, 0).sum(1) / sizes[-1].clamp(min=1)
        values.append(members[:, 0] if combine == "first" else mean)
    _check_numbers(values)
    flags = top_groups(values, sizes, keep, every_layer=granularity == "channel")
    return {
        name: spread(flag.view(group_shape(score, granularity)), score) & alive[name]
        for flag, (name, score) in zip(flags, scores.items(), strict=True)
    }


def _check_numbers(values: Sequence[Tensor]) -> None:
    if bad := sum(int(value.isnan().sum()) for value in values):
        raise ValueError(f"{bad} of {sum(value.numel() for value in values)} scores are not a number")


def _slack(m: int) -> float:
    """More than the weights by which the m - 1 rounds of a ladder, each rounded to a whole number, can be off."""
    return m / 2
