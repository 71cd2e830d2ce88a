"""Checkpoints of a running stage: written atomically, read without unpickling objects."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from bench.store import disk_errors

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint; a kill at any instant leaves the old one or the new one."""
    content = io.BytesIO()
    # To memory first: torch.save reports a full disk as an error of its own kind.
    torch.save(state, content)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # One name per process: a leftover of a killed attempt blocks nobody and is overwritten or ignored.
        temporary = folder / f".{NAME}.{os.getpid()}"
        try:
            with temporary.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(folder / NAME)
        finally:
            temporary.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The folder's checkpoint on the CPU, or None where there is none that can be read."""
    try:
        state: dict[str, Any] = torch.load(folder / NAME, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        # Damage to a checkpoint costs its stage a fresh start, never a wrong number.
        (folder / NAME).unlink(missing_ok=True)
        return None
    return state
