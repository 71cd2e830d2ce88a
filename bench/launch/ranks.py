"""The processes that srun started for one job compute its stages together. Imports no torch before they meet.

Start them with `srun --kill-on-bad-exit=1`: a process that is killed then takes the others with it at once, and not
only when their collectives time out. On nodes whose own name resolves to a loopback address gloo (CPU stages on
several nodes) needs GLOO_SOCKET_IFNAME in the set-up lines.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.launch import rendezvous, task
from bench.launch.pool import limit_threads
from bench.launch.rendezvous import RanksError
from bench.launch.task import Outcome, Settings, run_stage
from bench.spec import Stage, as_json, from_json
from bench.store import Store, StoreError

# How long a process whose stage failed waits for rank 0 to answer, and rank 0 for the others to come to an end.
ANSWER_S = 30.0
# After a failure a process that still hangs in a collective, which nothing in Python can end, is ended after this.
HANG_S = 120.0
UNTOLD = "another process of the stage ended without a word: killed, out of memory, or its node failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process among those of the job; `store` is a TCPStore that rank 0 serves, None with one process."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    store: Any = None
    calls: Iterator[int] = field(default_factory=itertools.count)

    def tell(self, name: str, value: Any) -> None:
        """Let the others hear a JSON value. Raises RanksError where rank 0 is gone."""
        with _connection():
            self.store.set(name, json.dumps(value))

    def hear(self, name: str, timeout_s: float | None = None) -> Any:
        """What another process tells, however long it takes. Raises RanksError past the time or without rank 0."""
        began = time.monotonic()
        with _connection():
            # Asked again and again: Python handles signals in between, and rank 0 may take hours.
            while not self.store.check([name]):
                waited = time.monotonic() - began
                if timeout_s is not None and waited > timeout_s:
                    raise RanksError(f"rank {self.rank} heard nothing of {name} within {timeout_s:g} s")
                time.sleep(min(0.01 + waited / 100, 0.5))
            return json.loads(self.store.get(name))

    def told(self, name: str) -> bool:
        """Has another process, or this one, told this?"""
        with _connection():
            return self.store is not None and bool(self.store.check([name]))

    def gather(self, name: str, timeout_s: float) -> bool:
        """Say that this process came to this point; in rank 0, wait for all: did they come in time?"""
        began = time.monotonic()
        with _connection():
            here = self.store.add(name, 1)
            while self.rank == 0 and here < self.world_size and time.monotonic() - began < timeout_s:
                time.sleep(0.01)
                here = self.store.add(name, 0)
        return bool(self.rank > 0 or here == self.world_size)

    def heard(self, name: str, make: Callable[[], Any]) -> Any:
        """The value that `make` has in rank 0, in every process."""
        if self.rank > 0:
            return self.hear(name)
        value = make()
        if self.store is not None:
            self.tell(name, value)
        return value


@contextlib.contextmanager
def joined(folder: Path, *, device: str, environ: Mapping[str, str] = os.environ) -> Iterator[Ranks]:
    """The processes of this job step, connected, with a process group for the block. Nothing to do where there is one.

    `folder` is on a file system that all see. Raises RanksError where they do not find each other.
    """
    rank, world_size = int(environ.get("SLURM_PROCID", "0")), int(environ.get("SLURM_NTASKS", "1"))
    if world_size == 1:
        yield Ranks(device=device)
        return
    local_rank = int(environ.get("SLURM_LOCALID", "0"))
    device = rendezvous.choose_device(device, local_rank)
    from torch import cuda
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    from bench.training.distributed import process_group

    if device != "cpu":
        cuda.set_device(device)
    path = folder / rendezvous.file_name(environ)
    store = rendezvous.announce(path, environ) if rank == 0 else rendezvous.find(path, rank)
    ranks = Ranks(rank=rank, local_rank=local_rank, world_size=world_size, device=device, store=store)
    over = threading.Event()
    watch = threading.Thread(target=end_if_hanging, args=(store.clone(), over), daemon=True)
    watch.start()
    try:
        with process_group(rank, world_size, store=PrefixStore("group", store), device=device):
            yield ranks
    finally:
        with contextlib.suppress(RanksError):
            # Rank 0 serves the store, which the others may still need.
            ranks.gather("left", ANSWER_S)
        over.set()
        watch.join()
        if rank == 0:
            path.unlink(missing_ok=True)


def end_if_hanging(store: Any, over: threading.Event) -> None:
    """End this process where a failure elsewhere was told, or rank 0 is gone, and `over` is not set in time."""
    with contextlib.suppress(RuntimeError):
        while not store.check(["broken"]):
            if over.wait(1.0):
                return
    if not over.wait(HANG_S):
        print("another process of this job failed and this one hangs; ending it", file=sys.stderr, flush=True)
        leave(1)


def leave(code: int) -> None:
    """End the process now, whatever its other threads do."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_ranks(
    stages: Sequence[Stage], settings: Settings, ranks: Ranks, *, stop: Callable[[], bool] = lambda: False
) -> list[Outcome]:
    """Outcomes of the stages, one after the other, the same in every process; rank 0's list and order count.

    Stages that train run on all processes, others on rank 0 while the rest wait. A stage that stops, fails on all
    or loses a process ends the list: what is left over is "interrupted", for another attempt. Never raises for what a
    stage does; RanksError where rank 0 is gone.
    """
    settings = replace(settings, device=ranks.device, rank=ranks.rank, world_size=ranks.world_size)
    if ranks.world_size > 1:
        limit_threads(settings.threads)
    call = next(ranks.calls)
    stages = [from_json(found) for found in ranks.heard(f"{call}/stages", lambda: [as_json(stage) for stage in stages])]
    outcomes: list[Outcome] = []
    for number, stage in enumerate(stages):
        name = f"{call}/{number}"
        ended = ranks.heard(f"{name}/begin", partial(begin, stage, settings, ranks, stop))
        outcome = Outcome(**ended) if ended is not None else train(stage, settings, ranks, name, stop)
        outcomes.append(outcome)
        if outcome.status in ("interrupted", "fatal") or (ended is None and outcome.status != "done"):
            break
    left = stages[len(outcomes) :]
    return outcomes + [Outcome(key=stage.key, status="interrupted", message="not begun") for stage in left]


def begin(stage: Stage, settings: Settings, ranks: Ranks, stop: Callable[[], bool]) -> dict[str, Any] | None:
    """How a stage ended that rank 0 settles by itself; None where it is to be trained by all."""
    store = Store(settings.root)
    if stop() or ranks.told("broken"):
        outcome = Outcome(key=stage.key, status="interrupted", message="not begun")
    elif settings.world_size == 1 or getattr(stage.parameters, "recipe", None) is None:
        outcome = run_stage(stage, replace(settings, rank=0, world_size=1), stop=stop)
    elif store.has(stage.key):
        outcome = Outcome(key=stage.key, status="done")
    else:
        inputs = task.open_inputs(stage, store)
        if not isinstance(inputs, Outcome):
            return None
        outcome = inputs
    set_aside(store, outcome)
    return asdict(outcome)


def train(stage: Stage, settings: Settings, ranks: Ranks, name: str, stop: Callable[[], bool]) -> Outcome:
    """Compute a stage on all processes; its outcome, which rank 0 determines. Unless it is done the group is broken."""
    from bench.training.distributed import leave_group

    store = Store(settings.root)
    own = run_stage(stage, settings, stop=stop)
    good = own.status in ("done", "interrupted")
    if ranks.rank == 0:
        if own.status == "lost":
            own = explain(stage, store, own, ranks, name, stop)
        set_aside(store, own)
        # Others may fail after their last collective: the stage is done, but the group is no more.
        if not good or not ranks.gather(f"{name}/ended", ANSWER_S):
            ranks.tell("broken", name)
        ranks.tell(f"{name}/end", asdict(own))
        if not good:
            leave_group()
        return own
    own = replace(own, message=f"rank {ranks.rank}: {own.message}")
    try:
        if not good:
            if own.status != "lost":
                # Before the others notice that this process is gone.
                ranks.tell(f"{name}/trouble", {"outcome": asdict(own), "host": socket.gethostname()})
            ranks.tell("broken", name)
            leave_group()
        ranks.gather(f"{name}/ended", ANSWER_S)
        return Outcome(**ranks.hear(f"{name}/end", None if good else ANSWER_S))
    except RanksError:
        # Nobody else can tell any more.
        if own.status == "failed":
            task.record(stage, store, own)
        if good:
            raise
        return own


def explain(stage: Stage, store: Store, own: Outcome, ranks: Ranks, name: str, stop: Callable[[], bool]) -> Outcome:
    """How a stage ended that lost a process, as that process told rank 0; recorded if it is a failure."""
    try:
        told = ranks.hear(f"{name}/trouble", 1.0)
    except RanksError:
        if stop():
            # All of them are being ended; that it came to this process later is no failure.
            return replace(own, status="interrupted")
        told = {"outcome": asdict(replace(own, status="failed", message=UNTOLD)), "host": None}
    outcome = Outcome(**told["outcome"])
    if outcome.status == "failed":
        task.record(stage, store, outcome, host=told["host"])
    return outcome


def set_aside(store: Store, outcome: Outcome) -> None:
    """Move a corrupt input out of the way, so that the next submission computes it again."""
    if outcome.culprit:
        with contextlib.suppress(StoreError):
            place = store.quarantine(outcome.culprit)
            print(f"{outcome.message}; moved to {place}, submit again to compute it again", flush=True)


@contextlib.contextmanager
def _connection() -> Iterator[None]:
    """Failures of the store in the block are RanksError."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise RanksError(f"the connection to rank 0 of this job broke: {reason}") from error
