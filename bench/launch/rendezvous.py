"""How the processes of one job find each other. Imports no torch before they meet.

Rank 0 opens a TCPStore on a port that the operating system chooses, so that there is nothing to collide with, and
writes where it is to a file in a folder that all see.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench.launch.devices import cuda_devices
from bench.store import write_json

# Processes of one job start together, but their imports may take minutes on a file system under load.
JOIN_MIN = 10.0


class RanksError(Exception):
    """The processes of a job did not find each other, or lost each other between stages."""


def file_name(environ: Mapping[str, str]) -> str:
    """The announcement of one attempt: of a job (an element of an array has an id of its own), restart and step."""
    attempt = (environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "RESTART_COUNT", "STEP_ID"))
    return f"rendezvous-{'-'.join(attempt)}.json"


def choose_device(device: str, local_rank: int) -> str:
    """The device of a process: of the GPUs that SLURM lets it see, its own. CUDA_VISIBLE_DEVICES stays as it is."""
    if not device.startswith("cuda"):
        return device
    visible = len(cuda_devices())
    if visible <= 1:
        return "cuda:0"
    if local_rank >= visible:
        raise RanksError(
            f"process {local_rank} of {socket.gethostname()} (they count from 0) sees {visible} GPUs and none is left "
            "for it; ask for as many GPUs as tasks per node"
        )
    return f"cuda:{local_rank}"


def announce(path: Path, environ: Mapping[str, str]) -> Any:
    """Serve a store on a free port and write where it is."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    token = uuid.uuid4().hex
    store.set("token", token)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"hosts": addresses(environ), "port": store.port, "token": token})
    return store


def addresses(environ: Mapping[str, str]) -> list[str]:
    """By what this host may be reached from the others of the job, the likeliest first."""
    if environ.get("SLURM_NNODES") == "1":
        return ["127.0.0.1"]
    found = [socket.getfqdn(), socket.gethostname()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: asks which of our addresses a packet to elsewhere would carry.
        probe.connect(("198.51.100.1", 9))
        found.append(probe.getsockname()[0])
    # Nodes that are one machine, as in a cluster for tests.
    return list(dict.fromkeys([*found, "127.0.0.1"]))


def decline(folder: Path, environ: Mapping[str, str]) -> None:
    """Rank 0 has nothing to do: the others need not wait for it, nor import what they would compute with."""
    write_json(folder / file_name(environ), {"declined": True})


def declined(folder: Path, environ: Mapping[str, str], *, timeout_s: float = JOIN_MIN * 60) -> bool:
    """Has rank 0 nothing to do? The others wait for its word, and go on to meet it where it has."""
    path, deadline = folder / file_name(environ), time.monotonic() + timeout_s
    if environ["SLURM_PROCID"] == "0":
        return path.exists()
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            return "declined" in json.loads(path.read_bytes())
        time.sleep(0.2)
    return False


def find(path: Path, rank: int, *, timeout_s: float = JOIN_MIN * 60) -> Any:
    """Connect to the store that rank 0 announces. Raises RanksError past the time."""
    deadline, tried = time.monotonic() + timeout_s, ""
    while True:
        with contextlib.suppress(OSError, ValueError):
            # Listing the folder makes network file systems look again for what was not there.
            os.listdir(path.parent)
            found = json.loads(path.read_bytes())
            for host in found["hosts"]:
                if (store := connect(host, found["port"], found["token"])) is not None:
                    return store
            tried = f"; port {found['port']} of {', '.join(found['hosts'])} did not answer"
        if time.monotonic() > deadline:
            raise RanksError(
                f"rank {rank} on {socket.gethostname()} did not find rank 0 through {path} "
                f"within {timeout_s / 60:g} min{tried or ': rank 0 has not written it'}"
            )
        time.sleep(0.2)


def connect(host: str, port: int, token: str) -> Any:
    """A connection to the store that holds the token, or None: the same port of another host may be anybody's."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:
        # Before the store's own client, which tries again and again and writes of every failure.
        socket.create_connection((host, port), timeout=5).close()
        store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=10))
        if store.get("token") != token.encode():
            return None
    except (OSError, RuntimeError):
        return None
    store.set_timeout(timedelta(minutes=JOIN_MIN))
    return store
