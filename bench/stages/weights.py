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
from bench.masks import Masks
from bench.store import Artifact, disk_errors, write_json

WEIGHTS, MASK, SPARSE, TICKET = "weights.safetensors", "mask.safetensors", "sparse.safetensors", "ticket.json"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; a full disk is a StoreError (safetensors' own writer has an error of its own kind)."""
    with disk_errors(path.parent):
        path.write_bytes(content)


def save_weights(folder: Path, state: Mapping[str, Tensor], name: str = WEIGHTS) -> None:
    write_bytes(folder / name, tensor_bytes({key: value.detach().cpu().contiguous() for key, value in state.items()}))


def load_weights(artifact: Artifact, name: str = WEIGHTS) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(artifact.file(name))
    return loaded


def save_masks(folder: Path, masks: Masks) -> None:
    write_bytes(folder / MASK, array_bytes(masking.pack(masks)))


def load_masks(artifact: Artifact) -> Masks:
    return masking.unpack(load_arrays(artifact.file(MASK)))


def save_sparse(folder: Path, state: Mapping[str, Tensor], masks: Masks) -> None:
    """Kept values of masked tensors in order, the other tensors whole, and the masks."""
    cpu = {key: value.detach().cpu() for key, value in state.items()}
    save_weights(
        folder, {key: value[masks[key].cpu()] if key in masks else value for key, value in cpu.items()}, SPARSE
    )
    if masks:
        save_masks(folder, masks)


def load_sparse(artifact: Artifact) -> dict[str, Tensor]:
    """The state of `save_sparse`, pruned weights zero."""
    state = load_weights(artifact, SPARSE)
    masks = load_masks(artifact) if MASK in artifact.manifest["files"] else {}
    for key, mask in masks.items():
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


def save_summary(folder: Path, name: str, summary: Any) -> None:
    with disk_errors(folder):
        write_json(folder / name, summary)
