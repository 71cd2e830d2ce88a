"""Where and from what a result was made: recorded in every manifest, never part of a key."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import platform
import resource
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.data import beton
from bench.launch import snapshot
from bench.launch.inputs import sets_read
from bench.spec import Stage

PACKAGES = ("torch", "torchvision", "numpy", "numba", "ffcv")


@functools.cache
def code() -> dict[str, Any]:
    """Commit and hash of the running code, and whether it was edited since that commit; "unknown" outside of git."""
    return {**snapshot.origin(snapshot.running()), "code": snapshot.digest(snapshot.running())}


def job(environ: Mapping[str, str] = os.environ) -> str:
    """The SLURM job that this process belongs to, "123_4" or "123"; "" outside of SLURM."""
    if environ.get("SLURM_ARRAY_JOB_ID") and environ.get("SLURM_ARRAY_TASK_ID"):
        return f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return environ.get("SLURM_JOB_ID", "")


def restarts(environ: Mapping[str, str] = os.environ) -> int:
    """How often SLURM requeued this job; 0 outside of SLURM."""
    return int(environ.get("SLURM_RESTART_COUNT") or 0)


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


def data(stage: Stage, data_root: Path) -> dict[str, str]:
    """sha256 of the files of images that a stage reads, by name; a key holds the set's name, this says which files."""
    found: dict[str, str] = {}
    for read, split in sets_read(stage):
        resolution = beton.file_resolution(read.dataset, resolution=read.resolution, loader=read.loader)
        sidecar = beton.files(read.dataset, split, data_root=data_root, resolution=resolution)[2]
        with contextlib.suppress(OSError, ValueError, KeyError):
            content, name = json.loads(sidecar.read_bytes()), f"{sidecar.parent.name}/{sidecar.stem}"
            found[name] = str(content["sha256"])
            if "targets_sha256" in content:
                found[f"{name} targets"] = str(content["targets_sha256"])
    return found


def start(stage: Stage, *, device: str, threads: int, data_root: Path) -> dict[str, Any]:
    """The record of a run of a stage that begins now."""
    return {
        **code(),
        "data": data(stage, data_root),
        "versions": versions(),
        "job": job(),
        "restarts": restarts(),
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
