"""One stage in this process: inputs checked, then the science, then the artifact; torch is imported only to compute."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.launch import provenance
from bench.spec import Stage
from bench.store import DISK_FULL, Artifact, CorruptArtifact, Store, StoreError, write_json

# The progress file of a running stage is at most about this old.
PROGRESS_S = 5.0
# Begins the last line of an attempt that ended in good order, without a result and through no fault of the stage.
ENDED = "ended for now"
# A process of a stage waits this long to see the inputs that rank 0 sees: file systems cache what is not there.
UNSEEN_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Where stages run; nothing here changes a number, but for rounding.

    rank, world_size: this process among those that compute a stage together, see bench.launch.ranks.
    """

    root: Path
    data_root: Path
    device: str = "cpu"
    threads: int = 1
    checkpoint_s: float = 60.0
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a stage ended: done, failed, blocked, corrupt (an input: `culprit`), interrupted or fatal (the disk).

    Of several processes one can also be left by the others (lost): how the stage ended, another knows.
    """

    key: str
    status: str
    message: str = ""
    culprit: str = ""
    cause: str = ""
    seconds: float = 0.0


def run_stage(
    stage: Stage,
    settings: Settings,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Outcome:
    """Compute and publish a stage; failures are recorded in the store, never raised.

    Of several processes only rank 0 publishes, records and reports progress; that the stage is to be computed is
    decided before, for all of them.
    """
    store, began = Store(settings.root), time.monotonic()
    if settings.world_size == 1 and store.has(stage.key):
        return Outcome(key=stage.key, status="done")
    inputs = open_inputs(stage, store)
    while settings.rank > 0 and _unseen(inputs) and time.monotonic() - began < UNSEEN_S:
        time.sleep(0.5)
        if all(store.listed(key) for _, key in stage.inputs):
            inputs = open_inputs(stage, store)
    if isinstance(inputs, Outcome):
        return inputs
    log = store.log(stage.key)
    if settings.rank > 0:
        log = log.with_name(f"{log.name}.rank{settings.rank}")
    try:
        with _logged(log):
            outcome = _compute(stage, inputs, store, settings, stop, progress)
    except OSError as error:
        outcome = Outcome(key=stage.key, status="fatal", message=f"{log}: {error.strerror}")
    return replace(outcome, seconds=time.monotonic() - began)


def open_inputs(stage: Stage, store: Store) -> Mapping[str, Artifact] | Outcome:
    """The artifacts that a stage reads, by role; or its outcome where one is missing or corrupt."""
    try:
        return {role: store.open(key) for role, key in stage.inputs}
    except CorruptArtifact as error:
        return Outcome(key=stage.key, status="corrupt", message=str(error), culprit=error.key)
    except StoreError as error:
        return Outcome(key=stage.key, status="blocked", message=str(error))


def _unseen(inputs: Mapping[str, Artifact] | Outcome) -> bool:
    return isinstance(inputs, Outcome) and inputs.status == "blocked"


def _compute(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    store: Store,
    settings: Settings,
    stop: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """How the computation ended; the traceback goes to the stage's log."""
    key = stage.key
    made = provenance.start(stage, device=settings.device, threads=settings.threads, data_root=settings.data_root)
    print(
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} {stage.kind} {stage.key} on {made['host']} job {made['job'] or '-'}",
        flush=True,
    )
    try:
        with store.publish(stage, made) if settings.rank == 0 else _aside() as folder:
            science(stage, inputs, folder, store.scratch(stage.key), settings, stop, progress)
            provenance.finish(made)
            made["processes"] = settings.world_size
            made["device_seconds"] *= settings.world_size
    except CorruptArtifact as error:
        print(f"{ENDED}: {error}", flush=True)
        return Outcome(key=key, status="corrupt", message=str(error), culprit=error.key)
    except StoreError as error:
        print(f"{ENDED}: {error}", flush=True)
        return Outcome(key=key, status="fatal", message=str(error))
    except Exception as error:
        # By name: the classes live in modules that import torch, which may be what failed.
        if type(error).__name__ == "Interrupted":
            print(f"{ENDED}: stopped at a checkpoint", flush=True)
            return Outcome(key=key, status="interrupted", message="stopped at a checkpoint")
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            message = f"writing {error.filename or 'a file'} failed: {error.strerror}; free some space and submit again"
            print(f"{ENDED}: {message}", flush=True)
            return Outcome(key=key, status="fatal", message=message)
        # Whatever the science raises is data about this stage: recorded, reported, and the other stages go on.
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        if type(error).__name__ == "Disconnected":
            return Outcome(key=key, status="lost", message=message, cause="lost")
        outcome = Outcome(key=key, status="failed", message=message, cause=cause(error))
        if settings.rank == 0:
            record(stage, store, outcome)
        return outcome
    return Outcome(key=key, status="done")


def record(stage: Stage, store: Store, outcome: Outcome, *, host: str | None = None) -> None:
    """Record a failure of this job, on this host or another, in the store, as far as the disk takes it."""
    found = {
        "error": outcome.message,
        "cause": outcome.cause,
        "host": host or socket.gethostname(),
        "job": provenance.job(),
        "time": time.time(),
    }
    with contextlib.suppress(StoreError):
        store.fail(stage, found)


@contextlib.contextmanager
def _aside() -> Iterator[Path]:
    """A folder for what a process computes that another publishes; removed."""
    with tempfile.TemporaryDirectory(prefix="ticketbench-") as folder:
        yield Path(folder)


def science(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    folder: Path,
    scratch: Path,
    settings: Settings,
    stop: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> None:
    """Call the stage file of this kind."""
    from bench.stages import evaluate, pretrain, prune, transfer
    from bench.stages.context import Context
    from bench.training.state import Run

    written = time.monotonic()

    def report(record: Mapping[str, Any]) -> None:
        nonlocal written
        if settings.rank > 0:
            return
        progress(record)
        # Short stages write none: a file per epoch would cost them more than their epochs.
        if time.monotonic() - written > PROGRESS_S:
            written = time.monotonic()
            with contextlib.suppress(OSError):
                scratch.mkdir(parents=True, exist_ok=True)
                write_json(scratch / "progress.json", {**record, "time": time.time()})

    if settings.device.startswith("cuda"):
        deterministic()
    run = Run(
        scratch=scratch,
        device=settings.device,
        stop=stop,
        progress=report,
        checkpoint_s=settings.checkpoint_s,
        rank=settings.rank,
        world_size=settings.world_size,
    )
    context = Context(data_root=settings.data_root, run=run, threads=settings.threads)
    modules: Mapping[str, Any] = {"pretrain": pretrain, "prune": prune, "transfer": transfer, "evaluate": evaluate}
    modules[stage.kind].run(stage.parameters, inputs, folder, context)


def deterministic() -> None:
    """Choose the device's reproducible kernels: without them a resumed stage ends close, not bit-identical."""
    import torch

    # cuBLAS reads this when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # Recipes that say fp32 mean it; bf16 is the recipes' own word for speed.
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)


def cause(error: BaseException) -> str:
    """Class of a failure: out of memory (device or host), or an exception of the code."""
    if type(error).__name__ == "OutOfMemoryError":
        return "device memory"
    return "host memory" if isinstance(error, MemoryError) else "exception"


@contextlib.contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything the block prints, from Python or from C, is appended to the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
