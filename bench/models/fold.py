"""Batch normalisation folded into the convolutions before it: the same function in evaluation mode, with less work."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from bench.models.network import Network

Module = TypeVar("Module", bound=nn.Module)
# Tracing takes as long as a small network's pass, and an attack in training folds the same network at every step.
_PAIRS: WeakKeyDictionary[nn.Module, list[tuple[str, str]]] = WeakKeyDictionary()


def folded(network: Module) -> Module:
    """A copy in evaluation mode whose outputs differ from the network's by rounding; the network stays as it is.

    A batch normalisation is folded where it alone reads its convolution. Architectures whose forward pass cannot be
    traced, because it branches on its input, are copied as they are.
    """
    copied = copy.deepcopy(network).eval()
    root = _root(copied)
    for name, module in _replacements(root, _pairs(root)).items():
        root.set_submodule(name, module)
    return copied


@contextmanager
def folding(network: nn.Module) -> Iterator[None]:
    """Inside, the network itself computes as `folded` does; its weights must not change there.

    For a network in evaluation mode. Weights that are computed (torch.nn.utils.parametrize) are not folded, for they
    may be computed anew at a forward pass. Afterwards every module is in its place again.
    """
    root = _root(network)
    if root not in _PAIRS:
        _PAIRS[root] = _pairs(root)
    replacements = _replacements(root, _PAIRS[root])
    own = {name: root.get_submodule(name) for name in replacements}
    try:
        for name, module in replacements.items():
            root.set_submodule(name, module)
        yield
    finally:
        for name, module in own.items():
            root.set_submodule(name, module)


def _root(network: nn.Module) -> nn.Module:
    return network.body if isinstance(network, Network) else network


@torch.no_grad()
def _replacements(root: nn.Module, pairs: list[tuple[str, str]]) -> dict[str, nn.Module]:
    """Name -> what stands in its place: a convolution that normalises as well, and after it nothing."""
    found: dict[str, nn.Module] = {}
    for convolution, normalisation in pairs:
        conv, norm = root.get_submodule(convolution), root.get_submodule(normalisation)
        # By type: the pairs are those of the first trace, and a parametrised convolution has a class of its own.
        if type(conv) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d):
            found[convolution], found[normalisation] = _fused(conv, norm), nn.Identity()
    return found


def _fused(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    fused = copy.copy(conv)
    fused._parameters = {"weight": nn.Parameter(weight, False), "bias": nn.Parameter(bias, False)}
    return fused


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
