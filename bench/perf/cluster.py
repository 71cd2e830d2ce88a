"""A real SLURM for a benchmark: started, spoken to by this process and those that it starts, and stopped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.launch import controller
from bench.launch.devices import cores
from bench.perf import Unavailable

CHECKOUT = Path(__file__).parents[2]
# SLURM's own defaults, said here because the numbers depend on them.
SETTINGS = ("MaxArraySize=1001", "MaxJobCount=10000")
# A node of one CPU each.
NODES = min(cores(), 8)


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """A new cluster is what SLURM's commands speak to; a file that gets a line per call of sbatch.

    Raises Unavailable where it cannot be started.
    """
    sbatch = shutil.which("sbatch")
    if sbatch is None:
        raise Unavailable("SLURM is not installed (no sbatch on PATH); on Debian: apt-get install slurm-wlm munge")
    calls = folder / "calls"
    counting = folder / "bin" / "sbatch"
    counting.parent.mkdir(parents=True)
    calls.touch()
    counting.write_text(f'#!/bin/sh\necho >> "{calls}"\nexec "{sbatch}" "$@"\n', encoding="utf-8")
    counting.chmod(0o755)
    settings = [f"--set={line}" for line in SETTINGS]
    done = devcluster("start", folder, "--nodes", NODES, "--cpus", 1, *settings)
    if done.returncode:
        raise Unavailable(done.stderr.strip())
    kept = dict(os.environ)
    os.environ.update(
        SLURM_CONF=str(folder / "slurm.conf"), PATH=os.pathsep.join([str(counting.parent), os.environ["PATH"]])
    )
    try:
        yield calls
    finally:
        os.environ.clear()
        os.environ.update(kept)
        done = devcluster("stop", folder)
        if done.returncode:
            print(done.stderr.strip(), file=sys.stderr)


def devcluster(*words: object) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(CHECKOUT / "slurm" / "devcluster"), *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def drain() -> None:
    """The cluster's queue is empty."""
    user = [controller.user()]
    while jobs := controller.jobs(user):
        # A task that ends on its own leaves its cores in order; what never starts is taken out.
        controller.cancel(sorted({job.id.partition("_")[0] for job in jobs.values() if job.state == "PENDING"}))
        time.sleep(0.25)


def command(module: str, *words: object) -> float:
    """Seconds of `python -m module`, start to end. Raises RuntimeError where it fails."""
    argv = [sys.executable, "-m", module, *map(str, words)]
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return seconds


def lines(path: Path) -> int:
    return len(path.read_bytes().splitlines())
