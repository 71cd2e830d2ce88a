"""Weights from elsewhere, under the architecture's names: files, and what torchvision and Hugging Face publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torchvision.models import get_model_weights

from bench import catalog
from bench.models.errors import ModelError
from bench.models.formats import Format, first, folded, held, known, projection, tensors
from bench.models.network import TOP, State, misfits, outline
from bench.models.unpickling import load_file
from bench.spec import Word

BESIDE = ("vocab.txt", "config.json")


def read_checkpoint(path: Path, *, architecture: Word, format: str = "auto", unpickle: bool = False) -> State:
    """The weights in a file (torch or .safetensors) or Hugging Face's folder, by the architecture's names, on the CPU.

    format: an entry of formats.FORMATS, or "auto", the one under which most names fit.
    The head may be of any size or for another task ("top.<name>"), or missing; so may what published weights may lack
    (see `body.Body`). A stem that the architecture's options changed is left out where the file's does not fit. Batch
    counters that old files lack are zero. Pruned weights are zero. Code in the file is run only with `unpickle`, and
    only where the tensors cannot be had without. Raises ModelError that names what was expected and found.
    """
    formats = known(format)
    return fitting(load_file(weights_in(path), unpickle=unpickle), architecture, formats, where=str(path))


def weights_in(path: Path) -> Path:
    """The file of weights in a folder; any other path as it is. Raises ModelError for a folder without."""
    if not path.is_dir():
        return path
    for name in catalog.WEIGHTS:
        if (path / name).exists():
            return path / name
    raise ModelError(f"{path} is a folder without weights: expected {' or '.join(catalog.WEIGHTS)} in it")


def read_projection(path: Path, *, unpickle: bool = False) -> State:
    """The projection head in a file of MoCo v2's or simCLR's weights, as a sequence's layers 0 and 2; empty if none."""
    return projection(load_file(path, unpickle=unpickle))


def fitting(content: Mapping[str, Any], architecture: Word, formats: Sequence[Format], *, where: str) -> State:
    """The weights in a file's content, under the format that fits the architecture best. See `read_checkpoint`."""
    body = outline(architecture, classes=2)
    expected = {name: tensor.shape for name, tensor in body.module.state_dict().items()}
    found = [(format, folded(tensors(content, format) or {})) for format in formats]
    # Most names known, then fewest unknown, then the first.
    chosen, state = max(
        found, key=lambda pair: (len(pair[1].keys() & expected.keys()), -len(_unknown(pair[1], expected)))
    )
    if not state.keys() & expected.keys():
        tried = "; ".join(f"{format.name}: {held(content, format)}" for format in formats)
        raise ModelError(f"{where} holds no weights of {architecture}: expected {first(expected)}; found as {tried}")
    for name in body.stem:
        if name in state and state[name].shape != expected[name]:
            del state[name]
    for name in expected:
        if name.endswith(".num_batches_tracked"):
            state.setdefault(name, torch.tensor(0))
    head = {f"{body.head}.weight", f"{body.head}.bias", *(name for name in state if name.startswith(TOP))}
    absent = {*body.stem, *body.optional} - state.keys()
    misfit = misfits(
        {name: shape for name, shape in expected.items() if name not in head | absent},
        {name: tensor for name, tensor in state.items() if name not in head},
    )
    if misfit:
        hint = _vocabularies(expected, state)
        raise ModelError(f"{where} does not fit {architecture} as {chosen.name}: {misfit}{hint}")
    return state


def _unknown(state: State, expected: Mapping[str, torch.Size]) -> list[str]:
    return [name for name in state if name not in expected and not name.startswith(TOP)]


def _vocabularies(expected: Mapping[str, torch.Size], state: State) -> str:
    """The sizes of two vocabularies, where they differ."""
    for name in state.keys() & expected.keys():
        theirs, own = len(state[name]) if state[name].dim() else 0, expected[name]
        if name.endswith("word_embeddings.weight") and theirs != own[0]:
            return f". Its vocabulary has {theirs} tokens, not {own[0]}: take the architecture's option vocabulary=..."
    return ""


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


def huggingface_weights(architecture: Word, model: str, weights_root: Path) -> State:
    """Published weights of a model, for example of "bert-base-uncased", from its folder in `weights_root`.

    Downloads nothing. See `read_checkpoint`. Raises ModelError that names the command which fetches the folder, if it
    is not there.
    """
    folder = weights_root / model
    if not folder.is_dir():
        command = f"python -m bench.prepare huggingface:{model}"
        raise ModelError(f"{folder} is not there: run `{command}` where downloads are allowed")
    return read_checkpoint(folder, architecture=architecture)


def download_huggingface(model: str, weights_root: Path) -> Path:
    """The model's folder in `weights_root`, with its weights, vocab.txt and config.json, downloaded where not there.

    Every file appears whole, or not at all. Raises ModelError if one cannot be fetched.
    """
    folder = weights_root / model
    if not any((folder / name).exists() for name in catalog.WEIGHTS):
        _fetch(model, catalog.WEIGHTS, folder)
    for name in BESIDE:
        if not (folder / name).exists():
            _fetch(model, (name,), folder)
    return folder


def _fetch(model: str, names: Sequence[str], folder: Path) -> None:
    """Download the first of these files that the model has."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise ModelError(f"huggingface_hub is not installed ({error}): pip install 'ticketbench[text]'") from None
    for name in names:
        try:
            hf_hub_download(model, name, local_dir=folder)
            return
        except (OSError, ValueError, EntryNotFoundError) as error:
            absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            if absent and name != names[-1]:
                continue
            raise ModelError(
                f"{name} of {model} could not be downloaded to {folder} ({error}). Run this on a machine with network"
            ) from error
