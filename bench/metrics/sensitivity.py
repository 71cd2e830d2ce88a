"""Accuracy of a network whose weights are shaken, and of a ticket whose mask is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.masks import Masks, kept, ones
from bench.metrics.evaluation import Conditions, Evaluation
from bench.metrics.outputs import correct, per_example
from bench.models import Network, prunable, weights
from bench.spec import Prunable

RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
DRAWS = 3
Places = npt.NDArray[np.int64]
Noise = tuple[Tensor, Tensor]  # of a tensor's shape, and a number
NOISE, SWAP = "accuracy_weight_noise", "accuracy_mask_swap"


def evaluate(network: Network, conditions: Conditions) -> Evaluation:
    """`accuracy_weight_noise_<r>` and `accuracy_mask_swap_<p>` in [0, 1], means over draws (option `draws`).

    Noise: `shaken`, of the kept prunable weights. Swap: `swapped`, back to `conditions.pretrained`; a dense network has
    no mask to swap, its entries are the clean accuracy, and a flag says so. Per example `correct` (n, 10, draws);
    details: `clean` accuracy and, by name, that of every `draws`. Draws are functions of (seed, draw). The network is
    bit for bit as it was afterwards, also when raising. Raises ValueError for no examples, outputs that are not finite,
    and a ticket without pre-trained weights.
    """
    missing = [name for name in conditions.masks if name not in conditions.pretrained]
    if missing:
        raise ValueError(f"mask swaps need the pre-trained weights: {len(missing)} are missing (first: {missing[0]})")
    masks = conditions.masks or ones(network, prunable(network, Prunable()))
    parameters = weights(network, tuple(masks))
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    clean = _right(network, conditions)
    n_swapped = {rate: round(rate * kept(masks)) for rate in RATES}
    n_pruned = sum(mask.numel() for mask in masks.values()) - kept(masks)
    draws = int(conditions.options.get("draws") or DRAWS)
    if draws < 1:
        raise ValueError(f"sensitivity needs draws >= 1, found {draws}")
    found: dict[str, list[npt.NDArray[np.bool_]]] = {f"{kind}_{rate}": [] for kind in (NOISE, SWAP) for rate in RATES}
    try:
        # Noise and order are drawn once for all rates: millions of numbers take seconds.
        for draw in range(draws):
            noise = noise_of(before, masks, seed=(conditions.seed, 0, draw))
            for rate in RATES:
                _copy_(parameters, shaken(before, noise, rate))
                found[f"{NOISE}_{rate}"].append(_right(network, conditions))
        for draw in range(draws):
            turn = order(masks, list(before), seed=(conditions.seed, 1, draw)) if n_pruned else None
            for rate in RATES:
                if turn is not None:
                    n = min(n_swapped[rate], n_pruned)
                    _copy_(parameters, _exchanged(before, conditions.pretrained, *(part[:n] for part in turn)))
                found[f"{SWAP}_{rate}"].append(_right(network, conditions) if turn is not None else clean)
    finally:
        _copy_(parameters, before)
    accuracies = {name: [float(right.mean()) for right in columns] for name, columns in found.items()}
    return Evaluation(
        metrics={name: sum(values) / draws for name, values in accuracies.items()},
        examples={"correct": np.stack([np.stack(columns, axis=1) for columns in found.values()], axis=1)},
        details={"clean": float(clean.mean()), "draws": accuracies},
        flags=_flags(n_pruned, n_swapped),
    )


def noise_of(before: Mapping[str, Tensor], masks: Masks, *, seed: int | tuple[int, ...]) -> dict[str, Noise]:
    """Per weight: standard normal noise, 0 where pruned, and the standard deviation of the tensor's kept weights."""
    draw = np.random.Generator(np.random.Philox(seed))
    found = {}
    for name, weight in before.items():
        mask = masks[name].to(weight.device)
        noise = torch.from_numpy(draw.standard_normal(weight.shape, np.float32)).to(weight.device)
        found[name] = (noise.mul_(mask), weight[mask].std(correction=0) if mask.any() else weight.new_zeros(()))
    return found


def shaken(before: Mapping[str, Tensor], noise: Mapping[str, Noise], rate: float) -> dict[str, Tensor]:
    """The weights with noise of `rate` times the deviation on the kept ones; at every rate in the same direction."""
    return {name: before[name] + rate * deviation * drawn for name, (drawn, deviation) in noise.items()}


def swapped(
    before: Mapping[str, Tensor], masks: Masks, pretrained: Mapping[str, Tensor], n: int, *, seed: int | tuple[int, ...]
) -> dict[str, Tensor]:
    """The weights with `n` kept ones pruned and `n` pruned ones at their pre-trained values, over all layers together.

    What a seed swaps at a smaller n it swaps at a larger one. The study of BERT-Tickets swaps masks like this:
    Chen et al. 2020, arXiv:2007.12223.
    """
    return _exchanged(before, pretrained, *(part[:n] for part in order(masks, list(before), seed=seed)))


def order(masks: Masks, names: Sequence[str], *, seed: int | tuple[int, ...]) -> tuple[Places, Places]:
    """The order in which kept entries are pruned and pruned ones revived: places in all masks together."""
    bits = torch.cat([masks[name].flatten() for name in names]).cpu().numpy()
    draw = np.random.Generator(np.random.Philox(seed))
    return draw.permutation(np.flatnonzero(bits)), draw.permutation(np.flatnonzero(~bits))


def _exchanged(
    before: Mapping[str, Tensor], pretrained: Mapping[str, Tensor], pruned: Places, revived: Places
) -> dict[str, Tensor]:
    flat = torch.cat([weight.flatten() for weight in before.values()])
    values = torch.cat([pretrained[name].flatten() for name in before])
    flat[torch.from_numpy(pruned)] = 0
    flat[torch.from_numpy(revived)] = values[torch.from_numpy(revived).to(values.device)].to(flat)
    parts = torch.split(flat, [weight.numel() for weight in before.values()])
    return {name: part.view(weight.shape) for part, (name, weight) in zip(parts, before.items(), strict=True)}


def _right(network: Network, conditions: Conditions) -> npt.NDArray[np.bool_]:
    found = per_example(network, conditions.batches(), correct, pause=conditions.pause)
    right: npt.NDArray[np.bool_] = found["correct"]
    return right


@torch.no_grad()
def _copy_(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _flags(n_pruned: int, n_swapped: Mapping[float, int]) -> tuple[str, ...]:
    short = [rate for rate, n in n_swapped.items() if n > n_pruned]
    if n_pruned == 0:
        return ("no mask to swap: accuracy_mask_swap is the clean accuracy",)
    if short:
        return (f"only {n_pruned} weights are pruned, fewer than a swap of {short[0]} of the kept ones needs",)
    return ()
