"""Weights from elsewhere: checkpoint files and torchvision's published ones, under torchvision's names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from bench.models.errors import ModelError
from bench.models.network import State, misfits, outline
from bench.spec import Word


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """Where a file keeps the weights: in the entry `container` (or at the top), every name behind `prefix`."""

    name: str
    container: str | None = None
    prefix: str = ""


# The only table of formats; the one under which most names are known is taken, of equals the first.
FORMATS = (
    Format(name="state dict"),
    Format(name="state dict of a wrapped network", prefix="module."),
    Format(name="training checkpoint", container="state_dict"),
    Format(name="training checkpoint of a wrapped network", container="state_dict", prefix="module."),
    Format(name="training checkpoint", container="model"),
    Format(name="training checkpoint of a wrapped network", container="model", prefix="module."),
)


def read_checkpoint(path: Path, *, architecture: Word) -> State:
    """The weights in a file (torch or .safetensors), under the architecture's names, on the CPU.

    The head may be of any size, or missing. A stem that the architecture's options changed is left out where the
    file's does not fit. Batch counters that old files lack are zero. Only tensors and plain containers are loaded,
    never code. Raises ModelError that names what was expected and found.
    """
    content = _load(path)
    body = outline(architecture, classes=2)
    expected = {name: tensor.shape for name, tensor in body.module.state_dict().items()}
    candidates = [_names(content, format) for format in FORMATS]
    state = max(candidates, key=lambda found: len(found.keys() & expected.keys()))
    if not state.keys() & expected.keys():
        raise ModelError(
            f"{path} holds no weights of {architecture} under any known format: expected names such as "
            f"{next(iter(expected))}, found {_first(content)}"
        )
    for name in body.stem:
        if name in state and state[name].shape != expected[name]:
            del state[name]
    for name in expected:
        if name.endswith(".num_batches_tracked"):
            state.setdefault(name, torch.tensor(0))
    head = {f"{body.head}.weight", f"{body.head}.bias"}
    absent = set(body.stem) - state.keys()
    misfit = misfits(
        {name: shape for name, shape in expected.items() if name not in head | absent},
        {name: tensor for name, tensor in state.items() if name not in head},
    )
    if misfit:
        raise ModelError(f"{path} does not fit {architecture}: {misfit}")
    return state


def weights_file(architecture: str, weights: str) -> tuple[str, str]:
    """Address and file name of torchvision's published weights, for example of ("resnet50", "IMAGENET1K_V1").

    Raises ModelError if torchvision publishes none of that name.
    """
    try:
        published = {entry.name: entry.url for entry in get_model_weights(architecture)}
    except ValueError:
        raise ModelError(f"torchvision publishes no weights for {architecture}") from None
    if weights not in published:
        raise ModelError(f"torchvision publishes no {weights} for {architecture} (known: {', '.join(published)})")
    return published[weights], published[weights].rpartition("/")[2]


def torchvision_weights(architecture: Word, weights: str, weights_root: Path) -> State:
    """Published weights from `weights_root`; downloads nothing. See `read_checkpoint`.

    Raises ModelError that names the command which fetches the file, if it is not there.
    """
    path = weights_root / weights_file(architecture.name, weights)[1]
    if not path.exists():
        word = f"torchvision:{architecture.name}" + ("" if weights == "IMAGENET1K_V1" else f":{weights}")
        raise ModelError(f"{path} is not there: run `python -m bench.prepare {word}` where downloads are allowed")
    return read_checkpoint(path, architecture=architecture)


def download_torchvision_weights(architecture: str, weights_root: Path, weights: str = "IMAGENET1K_V1") -> Path:
    """Path of the published weights in `weights_root`, downloaded if they are not there.

    The file appears whole and checked, or not at all: its name ends in the first digits of its sha256. Raises
    ModelError if it cannot be fetched.
    """
    url, name = weights_file(architecture, weights)
    path = weights_root / name
    if not path.exists():
        weights_root.mkdir(parents=True, exist_ok=True)
        digits = path.stem.rpartition("-")[2]
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"{url} could not be downloaded to {path} ({error}). Run this on a machine with network"
            ) from error
    return path


def _load(path: Path) -> Mapping[str, Any]:
    """What a file holds at its top, which is a dictionary with text for keys."""
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _load_torch(path)
    except FileNotFoundError:
        raise ModelError(f"{path} is not there") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {_first_line(error)}") from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ModelError(f"{path} holds a {type(content).__name__}, expected a dictionary of weights by name")
    return content


def _load_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch says the same for a foreign class and for bytes that are no pickle at all.
        raise ModelError(
            f"{path} is damaged or holds more than tensors, which is not loaded because it could run code; "
            "save its state dict alone"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is damaged or no checkpoint: {_first_line(error)}") from error


def _names(content: Mapping[str, Any], format: Format) -> State:
    """Weights of the content under `format`, by the network's names; names it does not explain stay as they are."""
    inner = content if format.container is None else content.get(format.container)
    if not isinstance(inner, Mapping):
        return {}
    return {
        str(name).removeprefix(format.prefix): tensor for name, tensor in inner.items() if isinstance(tensor, Tensor)
    }


def _first(content: Mapping[str, Any]) -> str:
    names = list(content)
    return f"{len(names)} entries (first: {', '.join(names[:3])})" if names else "nothing"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
