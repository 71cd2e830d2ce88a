"""Checkpoints of a running stage: written atomically, read without unpickling objects."""

from __future__ import annotations

import io
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import torch

from bench.store import disk_errors

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint; a kill at any instant leaves the old one or the new one."""
    # To memory first: torch.save reports a full disk as an error of its own kind.
    content = encode(state)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # One name per process, also of other hosts: a leftover blocks nobody, and two attempts that overlap after
        # the failure of a node write two files.
        temporary = folder / f".{NAME}.{socket.gethostname()}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / NAME)
        finally:
            temporary.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The folder's checkpoint on the CPU, or None where there is none that can be read."""
    try:
        return decode((folder / NAME).read_bytes())
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        # Damage to a checkpoint costs its stage a fresh start, never a wrong number.
        (folder / NAME).unlink(missing_ok=True)
        return None


def encode(state: dict[str, Any]) -> memoryview:
    """A checkpoint's bytes."""
    content = io.BytesIO()
    torch.save(state, content)
    return content.getbuffer()


def decode(content: bytes | memoryview) -> dict[str, Any]:
    """The state of a checkpoint's bytes, on the CPU. Raises what torch.load raises for damage."""
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state
