"""Stages per minute: a fresh process for every stage against the warm pool, with threads divided and not."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import grid, prepare
from bench.launch import local, pool
from bench.launch.devices import cores
from bench.launch.schedule import Schedule
from bench.launch.task import Settings
from bench.plan import Plan, plan
from bench.store import Store

GRID = """
name: perf
protocol: demo
architecture: [resnet8]
pretraining: [random]
pruner: [dense]
dataset: [digits]
transfer: [finetune]
seed: {seeds}
evaluate: [accuracy]
override: {{transfer: {{epochs: 2}}}}
"""


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows benchmark "start"; ratio to a process per stage, one after the other. Start-up of the workers counts."""
    workers = min(2, cores())
    seeds = 2 if quick else 12
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare.main(["digits", "letters", "--data", str(folder / "data")])
        path = folder / "grid.yaml"
        path.write_text(GRID.format(seeds=list(range(seeds))))
        planned = plan(grid.read(path))
        settings = Settings(root=folder / "shared", data_root=folder / "data", threads=1)
        work(planned, settings, 1, fresh=False, only={"pretrain"})
        cases: dict[str, Callable[[Settings], None]] = {
            "process per stage, 1 at a time, all threads": lambda s: work(
                planned, replace(s, threads=cores()), 1, fresh=True
            ),
            f"process per stage, {workers} at a time, 1 thread each": lambda s: work(planned, s, workers, fresh=True),
            f"warm pool, {workers} workers, 1 thread each": lambda s: work(planned, s, workers, fresh=False),
            f"warm pool, {workers} workers, {cores()} threads each": lambda s: work(
                planned, replace(s, threads=cores()), workers, fresh=False
            ),
        }
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        for repeat in range(repeats):
            for i, (case, body) in enumerate(cases.items()):
                root = folder / f"{repeat}-{i}"
                shutil.copytree(settings.root, root)
                began = time.perf_counter()
                body(replace(settings, root=root))
                seconds[case].append(time.perf_counter() - began)
    stages = len(planned.stages) - 1
    rates = {case: 60 * stages / statistics.median(values) for case, values in seconds.items()}
    first = next(iter(rates.values()))
    return [
        {"benchmark": "start", "case": case, "value": rate, "unit": "stages/min", "ratio": rate / first}
        for case, rate in rates.items()
    ]


def work(planned: Plan, settings: Settings, workers: int, *, fresh: bool, only: set[str] | None = None) -> None:
    """Run the plan's stages (of these kinds) with so many workers, replaced after every stage if `fresh`."""
    store = Store(settings.root)
    targets = [key for key, stage in planned.stages.items() if only is None or stage.kind in only]
    engine = local.Engine(
        store=store,
        schedule=Schedule.make(planned.stages, targets, store.keys()),
        workers=[pool.start(settings) for _ in range(workers)],
        on_change=_replace_idle if fresh else lambda _: None,
    )
    local.run(engine)
    if engine.schedule.failed or engine.fatal:
        raise RuntimeError(f"the benchmark's own stages failed: {engine.fatal or engine.schedule.failed}")


def _replace_idle(engine: local.Engine) -> None:
    for worker in list(engine.workers):
        if worker.stage is None and engine.schedule.left:
            worker.stop()
            local.replace_worker(engine, worker)
