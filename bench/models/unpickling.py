"""What a checkpoint file holds, read without running code that it may bring along."""

from __future__ import annotations

import importlib
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors

from bench.models.errors import ModelError
from bench.models.formats import FORMATS

# torch's format before 1.6: magic number, version, system, contents, storages, each a pickle, then the numbers.
LEGACY_PICKLES = 5


class Absent:
    """Stands for an object whose class or function is not loaded: takes any arguments and state, keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> Absent:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def load_file(path: Path, *, unpickle: bool = False) -> Mapping[str, Any]:
    """What a file (torch or .safetensors) holds at its top, on the CPU.

    Only tensors and plain containers are loaded; other objects become `Absent`, and no code of the file runs.
    unpickle: where that cannot be done (the file rebuilds functions, say), unpickle it, which runs its code.
    Raises ModelError that names the file.
    """
    try:
        content = load_safetensors(path) if path.suffix == ".safetensors" else _load_torch(path, unpickle)
    except FileNotFoundError:
        raise ModelError(f"{path} is not there") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read: {_first_line(error)}") from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        held = "whole object" if isinstance(content, Absent | torch.nn.Module) else type(content).__name__
        raise ModelError(f"{path} holds a {held}, expected a dictionary of weights by name: save its state_dict()")
    return content


def _load_torch(path: Path, unpickle: bool) -> Any:
    try:
        foreign = _imports(path)
        # torch looks up what it holds harmless before these.
        with torch.serialization.safe_globals([(Absent, name) for name in foreign]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if unpickle:
            return _unpickle(path)
        named = [name for name in foreign if not name.startswith(("torch.", "collections."))]
        usual = ", ".join(format.name for format in FORMATS if format.needs_unpickling)
        raise ModelError(
            f"{path} cannot be read without running code that it holds ({', '.join(named[:3]) or 'an unusual pickle'}; "
            f"files of format {usual} may hold some): if you trust where it is from, add unpickle=true beside its path"
        ) from error
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is damaged or no checkpoint: {_first_line(error)}") from error


def _imports(path: Path) -> list[str]:
    """Dotted names of the classes and functions that the file refers to. Raises ValueError if it is no pickle."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            contents = [name for name in archive.namelist() if name.endswith("data.pkl")]
            with archive.open(contents[0]) as file:
                return _globals(file)
    with path.open("rb") as file:
        return sorted({name for _ in range(LEGACY_PICKLES) for name in _globals(file)})


def _globals(file: IO[bytes]) -> list[str]:
    """The names that the next pickle of `file` refers to; the file stands behind it then."""
    return sorted({str(name).replace(" ", ".") for code, name, _ in pickletools.genops(file) if code.name == "GLOBAL"})


def _unpickle(path: Path) -> Any:
    """Everything in the file, as its code makes it; by dill, whose pickles need it, where that is installed."""
    try:
        pickling = importlib.import_module("dill")
    except ModuleNotFoundError:
        pickling = pickle
    try:
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=pickling)
    except ModuleNotFoundError as error:
        raise ModelError(f"{path} needs the Python package {error.name!r} to be unpickled: install it") from error
    # Code of the file runs here, and may fail with anything.
    except Exception as error:
        raise ModelError(f"{path} cannot be unpickled: {type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
