"""Weights and tickets on disk: safetensors, masks bit-packed, pruned weights not stored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as array_bytes
from safetensors.torch import load_file
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from bench import masks as masking
from bench import models
from bench.masks import Masks
from bench.store import Artifact, disk_errors, write_json

WEIGHTS, MASK, SPARSE, TICKET = "weights.safetensors", "mask.safetensors", "sparse.safetensors", "ticket.json"
# Weights that a ticket starts from where they are not the pre-trained ones.
START = "start.safetensors"
# What a round of pruning hands to the next one: all that is not rewound.
CARRIED = "carried.safetensors"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; a full disk is a StoreError (safetensors' own writer has an error of its own kind)."""
    with disk_errors(path.parent):
        path.write_bytes(content)


def save_weights(folder: Path, state: Mapping[str, Tensor], name: str = WEIGHTS) -> None:
    write_bytes(folder / name, tensor_bytes({key: value.detach().cpu().contiguous() for key, value in state.items()}))


def load_weights(artifact: Artifact, name: str = WEIGHTS) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(artifact.file(name))
    return loaded


def load_start(inputs: Mapping[str, Artifact]) -> dict[str, torch.Tensor]:
    """What a ticket was cut from: the weights that it starts from, where its start has whole ones, or pre-trained ones.

    A search that rewinds the prunable weights alone hands on only the others: those are the pre-trained ones.
    """
    if "start" in inputs and START in inputs["start"].manifest["files"]:
        return load_weights(inputs["start"], START)
    return load_weights(inputs["pretrain"])


def save_masks(folder: Path, masks: Masks) -> None:
    write_bytes(folder / MASK, array_bytes(masking.pack(masks)))


def load_masks(artifact: Artifact) -> Masks:
    """The artifact's masks; none of a dense network."""
    if MASK not in artifact.manifest["files"]:
        return {}
    return masking.unpack(load_arrays(artifact.file(MASK)))


def save_sparse(folder: Path, state: Mapping[str, Tensor], masks: Masks, selection: str | None = None) -> None:
    """Kept values of masked tensors in order, the other tensors whole, and the masks.

    selection: of a network beside the one that the recipe selects first.
    """
    cpu = {key: value.detach().cpu() for key, value in state.items()}
    kept = {key: value[masks[key].cpu()] if key in masks else value for key, value in cpu.items()}
    save_weights(folder, kept, sparse_name(selection))
    if masks:
        save_masks(folder, masks)


def sparse_name(selection: str | None) -> str:
    return SPARSE if selection is None else f"sparse-{selection}.safetensors"


def load_sparse(artifact: Artifact, selection: str | None = None) -> dict[str, Tensor]:
    """The state of `save_sparse`, pruned weights zero; of the first selection unless another was saved so."""
    name = sparse_name(selection)
    state = load_weights(artifact, name if name in artifact.manifest["files"] else SPARSE)
    for key, mask in load_masks(artifact).items():
        whole = torch.zeros(mask.shape, dtype=state[key].dtype)
        whole[mask] = state[key]
        state[key] = whole
    return state


def ticket_summary(masks: Masks) -> dict[str, Any]:
    """Kept and prunable weights and the achieved sparsity, overall and by layer [kept, prunable]."""
    return {
        "kept": masking.kept(masks),
        "prunable": sum(mask.numel() for mask in masks.values()),
        "sparsity": masking.sparsity(masks),
        "layers": {name: list(counts) for name, counts in masking.per_layer(masks).items()},
    }


def cost_summary(network: models.Network, masks: Masks, resolution: int) -> dict[str, Any]:
    """What is left of the whole network: parameters and multiply-accumulates of one image, before and after.

    macs_by_layer: [left, dense] of every convolution and linear layer, pruned or not.
    """
    dense = dict(network.body.named_parameters())
    pruned = {name: mask.numel() - int(mask.sum()) for name, mask in masks.items()}
    layers = {}
    for name, times in models.uses(network, resolution).items():
        count = dense[name].numel()
        layers[name] = [(count - pruned.get(name, 0)) * times, count * times]
    parameters = sum(parameter.numel() for parameter in dense.values())
    return {
        "parameters": parameters - sum(pruned.values()),
        "dense_parameters": parameters,
        "macs": sum(left for left, _ in layers.values()),
        "dense_macs": sum(whole for _, whole in layers.values()),
        "macs_by_layer": layers,
    }


def save_summary(folder: Path, name: str, summary: Any) -> None:
    with disk_errors(folder):
        write_json(folder / name, summary)
