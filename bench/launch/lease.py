"""One process at a time on a file system that several hosts share, without flock (Lustre has it only where mounted so).

A lease is a folder with a file per holder, numbered: the newest number holds. Whoever finds that one released or dead
creates the next number, which the file system lets exactly one do. Numbers never come back, so a waiter that was slow
to act on what it saw can take over from nobody else.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.launch.lock import Busy
from bench.store import disk_errors

RENEW_S = 15.0
# NFS may show an age that is a minute old, and a loaded server may delay a renewal.
STALE_S = 120.0
POLL_S = 1.0
# A file's time that means "released": one atomic call, which needs no space on a full disk.
RELEASED = (0, 0)


@contextlib.contextmanager
def hold(
    path: Path, what: str, *, wait_s: float = 300.0, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[], bool]]:
    """Hold the lease `path` (a folder) for the block; `what` tells others what the holder does.

    Yields a function that says whether the lease is still held: another host takes it over from a process that did
    not run for STALE_S seconds. Calls `on_wait` once with a sentence where there is a holder; raises Busy when it is
    still there after `wait_s`, StoreError where the folder cannot be written.
    """
    with disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        mine = _acquire(path, _me(what), wait_s, on_wait)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path / str(mine), ended), daemon=True)
    renewal.start()
    try:
        yield lambda: _held(path, mine)
    finally:
        ended.set()
        renewal.join()
        # Gone where another host took over; then there is nothing of ours to release.
        with contextlib.suppress(OSError):
            os.utime(path / str(mine), RELEASED)


def _held(path: Path, mine: int) -> bool:
    """Renew the lease and say whether it is still ours."""
    try:
        os.utime(path / str(mine))
    except FileNotFoundError:
        return False
    return _newest(path) == mine


def _acquire(path: Path, me: Mapping[str, Any], wait_s: float, on_wait: Callable[[str], None]) -> int:
    """The number of our file in the lease. Raises Busy."""
    deadline, waiting = time.monotonic() + wait_s, False
    while True:
        newest = _newest(path)
        holder = _holder(path, newest)
        if holder is None:
            if _claim(path, newest + 1, me):
                return newest + 1
            # Another was faster: look again who, soon.
            time.sleep(min(0.05, POLL_S))
            continue
        if time.monotonic() >= deadline:
            raise Busy(
                f"{path.parent} is in use by {_described(holder)}; wait for it, or end it there and run this again "
                f"(where that host is down, the lease is free {STALE_S:.0f} seconds later)"
            )
        if not waiting:
            on_wait(f"waiting for {_described(holder)}")
            waiting = True
        time.sleep(POLL_S)


def _newest(path: Path) -> int:
    """The highest number in the lease, 0 where there is none yet."""
    return max((int(name) for name in os.listdir(path) if name.isdecimal()), default=0)


def _holder(path: Path, number: int) -> dict[str, Any] | None:
    """The record of who holds this number; None where nobody does, so that the next number may be claimed."""
    try:
        # NFS asks the server for the attributes of a file that is opened, not of one that is only looked at.
        with (path / str(number)).open(encoding="utf-8") as file:
            renewed = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        # Number 0, or one that its successor has just removed: claiming what comes after it fails then.
        return None
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError:
        # It is being written, or its process died meanwhile: only its age counts.
        found = {}
    if renewed == RELEASED[1] or _dead(found) or _server_time(path) - renewed > STALE_S:
        return None
    return found


def _server_time(path: Path) -> float:
    """Now by the clock that gives the files in this folder their times; this host's may be off."""
    with tempfile.TemporaryFile(dir=path) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _dead(holder: Mapping[str, Any]) -> bool:
    """Is the holder a process of this host that has ended? Of other hosts only age tells."""
    if (holder.get("host"), holder.get("namespace")) != (socket.gethostname(), _namespace()):
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _claim(path: Path, number: int, me: Mapping[str, Any]) -> bool:
    """Create this number and with it hold the lease; False where another process did, or is already further."""
    mine = path / str(number)
    try:
        file = mine.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            json.dump(me, file)
    except OSError:
        # A full disk: nobody need wait for this number to grow old.
        os.utime(mine, RELEASED)
        raise
    if _newest(path) != number:
        # We had looked before a higher number was there; it holds, ours never did.
        mine.unlink(missing_ok=True)
        return False
    for name in os.listdir(path):
        if name.isdecimal() and int(name) < number:
            # In a folder with the sticky bit, files of other people stay; they do no harm.
            with contextlib.suppress(OSError):
                (path / name).unlink()
    return True


def _renew(mine: Path, ended: threading.Event) -> None:
    """Keep the file's time recent until the end, or until another host took over and removed it."""
    while not ended.wait(RENEW_S):
        try:
            os.utime(mine)
        except FileNotFoundError:
            return
        except OSError:
            # A server that does not answer now may answer in time next time.
            continue


def _me(what: str) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "user": _user(),
        "what": what,
        "since": time.strftime("%F %T"),
        "token": secrets.token_hex(8),
    }


def _namespace() -> str:
    """Which processes a process id of this host counts: containers may share a host's name, not its processes."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may not know its user's name.
        return str(os.getuid())


def _described(holder: Mapping[str, Any]) -> str:
    if not holder:
        return "another process"
    return "{what} of {user} (process {pid} on {host}, since {since})".format_map(holder)
