"""Warm worker processes: heavy imports and compilation are paid once per worker, not per stage."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from bench.launch.task import Outcome, Settings, run_stage
from bench.spec import Stage, as_json, from_json

# A worker that ignores its stop (a long call into C) is killed after this; its checkpoint is at most that old.
STOP_S = 30.0
# Our parent's and SLURM's request to end, and SLURM's warning before a time limit: a checkpoint, then the end.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2)


@dataclass(slots=True)
class Worker:
    """A worker process and the stage it runs, if any."""

    process: Any
    connection: Connection
    settings: Settings
    cuda: str | None
    stage: Stage | None = None
    started: float = 0.0
    progress: Mapping[str, Any] | None = None

    def send(self, stage: Stage) -> None:
        self.stage, self.started, self.progress = stage, time.monotonic(), None
        self.connection.send(as_json(stage))

    def stop(self) -> None:
        """Ask the running stage to write its checkpoint and end."""
        if self.process.is_alive():
            self.process.terminate()

    def close(self, timeout_s: float) -> None:
        """End the process; kill it where it does not end in time."""
        self.process.join(timeout_s)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def start(settings: Settings, cuda: str | None = None) -> Worker:
    """A fresh worker. `cuda`: the one device it sees (a value of CUDA_VISIBLE_DEVICES)."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, settings, cuda, os.getpid()), daemon=True)
    # SLURM signals every process of a task. Until a worker has its handlers these signals wait: they would end it.
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
    theirs.close()
    return Worker(process=process, connection=ours, settings=settings, cuda=cuda)


def work(connection: Connection, settings: Settings, cuda: str | None, parent: int) -> None:
    """The worker's life: receive a stage, run it, answer, until the pipe closes or it is told to stop."""
    stopping = False

    def on_term(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    # Ctrl-C reaches the whole foreground group; only the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in STOP_SIGNALS:
        signal.signal(number, on_term)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    limit_threads(settings.threads)
    if cuda is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = cuda
    sent = 0.0

    def progress(record: Mapping[str, Any]) -> None:
        nonlocal sent, stopping
        if time.monotonic() - sent > 0.5:
            sent = time.monotonic()
            try:
                connection.send(("progress", dict(record)))
            except OSError:
                # Nobody listens any more: stop at the next step, with a checkpoint. Not the stage's failure.
                stopping = True

    while not stopping:
        try:
            if not connection.poll(0.2):
                if os.getppid() != parent:
                    return
                continue
            stage = from_json(connection.recv())
        except (EOFError, OSError):
            return
        # An orphan stops at its next step: its parent can no longer publish the order of things.
        outcome = run_stage(stage, settings, stop=lambda: stopping or os.getppid() != parent, progress=progress)
        try:
            connection.send(("outcome", outcome))
        except OSError:
            return


def limit_threads(threads: int) -> None:
    """Give this process its share of the cores, before the libraries that read these are imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def lost(worker: Worker) -> Outcome:
    """The outcome of a stage whose worker died under it."""
    assert worker.stage is not None
    worker.process.join(5)
    code = worker.process.exitcode
    how = f"signal {-code} ({signal.Signals(-code).name})" if code is not None and code < 0 else f"exit code {code}"
    hint = "; the system may be out of memory" if code == -signal.SIGKILL else ""
    return Outcome(key=worker.stage.key, status="died", message=f"its worker process ended with {how}{hint}")


def settings_for(settings: Settings, workers: int, cores: int) -> Settings:
    """The settings of one of several workers: the cores divided among them, at least one thread each."""
    return replace(settings, threads=max(1, cores // workers))
