"""SynFlow: a weight's score is the flow through it in the network of absolute weights; pruned in many rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.masks import Masks, Scores
from bench.models import Network
from bench.models.modes import evaluation_mode
from bench.pruners.conditions import Conditions

# Output is proportional to input, and small numbers stay below 6, where ReLU6 is no longer linear.
INPUT = 1e-100


def scores(network: Network, names: Sequence[str], conditions: Conditions) -> Scores:
    """|w| * dR/d|w| in the last of option `rounds` rounds, float64; -1 for weights that the rounds before it pruned.

    R is the sum of the logits for an image of ones that passes through the body (not the normaliser) with
    absolute weights and without biases, batch normalisation scaling by its own statistics without shifting: then the
    scores of every layer that all paths cross sum to R. Round k of n keeps total * (keep / total)^(k / n) weights,
    rounded up, by `conditions.select`; selecting `keep` from the result is the last round. Reads no data. Raises
    ValueError for a network in which R is no sum over paths. Tanaka et al. 2020, arXiv:2006.05467 (whose code takes
    absolute biases and shifts as well, which are zero in a fresh network).
    """
    rounds = int(conditions.number("rounds"))
    if rounds < 1:
        raise ValueError(f"synflow needs rounds >= 1, found {rounds}")
    state = positive(network)
    total = sum(state[name].numel() for name in names)
    kept: Masks = {}

    def remaining() -> Scores:
        found = flow(network, state, names, conditions.resolution)
        return {name: score.masked_fill(~kept[name], -1) if kept else score for name, score in found.items()}

    with evaluation_mode(network), torch.enable_grad():
        for k in range(1, rounds):
            kept = conditions.select(remaining(), math.ceil(total * (conditions.keep / total) ** (k / rounds)))
            for name, mask in kept.items():
                state[name] *= mask
        return remaining()


def positive(network: Network) -> dict[str, Tensor]:
    """The body's state with absolute weights and no shifts, in float64: products of many layers leave float32.

    Raises ValueError for layers that are not proportional to their input.
    """
    for name, module in network.body.named_modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.MultiheadAttention):
            raise ValueError(
                f"synflow needs a network of convolutions, linear layers, ReLU and batch normalisation: "
                f"{network.label} has {type(module).__name__} ({name}); take another pruner"
            )
    return {
        name: torch.zeros_like(tensor, dtype=torch.float64)
        if name.endswith(("bias", "running_mean"))
        else tensor.detach().double().abs()
        for name, tensor in network.body.state_dict().items()
        if tensor.is_floating_point()
    }


def flow(network: Network, state: Mapping[str, Tensor], names: Sequence[str], resolution: int) -> Scores:
    """State tensor times the derivative of R with respect to it, for each of `names`."""
    leaves = {name: state[name].detach().requires_grad_() for name in names}
    device = next(iter(leaves.values())).device
    image = torch.full((1, 3, resolution, resolution), INPUT, dtype=torch.float64, device=device)
    logits: Tensor = torch.func.functional_call(network.body, {**state, **leaves}, (image,))
    gradients = torch.autograd.grad(logits.sum(), list(leaves.values()))
    return {
        name: leaf.detach() * gradient / INPUT for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
