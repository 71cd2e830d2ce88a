"""The processes of a development cluster, found by what only they have: its configuration, its logs, its jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from devcluster_settings import Cluster, ClusterError

STOP_S = 20.0


def processes(cluster: Cluster, name: str) -> list[int]:
    """A daemon and its helpers: what runs its command line on this configuration, and what writes its log.

    A recycled process id is never taken for a daemon, and zombies have neither.
    """
    log, argv = f"{cluster.folder}/{name}.log", cluster.daemons[name]

    def belongs(pid: int) -> bool:
        return (words(pid, "cmdline") == argv and bears(pid, cluster)) or writes(pid, log)

    return [pid for pid in pids() if not is_step(pid) and belongs(pid)]


def steps(cluster: Cluster, node: str) -> list[int]:
    """The slurmstepds of a node: they outlive their slurmd and write its log."""
    return [pid for pid in pids() if is_step(pid) and writes(pid, f"{cluster.folder}/{node}.log")]


def job_processes(cluster: Cluster, node: str) -> list[int]:
    """A node's slurmstepds, what they started, and what bears the marks of this node's jobs in its environment."""
    found = set(steps(cluster, node))
    children: dict[int, list[int]] = {}
    for pid in pids():
        with suppress(OSError):
            # The name before the parent's id may hold blanks and brackets.
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(pid)
            if bears(pid, cluster, f"SLURMD_NODENAME={node}"):
                found.add(pid)
    queue = list(found)
    while queue:
        new = [pid for pid in children.get(queue.pop(), []) if pid not in found]
        found.update(new)
        queue += new
    return sorted(found)


def pids() -> Iterator[int]:
    """All processes but this one."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def is_step(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "slurmstepd"
    return False


def bears(pid: int, cluster: Cluster, *variables: str) -> bool:
    """Whether a process has this cluster's SLURM_CONF and these variables in its environment."""
    return {f"SLURM_CONF={cluster.conf}", *variables} <= set(words(pid, "environ"))


def words(pid: int, kind: str) -> list[str]:
    """The command line or environment of a process; empty if it has ended or is another user's."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{kind}").read_bytes().decode(errors="replace").removesuffix("\0").split("\0")
    return []


def writes(pid: int, path: str) -> bool:
    """Whether a process has the file open for writing; False if it has ended or is another user's."""
    with suppress(OSError):
        for file in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(file.path) == path and file.stat(follow_symlinks=False).st_mode & 0o200:
                    return True
    return False


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether it is done in time; looks every 50 ms."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def end(find: Callable[[], list[int]], number: signal.Signals) -> None:
    """What `find` finds is gone: signalled, and killed if it stays or more of it appears. Raises ClusterError."""

    def none_left(number: signal.Signals) -> bool:
        left = find()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return not left

    if none_left(number) or (number != signal.SIGKILL and wait_until(lambda: not find(), STOP_S)):
        return
    if not wait_until(lambda: none_left(signal.SIGKILL), STOP_S):
        raise ClusterError(f"processes {', '.join(map(str, find()))} survive SIGKILL")
