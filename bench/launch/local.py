"""A plan on this machine: a small pool of warm workers, a live display, a clean stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait

from bench.launch import pool
from bench.launch.devices import cuda_devices
from bench.launch.pool import Worker
from bench.launch.schedule import Schedule
from bench.launch.task import Outcome, Settings, record
from bench.plan import Plan
from bench.spec import Stage
from bench.store import Store, StoreError

# A worker that dies takes its stage with it this often before the stage counts as failed.
MAX_DEATHS = 2
# A stage sent back because an input turned out corrupt or missing, before something else must be wrong.
MAX_RETURNS = 3


@dataclass(slots=True)
class Engine:
    """The state of a run; `on_change` is called after every event, `stopping` says when to end early."""

    store: Store
    schedule: Schedule
    workers: list[Worker]
    stopping: Callable[[], bool] = lambda: False
    on_change: Callable[[Engine], None] = lambda _: None
    on_note: Callable[[str], None] = lambda _: None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    finished: Counter[str] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    returns: Counter[str] = field(default_factory=Counter)
    fatal: str = ""


def start_workers(settings: Settings, count: int) -> list[Worker]:
    """`count` workers with these settings; GPUs are dealt round robin."""
    devices = cuda_devices() if settings.device == "cuda" else []
    return [pool.start(settings, devices[i % len(devices)] if devices else None) for i in range(count)]


def run(engine: Engine) -> None:
    """Run until nothing is left, something fatal happens, `stopping`, or KeyboardInterrupt; workers are always ended.

    A failed stage blocks its descendants only. A stage whose worker died is tried once more. Interrupted stages
    keep their checkpoints and go on when the plan is run again.
    """
    try:
        while engine.schedule.left and not engine.fatal and not engine.stopping():
            feed(engine)
            for worker in engine.workers:
                if worker.stage is None and not worker.process.is_alive():
                    replace_worker(engine, worker)
            events = wait([w.connection for w in engine.workers] + [w.process.sentinel for w in engine.workers], 1.0)
            for worker in list(engine.workers):
                if worker.connection in events or worker.process.sentinel in events:
                    receive(engine, worker)
            engine.on_change(engine)
    finally:
        stop(engine)


def feed(engine: Engine) -> None:
    """Give every idle worker a stage."""
    for worker in engine.workers:
        if worker.stage is None and worker.process.is_alive():
            stage = engine.schedule.next()
            if stage is None:
                return
            try:
                worker.send(stage)
            except OSError:
                # It died between the check and the send; the stage was not begun.
                engine.schedule.again(stage.key)
                worker.stage = None


def receive(engine: Engine, worker: Worker) -> None:
    """Take what a worker sent, or note its death."""
    try:
        while worker.connection.poll():
            kind, content = worker.connection.recv()
            if kind == "progress":
                worker.progress = content
            else:
                settle(engine, worker, content)
    except (EOFError, OSError):
        pass
    if not worker.process.is_alive() and worker in engine.workers:
        if worker.stage is not None:
            settle(engine, worker, pool.lost(worker))
        replace_worker(engine, worker)


def settle(engine: Engine, worker: Worker, outcome: Outcome) -> None:
    """Book how a stage ended."""
    stage, schedule = worker.stage, engine.schedule
    assert stage is not None
    worker.stage, worker.progress = None, None
    if outcome.status == "done":
        engine.finished[stage.kind] += 1
        engine.seconds.setdefault(stage.kind, []).append(outcome.seconds)
        schedule.finish(stage.key)
    elif outcome.status == "fatal":
        engine.fatal = outcome.message
    elif outcome.status in ("corrupt", "blocked"):
        send_back(engine, stage.key, outcome)
    elif outcome.status == "interrupted":
        schedule.again(stage.key)
    elif outcome.status == "died" and engine.deaths[stage.key] + 1 < MAX_DEATHS:
        engine.deaths[stage.key] += 1
        engine.on_note(f"{stage.kind} {stage.key}: {outcome.message}; trying again")
        schedule.again(stage.key)
    else:
        if outcome.status == "died":
            record(stage, engine.store, replace(outcome, cause="worker died"))
        engine.on_note(f"{stage.kind} {stage.key} failed: {outcome.message} (log: {engine.store.log(stage.key)})")
        schedule.fail(stage.key, outcome.message)


def send_back(engine: Engine, key: str, outcome: Outcome) -> None:
    """An input was corrupt or missing: set it aside, compute it again, then the stage that wanted it."""
    engine.returns[key] += 1
    if engine.returns[key] > MAX_RETURNS:
        engine.on_note(f"{key}: {outcome.message}, again after {MAX_RETURNS} recomputations")
        engine.schedule.fail(key, outcome.message)
        return
    if outcome.culprit and (place := engine.store.quarantine(outcome.culprit)) is not None:
        engine.on_note(f"{outcome.message}; moved to {place}, computing it again")
    for _, source in engine.schedule.stages[key].inputs:
        if not engine.store.has(source):
            if source not in engine.schedule.stages:
                # Another task's to compute again: the stage waits for the next submission.
                engine.on_note(f"{key}: {outcome.message}; its input {source} is computed elsewhere, submit again")
                engine.schedule.block(key)
                return
            engine.schedule.lost(source)
    engine.schedule.again(key)


def replace_worker(engine: Engine, worker: Worker) -> None:
    worker.close(0)
    engine.workers[engine.workers.index(worker)] = pool.start(worker.settings, worker.cuda)


def stop(engine: Engine) -> None:
    """End every worker; running stages write their checkpoints first."""
    for worker in engine.workers:
        worker.stop()
    deadline = time.monotonic() + pool.STOP_S
    for worker in engine.workers:
        worker.close(max(0.0, deadline - time.monotonic()))


def prepare(plan: Plan, store: Store, on_note: Callable[[str], None]) -> set[str]:
    """Keys of the plan that are done. Artifacts that are truncated, or evaluations that are damaged, are set aside."""
    found = store.keys()
    store.sweep()
    done = set()
    for key, stage in plan.stages.items():
        if key not in found:
            continue
        # Inputs are checked in full by their readers; evaluations have none, and are small.
        problem = store.problem(key, digests=stage.kind == "evaluate")
        if problem is None:
            done.add(key)
        else:
            place = store.quarantine(key)
            on_note(f"artifact {key} ({stage.kind}) is corrupt: {problem}; moved to {place}, it will be computed again")
    return done


def make_engine(
    stages: Mapping[str, Stage],
    targets: Iterable[str],
    settings: Settings,
    workers: int,
    *,
    done: set[str],
    cores: int,
    stopping: Callable[[], bool] = lambda: False,
    on_change: Callable[[Engine], None],
    on_note: Callable[[str], None],
) -> Engine:
    """An engine with its workers started: `workers` that share the cores, fewer where little is left to run.

    `done` holds the inputs from outside of `stages` too. Raises StoreError where the root cannot be written.
    """
    store = Store(settings.root)
    schedule = Schedule.make(stages, targets, done)
    count = max(1, min(workers, schedule.left))
    try:
        (settings.root / "store").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{settings.root} cannot be written ({error.strerror}); give another --root") from None
    return Engine(
        store=store,
        schedule=schedule,
        # Threads follow from the workers asked for, not from how much is left: they decide the last bits of a sum.
        workers=start_workers(pool.settings_for(settings, workers, cores), count) if schedule.left else [],
        stopping=stopping,
        on_change=on_change,
        on_note=on_note,
    )
