"""Multiply-accumulates of every convolution and linear layer, counted from the sizes of what they put out."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from bench.models.modes import evaluation_mode
from bench.models.network import Network


@torch.no_grad()
def uses(network: Network, resolution: int) -> dict[str, int]:
    """Weight name -> multiply-accumulates per weight for one image of `resolution` px, or one text of so many tokens.

    A weight of a convolution is used once at every position of its output, one of a linear layer once per token.
    Layers in the order in which they run; attention counts its projections, not the products of tokens.
    """
    found: dict[str, int] = {}
    hooks = []
    for name, module in network.body.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MultiheadAttention):
            hooks.append(module.register_forward_hook(partial(_count, found, name)))
    try:
        with evaluation_mode(network):
            network(network.blank(resolution))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _count(found: dict[str, int], name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    if isinstance(module, nn.Conv2d):
        key, positions = "weight", output[0, 0].numel()
    elif isinstance(module, nn.Linear):
        key, positions = "weight", output[0].numel() // module.out_features
    else:
        # torch computes the output projection inside the attention, without calling the layer.
        key, positions = "in_proj_weight", inputs[0].shape[1]
        found[f"{name}.out_proj.weight"] = found.get(f"{name}.out_proj.weight", 0) + positions
    found[f"{name}.{key}"] = found.get(f"{name}.{key}", 0) + positions
