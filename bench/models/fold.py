"""Batch normalisation folded into the convolutions before it: the same function in evaluation mode, with less work."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TypeVar, cast

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.models.network import Network

Module = TypeVar("Module", bound=nn.Module)


def folded(network: Module) -> Module:
    """A copy in evaluation mode whose outputs differ from the network's by rounding; the network stays as it is.

    A batch normalisation is folded where it alone reads its convolution. Architectures whose forward pass cannot be
    traced, because it branches on its input, are copied as they are.
    """
    copied = copy.deepcopy(network).eval()
    root = copied.body if isinstance(copied, Network) else copied
    for convolution, normalisation in _pairs(root):
        fused = fuse_conv_bn_eval(
            cast(nn.Conv2d, root.get_submodule(convolution)), cast(nn.BatchNorm2d, root.get_submodule(normalisation))
        )
        root.set_submodule(convolution, fused)
        root.set_submodule(normalisation, nn.Identity())
    return copied


def _pairs(root: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions and of the batch normalisations that read them and nothing else, each used once."""
    try:
        graph = fx.Tracer().trace(root)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError):
        return []
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    pairs = []
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(root.get_submodule(node.target), nn.BatchNorm2d):
            continue
        before = node.args[0]
        if before.op != "call_module" or not isinstance(root.get_submodule(before.target), nn.Conv2d):
            continue
        statistics = root.get_submodule(node.target).running_mean is not None
        if statistics and len(before.users) == 1 and calls[node.target] == calls[before.target] == 1:
            pairs.append((before.target, node.target))
    return pairs
