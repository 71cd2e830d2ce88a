"""A task of an array: the local engine inside a SLURM allocation. No torch before there is something to compute."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission

from bench.launch import controller, local, provenance, ranks, rendezvous
from bench.launch.devices import cores, cuda_devices
from bench.launch.elements import Element, read_element, sort_out
from bench.launch.local import Engine
from bench.launch.task import Settings
from bench.store import Store, write_json

# `running-<element>.json` is written at most this often.
RUNNING_S = 2.0


class Signals:
    """Notes SIGUSR2 (the time limit is near) and SIGTERM (the task ends); whoever works looks at `received`.

    submitit's own handler for SIGUSR2, which requeues, is kept for when the workers have written their checkpoints: a
    handler that did so itself would run in the middle of anything.
    """

    def __init__(self) -> None:
        self.received = ""
        self._requeue: Any = signal.signal(signal.SIGUSR2, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, number: int, _frame: object) -> None:
        if self.received != "SIGUSR2":
            self.received = signal.Signals(number).name

    def leave(self) -> None:
        """End as the signal asks: requeued before a time limit and where preempted with a time of grace, else ended.

        SLURM requeues what it preempts at once, but takes a job that ends by itself within the grace for finished.
        """
        if not self.received or int(os.environ.get("SLURM_PROCID", "0")) > 0:
            # The first process decides for all; a bad exit of another would make srun kill it.
            return
        if callable(self._requeue) and (self.received == "SIGUSR2" or controller.preempted(provenance.job())):
            # SIGTERM follows at the time limit; it must not break the requeueing off.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._requeue(signal.SIGUSR2, None)
        else:
            sys.exit(128 + signal.SIGTERM)


@dataclass(slots=True)
class Pack:
    """What submitit calls in every task, with the number of the element and the offset of its line.

    Strings and numbers only: it is pickled, and read again by a later attempt.
    """

    folder: str
    root: str
    data_root: str
    device: str
    concurrent: int = 1
    disk_wait_s: float = 900.0
    _written: float = field(default=0.0, repr=False)

    def __call__(self, element: int, offset: int) -> dict[str, Any]:
        """Compute the element's stages; what was done, failed and blocked. Ends the process where a signal says so."""
        sweep()
        signals = Signals()
        path = Path(self.folder) / "elements.jsonl"
        found = read_element(path, offset)
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            summary = self.together(found, signals)
        else:
            summary = self.alone(found, element, signals)
        print(json.dumps(summary), flush=True)
        signals.leave()
        return summary

    def checkpoint(self, element: int, offset: int) -> DelayedSubmission:
        """What a requeued task runs: the same again; the store and the checkpoints say how far it came."""
        sweep()
        return DelayedSubmission(self, element, offset)

    def settings(self) -> Settings:
        return Settings(root=Path(self.root), data_root=Path(self.data_root), device=self.device)

    def together(self, found: Element, signals: Signals) -> dict[str, Any]:
        """The processes that srun started work on one stage after the other; rank 0 says what there is to do."""
        runnable: list[str] = []
        blocked: dict[str, str] = {}
        if os.environ["SLURM_PROCID"] == "0":
            runnable, blocked = sort_out(found, Store(Path(self.root)))
            for key, reason in blocked.items():
                print(f"blocked: {found.stages[key].kind} {key}: {reason}", flush=True)
            if not runnable:
                rendezvous.decline(Path(self.folder), os.environ)
        if rendezvous.declined(Path(self.folder), os.environ):
            return {"computed": 0, "failed": 0, "blocked": len(blocked), "signal": signals.received}
        settings = replace(self.settings(), threads=allotted())
        with ranks.joined(Path(self.folder), device=self.device) as mine:
            outcomes = ranks.run_ranks(
                [found.stages[key] for key in runnable], settings, mine, stop=lambda: bool(signals.received)
            )
        return {
            "computed": sum(outcome.status == "done" for outcome in outcomes),
            "failed": sum(outcome.status == "failed" for outcome in outcomes),
            "blocked": len(blocked),
            "signal": signals.received,
        }

    def alone(self, found: Element, element: int, signals: Signals) -> dict[str, Any]:
        """A pool of warm workers, as on a laptop. Waits, and begins again, while the disk is full."""
        store, computed = Store(Path(self.root)), 0
        deadline, pause = 0.0, 0.0
        while True:
            runnable, blocked = sort_out(found, store)
            for key, reason in blocked.items():
                print(f"blocked: {found.stages[key].kind} {key}: {reason}", flush=True)
            left = [key for key in runnable if not store.has(key)]
            summary: dict[str, Any] = {
                "computed": computed, "failed": 0, "blocked": len(blocked), "signal": signals.received,
            }  # fmt: skip
            if not left or signals.received:
                return summary
            engine = self.engine(found, runnable, element, signals)
            local.run(engine)
            computed += sum(engine.finished.values())
            schedule = engine.schedule
            summary |= {"computed": computed, "failed": len(schedule.failed), "signal": signals.received}
            summary["blocked"] += len(schedule.blocked)
            if not engine.fatal or signals.received:
                return summary
            # Counted from when the disk was full, not from when the task began; anew where some work went through.
            if not pause or engine.finished:
                deadline, pause = time.monotonic() + self.disk_wait_s, 5.0
            if time.monotonic() + pause > deadline:
                print(engine.fatal, flush=True)
                return summary
            print(f"{engine.fatal}; trying again in {pause:.0f} s", flush=True)
            until = time.monotonic() + pause
            while time.monotonic() < until and not signals.received:
                time.sleep(0.2)
            pause = min(2 * pause, 60.0)

    def engine(self, found: Element, runnable: Sequence[str], element: int, signals: Signals) -> Engine:
        store = Store(Path(self.root))
        sources = {source for key in runnable for _, source in found.stages[key].inputs}
        done = {key for key in {*runnable, *sources} if key not in found.stages or store.has(key)}
        workers = self.concurrent * (len(cuda_devices()) or 1 if self.device == "cuda" else 1)
        return local.make_engine(
            {key: found.stages[key] for key in runnable},
            runnable,
            self.settings(),
            workers,
            done=done,
            cores=allotted(),
            stopping=lambda: bool(signals.received),
            on_change=self.show(element),
            on_note=lambda text: print(text, flush=True),
        )

    def show(self, element: int) -> Callable[[Engine], None]:
        """A function that writes what the engine runs, for bench.status."""
        path = Path(self.folder) / f"running-{element}.json"
        shown: list[str] | None = None

        def write(engine: Engine) -> None:
            nonlocal shown
            running = sorted(worker.stage.key for worker in engine.workers if worker.stage is not None)
            if running == shown or time.monotonic() - self._written < RUNNING_S:
                return
            shown, self._written = running, time.monotonic()
            about = {
                "job": provenance.job(), "host": socket.gethostname(), "running": running, "time": time.time(),
            }  # fmt: skip
            # Only for people to look at; a full disk is met, and waited for, where it matters.
            with contextlib.suppress(OSError):
                write_json(path, about)

        return write


def allotted() -> int:
    """Cores of this task: SLURM's word, where no cgroup enforces it; else what the process may use."""
    found = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return int(found) if found.isdigit() else cores()


def sweep() -> None:
    """Remove what a killed attempt of this task left: submitit refuses to write where such a file is."""
    folder = os.environ.get("SUBMITIT_FOLDER")
    job = provenance.job()
    if folder and job:
        for left in Path(folder).glob(f"{job}_*.save_tmp"):
            left.unlink(missing_ok=True)
