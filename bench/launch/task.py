"""One stage in this process: inputs checked, then the science, then the artifact; torch is imported only to compute."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.launch import provenance
from bench.spec import Stage
from bench.store import DISK_FULL, Artifact, CorruptArtifact, Store, StoreError, write_json

# The progress file of a running stage is at most about this old.
PROGRESS_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Where stages run; nothing here changes a number."""

    root: Path
    data_root: Path
    device: str = "cpu"
    threads: int = 1
    checkpoint_s: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a stage ended: done, failed, blocked, corrupt (an input: `culprit`), interrupted or fatal (the disk)."""

    key: str
    status: str
    message: str = ""
    culprit: str = ""
    seconds: float = 0.0


def run_stage(
    stage: Stage,
    settings: Settings,
    *,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> Outcome:
    """Compute and publish a stage; failures are recorded in the store, never raised."""
    store, began = Store(settings.root), time.monotonic()
    if store.has(stage.key):
        return Outcome(key=stage.key, status="done")
    try:
        inputs = {role: store.open(key) for role, key in stage.inputs}
    except CorruptArtifact as error:
        return Outcome(key=stage.key, status="corrupt", message=str(error), culprit=error.key)
    except StoreError as error:
        return Outcome(key=stage.key, status="blocked", message=str(error))
    try:
        with _logged(store.log(stage.key)):
            status, message, culprit = _compute(stage, inputs, store, settings, stop, progress)
    except OSError as error:
        status, message, culprit = "fatal", f"{store.log(stage.key)}: {error.strerror}", ""
    return Outcome(key=stage.key, status=status, message=message, culprit=culprit, seconds=time.monotonic() - began)


def _compute(
    stage: Stage,
    inputs: Mapping[str, Artifact],
    store: Store,
    settings: Settings,
    stop: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> tuple[str, str, str]:
    """(status, message, culprit) of the computation; the traceback goes to the stage's log."""
    made = provenance.start(stage, device=settings.device, threads=settings.threads, data_root=settings.data_root)
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {stage.kind} {stage.key} on {made['host']}", flush=True)
    try:
        with store.publish(stage, made) as folder:
            science(stage, inputs, folder, store.scratch(stage.key), settings, stop, progress)
            provenance.finish(made)
    except CorruptArtifact as error:
        return "corrupt", str(error), error.key
    except StoreError as error:
        print(error, flush=True)
        return "fatal", str(error), ""
    except Exception as error:
        # By name: the class lives in a module that imports torch, which may be what failed.
        if type(error).__name__ == "Interrupted":
            return "interrupted", "stopped at a checkpoint", ""
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return (
                "fatal",
                f"writing {error.filename or 'a file'} failed: {error.strerror}; free some space and submit again",
                "",
            )
        # Whatever the science raises is data about this stage: recorded, reported, and the other stages go on.
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        with contextlib.suppress(StoreError):
            store.fail(stage, {"error": message, "cause": cause(error), "host": made["host"], "time": time.time()})
        return "failed", message, ""
    return "done", "", ""


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
    from bench.training.loop import Run

    written = time.monotonic()

    def report(record: Mapping[str, Any]) -> None:
        nonlocal written
        progress(record)
        # Short stages write none: a file per epoch would cost them more than their epochs.
        if time.monotonic() - written > PROGRESS_S:
            written = time.monotonic()
            with contextlib.suppress(OSError):
                scratch.mkdir(parents=True, exist_ok=True)
                write_json(scratch / "progress.json", {**record, "time": time.time()})

    if settings.device.startswith("cuda"):
        deterministic()
    run = Run(scratch=scratch, device=settings.device, stop=stop, progress=report, checkpoint_s=settings.checkpoint_s)
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
