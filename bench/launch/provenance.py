"""Where and from what a result was made: recorded in every manifest, never part of a key."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "numba", "ffcv")


@functools.cache
def code() -> dict[str, Any]:
    """Commit of the checkout and whether it was edited; "unknown" where this is no checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            found = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return found.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit or "unknown", "dirty": bool(changes)}


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def start(device: str, threads: int) -> dict[str, Any]:
    """The record of a run that begins now."""
    return {
        **code(),
        "versions": versions(),
        "host": socket.gethostname(),
        "device": device,
        "threads": threads,
        "started": time.time(),
    }


def finish(record: dict[str, Any]) -> None:
    """Complete the record: seconds and device-seconds of this attempt, peak memory in bytes."""
    torch = sys.modules["torch"]
    record["seconds"] = time.time() - record["started"]
    if record["device"].startswith("cuda"):
        record["device_name"] = torch.cuda.get_device_name()
        record["device_seconds"] = record["seconds"]
        record["peak_memory"] = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        record["device_name"] = platform.processor() or platform.machine()
        record["device_seconds"] = 0.0
        # The peak of this process so far, not of this stage alone; Linux counts in KiB.
        record["peak_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
