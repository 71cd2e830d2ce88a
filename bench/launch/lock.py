"""One local run per root: two would compete for the same cores and compute stages twice."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from bench.store import disk_errors


class Busy(Exception):
    """Another local run holds the root; the message says which."""


@contextlib.contextmanager
def hold(root: Path, grid: str) -> Iterator[None]:
    """Hold the root for the block. Raises Busy; the lock goes with its process, however that ends."""
    path = root / "local.lock"
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Busy(
                f"{root} is in use by a local run ({_holder(file.read())}); "
                "wait for it, stop it, or give another --root"
            ) from None
        except OSError:
            # File systems without flock: the store stays correct, work may be done twice.
            yield
            return
        file.truncate(0)
        json.dump(
            {"pid": os.getpid(), "host": socket.gethostname(), "grid": grid, "since": time.strftime("%F %T")}, file
        )
        file.flush()
        yield
        file.truncate(0)


def _holder(text: str) -> str:
    try:
        found = json.loads(text)
        return f"grid {found['grid']}, process {found['pid']} on {found['host']} since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
