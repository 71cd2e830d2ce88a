"""Masks over a network's prunable weights: chosen from scores, counted, applied, held and packed.

A mask is a bool tensor of its weight's shape; True means kept. Scores rank weights; higher is kept first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.models import Network, weights

Masks = dict[str, Tensor]
Scores = dict[str, Tensor]


def keep_top(scores: Mapping[str, Tensor], keep: int, *, within: Mapping[str, Tensor] | None = None) -> Masks:
    """Masks that keep exactly the `keep` highest scores over all weights together.

    Of equal scores the earlier position is kept (order of `scores`, then row-major). `within`: only weights kept
    there can be kept again. Raises ValueError if there are fewer than `keep` weights to choose from, or none, and
    for a score that is not a number.
    """
    if not scores:
        raise ValueError("there are no weights to prune")
    flat = _flat_scores(scores)
    survivors = None if within is None else np.flatnonzero(_flat_bits(within, like=scores))
    values = flat if survivors is None else flat[survivors]
    if not 0 <= keep <= values.size:
        raise ValueError(f"cannot keep {keep} of {values.size} weights")
    if np.isnan(values).any():
        raise ValueError(f"{np.isnan(values).sum()} of {values.size} scores are not a number")
    chosen = _top(values, keep)
    if survivors is not None:
        chosen_survivors, chosen = chosen, np.zeros(flat.size, dtype=np.bool_)
        chosen[survivors] = chosen_survivors
    return _split(torch.from_numpy(chosen), like=scores)


def check_alike(masks: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless there is a mask of every score's name and shape, and no other."""
    if {name: mask.shape for name, mask in masks.items()} != {name: score.shape for name, score in scores.items()}:
        raise ValueError("the masks to prune within are not of the names and shapes of the scores")


def ones(network: Network, names: Sequence[str]) -> Masks:
    """Masks that keep everything."""
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights(network, tuple(names)).items()}


def kept(masks: Mapping[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


def sparsity(masks: Mapping[str, Tensor]) -> float:
    """Fraction of the masked weights that are pruned, in [0, 1]; 0 for no masks."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - kept(masks) / total if total else 0.0


def per_layer(masks: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Name -> (weights kept, weights in all)."""
    return {name: (int(mask.sum()), mask.numel()) for name, mask in masks.items()}


@torch.no_grad()
def apply_(network: Network, masks: Mapping[str, Tensor]) -> None:
    """Set the pruned weights to zero, in place. Raises ValueError if a mask fits no weight of the network."""
    for weight, mask in _pairs(network, masks):
        weight.masked_fill_(~mask.to(weight.device), 0)


class Holder:
    """Keeps pruned weights at zero through training: call `apply_()` after every optimiser step.

    Built once the network is on its device and in its memory format. Weights of an optimiser step depend
    on their own gradient and their own momentum only, so zeroing the weights suffices: what momentum gathers for a
    pruned weight reaches no kept one. Of steps that read a norm of the gradient this does not hold (LARS, clipping):
    they need `mask_gradients_()` before.
    """

    def __init__(self, network: Network, masks: Mapping[str, Tensor]) -> None:
        pairs = _pairs(network, masks)
        self._parameters = [weight for weight, _ in pairs]
        self._weights = [weight.detach() for weight in self._parameters]
        # Like the weight in type and strides: the one foreach multiply then takes its fast path.
        self._masks = [torch.empty_like(weight).copy_(mask) for weight, mask in pairs]

    def apply_(self) -> None:
        if self._weights:
            torch._foreach_mul_(self._weights, self._masks)

    def mask_gradients_(self) -> None:
        """Set the gradients of pruned weights to zero, in place."""
        pairs = [(w.grad, mask) for w, mask in zip(self._parameters, self._masks, strict=True) if w.grad is not None]
        if pairs:
            torch._foreach_mul_([gradient for gradient, _ in pairs], [mask for _, mask in pairs])


def pack(masks: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """Arrays `<name>:bits` (uint8, eight weights a byte) and `<name>:shape` (int64) for every mask."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, mask in masks.items():
        arrays[f"{name}:bits"] = np.packbits(mask.cpu().numpy().reshape(-1))
        arrays[f"{name}:shape"] = np.array(mask.shape, dtype=np.int64)
    return arrays


def unpack(arrays: Mapping[str, npt.NDArray[np.generic]]) -> Masks:
    """The masks that `pack` packed, in the order of `arrays`. Raises ValueError if bits and shape disagree."""
    masks: Masks = {}
    for key, bits in arrays.items():
        name, _, part = key.rpartition(":")
        if part != "bits":
            continue
        shape = tuple(int(n) for n in arrays[f"{name}:shape"])
        count = int(np.prod(shape))
        if bits.size != -(-count // 8):
            raise ValueError(f"mask {name} of shape {shape} needs {-(-count // 8)} bytes, found {bits.size}")
        kept_bits = np.unpackbits(bits.astype(np.uint8, copy=False), count=count).astype(np.bool_)
        masks[name] = torch.from_numpy(kept_bits).view(shape)
    return masks


def _flat_scores(scores: Mapping[str, Tensor]) -> npt.NDArray[np.floating]:
    flat = torch.cat([score.detach().flatten() for score in scores.values()]).cpu()
    # numpy knows no bfloat16; doubles stay doubles, rounding would make ties.
    return (flat if flat.dtype == torch.float64 else flat.float()).numpy()


def _top(values: npt.NDArray[np.floating], keep: int) -> npt.NDArray[np.bool_]:
    if keep == 0:
        return np.zeros(values.size, dtype=np.bool_)
    # Selection instead of sorting: 25 M weights take 0.1 s, a stable sort 4 s.
    threshold = np.partition(values, values.size - keep)[values.size - keep]
    chosen: npt.NDArray[np.bool_] = values > threshold
    ties = np.flatnonzero(values == threshold)
    chosen[ties[: keep - np.count_nonzero(chosen)]] = True
    return chosen


def _flat_bits(masks: Mapping[str, Tensor], *, like: Mapping[str, Tensor]) -> npt.NDArray[np.bool_]:
    check_alike(masks, like)
    return torch.cat([masks[name].flatten() for name in like]).cpu().numpy()


def _split(flat: Tensor, *, like: Mapping[str, Tensor]) -> Masks:
    parts = torch.split(flat, [score.numel() for score in like.values()])
    return {
        name: part.view(score.shape).to(score.device) for part, (name, score) in zip(parts, like.items(), strict=True)
    }


def _pairs(network: Network, masks: Mapping[str, Tensor]) -> list[tuple[torch.nn.Parameter, Tensor]]:
    pairs = []
    own = dict(network.body.named_parameters())
    for name, mask in masks.items():
        if name not in own or own[name].shape != mask.shape:
            found = tuple(own[name].shape) if name in own else "no such weight"
            raise ValueError(f"mask {name} of shape {tuple(mask.shape)} does not fit {network.label}: {found}")
        pairs.append((own[name], mask))
    return pairs
