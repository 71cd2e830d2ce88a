"""Seconds to compile a million result rows, to collect a hundred thousand evaluations, and the bootstrap's ratio."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from analysis import frame
from analysis.collect import collect
from analysis.leaderboard import leaderboard, overall
from analysis.matching import matching
from analysis.maxima import maxima
from analysis.statistics.bootstrap import mean_intervals
from bench import grid
from bench.perf import timing
from bench.perf.plan import GRID, PER_SEED
from bench.plan import plan
from bench.spec import Stage, as_json
from bench.store import FORMAT, MANIFEST, Store

ROWS, SEEDS, EVALUATIONS = 1_000_000, 5, 100_000
GROUPS, RESAMPLES = 1_000, 10_000
# With 5 seeds all resamples are enumerated, with 10 they are drawn.
BOOTSTRAPPED = (5, 10)
_LEVELS = tuple(1 - 0.8**k for k in range(1, 20))
_PRUNERS = ("imp", "lmp", "omp", "random")


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of the three benchmarks (quick: a hundredth of the sizes); `repeats` bounds the number of runs of each."""
    share = 100 if quick else 1
    table = results(ROWS // share)
    compiled: dict[str, list[float]] = {
        f"{len(table):,} rows to leaderboards": [],
        "the maximum sparsities besides": [],
    }
    for _ in range(min(repeats, 3)):
        began = time.perf_counter()
        tested = matching(table)
        overall(leaderboard(table, tested))
        middle = time.perf_counter()
        maxima(table, tested)
        for values, seconds in zip(compiled.values(), (middle - began, time.perf_counter() - middle), strict=True):
            values.append(seconds)
    rows = timing.rows("compile", "s", compiled)
    for seeds in BOOTSTRAPPED:
        rows += timing.rows("bootstrap", "s", _bootstrap(min(repeats, 3), GROUPS // share, seeds))
    return rows + timing.rows("collect", "s", _collect(EVALUATIONS // share))


def results(rows: int) -> pd.DataFrame:
    """A frame of that many rows: two metrics, four pre-trainings, dense and four pruners at 19 sparsities, 5 seeds."""
    tickets = [("dense", 0.0, 0), *((pruner, level, k + 1) for pruner in _PRUNERS for k, level in enumerate(_LEVELS))]
    settings = [
        (metric, transfer, objective, pretraining)
        for metric in ("accuracy", "pgd_accuracy")
        for transfer in ("finetune", "linear")
        for objective in ("standard", "adversarial")
        for pretraining in ("fast_adversarial", "pgd_adversarial", "smoothing", "supervised")
    ]
    count = rows // SEEDS
    datasets = -(-count // (len(settings) * len(tickets)))
    entries = pd.DataFrame(
        [(f"set{i}", *setting, *ticket) for i in range(datasets) for setting in settings for ticket in tickets][:count],
        columns=["dataset", "metric", "transfer", "objective", "pretraining", "pruner", "sparsity", "round"],
    )
    table = entries.loc[entries.index.repeat(SEEDS)].reset_index(drop=True)
    noise = np.random.default_rng(0).normal(0, 0.01, len(table))
    constant: dict[str, Any] = {
        "grid": "perf",
        "architecture": "resnet50",
        "source": "imagenet",
        "granularity": "unstructured",
    }
    constant |= {"fraction": 1.0, "pretraining_seed": 0, "selection": "last", "higher_is_better": True}
    constant |= {"status": "done", "reason": "", "n_examples": 10_000, "flags": "", "commit": "0123abc"}
    constant |= {"kept": 100, "prunable": 1000, "macs": 10, "dense_macs": 100, "seconds": 1.0, "device": "cpu"}
    table = table.assign(
        **constant,
        device_hours=0.1,
        ticket_hours=0.2,
        seed=np.tile(np.arange(SEEDS), count),
        achieved_sparsity=table["sparsity"],
        value=0.9 - 0.3 * table["sparsity"] ** 8 + noise,
        key=[f"{i:016x}" for i in range(len(table))],
        ticket="0" * 16,
    )
    return frame.typed(table[list(frame.COLUMNS)])


def _bootstrap(repeats: int, groups: int, seeds: int) -> dict[str, list[float]]:
    """One interval of the mean for every group."""
    values = np.random.default_rng(0).normal(size=(groups, seeds))

    def loop() -> None:
        generator = np.random.default_rng(0)
        for group in values:
            scipy.stats.bootstrap((group,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=generator)

    sample = f"{groups:,} groups of {seeds}, {RESAMPLES:,} resamples"
    cases = {
        f"{sample}: a loop over scipy.stats.bootstrap": loop,
        "`mean_intervals`": lambda: mean_intervals(values, resamples=RESAMPLES),
    }
    return timing.interleaved(cases, repeats)


def _collect(evaluations: int) -> dict[str, list[float]]:
    """The first and the second time; the pages of the store are in memory, as after writing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "perf.yaml"
        path.write_text(GRID.format(seeds=list(range(-(-evaluations // (2 * PER_SEED))))))
        planned = plan(grid.read(path))
        for stage in planned.stages.values():
            _publish(stage, folder)
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            found = collect(path, root=folder)
            seconds.append(time.perf_counter() - began)
        assert (found.table["status"] == frame.DONE).all()
    case = f"{len(found.table):,} evaluations of {len(planned.stages):,} stages"
    return {f"{case}, the first time": seconds[:1], "again": seconds[1:]}


def _publish(stage: Stage, root: Path) -> None:
    """An artifact of the store's layout without its fsyncs, which say nothing of reading."""
    files: dict[str, Mapping[str, Any]] = {}
    folder = Store(root).folder(stage.key)
    folder.mkdir(parents=True)
    if stage.kind == "evaluate":
        counts = {"sparsity": 0.5, "kept": 50, "prunable": 100, "macs": 50, "dense_macs": 100}
        numbers = dict.fromkeys(("accuracy", "pgd_accuracy"), 0.9)
        text = json.dumps({"metrics": numbers, "details": {}, "flags": [], "n_examples": 500, "ticket": counts})
        (folder / "metrics.json").write_text(text)
        files["metrics.json"] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    made = {"commit": "0123abc", "seconds": 1.0, "device": "cpu", "device_name": "x86_64", "threads": 1}
    manifest = {"format": FORMAT, "stage": as_json(stage), "files": files, "made": made}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
