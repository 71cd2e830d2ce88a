"""Toy results: one architecture, one data set, accuracy, unless a test says otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

from bench.grid import read
from bench.plan import plan
from bench.results import ResultRow
from bench.spec import Cell, Word
from bench.store import FORMAT, MANIFEST, Store

Row = Callable[..., ResultRow]


class ToyStore(Store):
    """A store that takes artifacts without a plan."""

    def put(
        self,
        key: str,
        files: Mapping[str, Mapping[str, Any]] = {},
        *,
        inputs: Mapping[str, str] = {},
        **parameters: Any,
    ) -> None:
        """Publish an artifact with these files of arrays."""
        folder = self.folder(key)
        folder.mkdir(parents=True)
        listed = {}
        for name, arrays in files.items():
            content = save(arrays)
            (folder / name).write_bytes(content)
            listed[name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        stage = {"key": key, "parameters": parameters, "inputs": dict(inputs)}
        manifest = {"format": FORMAT, "stage": stage, "files": listed, "made": {}}
        (folder / MANIFEST).write_text(json.dumps(manifest))


GRID = """
name: tiny
protocol: demo
architecture: [resnet8]
pretraining: [supervised]
pruner: [dense, omp]
sparsity: {rate: 0.2, rounds: [0, 10]}
dataset: [digits]
transfer: [linear]
seed: [0, 1]
evaluate: [accuracy]
"""


def make_row(
    pruner: str = "omp",
    sparsity: float = 0.9,
    seed: int = 0,
    value: float | None = None,
    *,
    status: str = "done",
    reason: str = "",
    metric: str = "accuracy",
    higher_is_better: bool = True,
    achieved: float | None = None,
    selection: str = "last",
    **axes: object,
) -> ResultRow:
    words = {"architecture": "resnet8", "pretraining": "supervised", "source": "letters", "dataset": "digits"}
    words |= {name: axes.pop(name) for name in tuple(axes) if name in words}
    words |= {name: axes.pop(name, word) for name, word in (("granularity", "unstructured"), ("objective", "standard"))}
    plain = {"transfer": "linear", "fraction": 1.0}
    cell = Cell(
        **{name: Word(label.partition("(")[0], label=label) for name, label in words.items()},
        **(plain | {"pretraining_seed": 0, "round": 10 if sparsity else 0} | axes),
        pruner=Word(pruner.partition("(")[0], label=pruner),
        sparsity=sparsity,
        seed=seed,
    )
    done = status == "done"
    return ResultRow(
        cell=cell,
        metric=metric,
        selection=selection,
        value=value,
        status=status,
        reason=reason,
        higher_is_better=higher_is_better,
        achieved_sparsity=(sparsity if achieved is None else achieved) if done else None,
        kept=100 if done else None,
        prunable=1000 if done else None,
        macs=5000 if done else None,
        dense_macs=50_000 if done else None,
        n_examples=500 if done else None,
        flags="",
        key=f"e-{pruner}-{sparsity:g}-{seed}",
        ticket=f"t-{pruner}-{sparsity:g}",
        commit="0123abc" if done else "",
        seconds=2.5 if done else None,
        device="cpu" if done else "",
        device_hours=0.5 if done else None,
        ticket_hours=1.5 if done else None,
    )


@pytest.fixture
def row() -> Row:
    return make_row


@pytest.fixture
def small_grid() -> list[ResultRow]:
    """Dense 0.9 on average; omp 0.8 complete at 0.5 and, at 0.9, 0.95 with one seed of three; random 0.4 at 0.9."""
    values = {
        ("dense", 0.0): (0.88, 0.90, 0.92),
        ("omp", 0.5): (0.79, 0.80, 0.81),
        ("random", 0.9): (0.3, 0.4, 0.5),
    }
    rows = [make_row(p, s, seed, v) for (p, s), found in values.items() for seed, v in enumerate(found)]
    rows.append(make_row("omp", 0.9, 0, 0.95))
    rows.append(make_row("omp", 0.9, 1, status="failed", reason="transfer 12ab failed: out of memory (log: x.log)"))
    rows.append(make_row("omp", 0.9, 2, status="missing", reason="not run"))
    return rows


@pytest.fixture
def tiny_grid(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture
def publish() -> Callable[..., None]:
    """Publishes evaluations with accuracy 0.9 (dense) and 0.8 (omp), plus seed / 100: by default all but the last."""

    def make(grid: Path, root: Path, count: int = 3) -> None:
        planned = plan(read(grid))
        for cell, stages in list(zip(planned.grid.cells, planned.cells, strict=True))[:count]:
            accuracy = (0.9 if cell.pruner.name == "dense" else 0.8) + cell.seed / 100
            found = {
                "metrics": {"accuracy": accuracy},
                "n_examples": 500,
                "ticket": {"sparsity": cell.sparsity, "kept": 100, "prunable": 1000},
            }
            stage = planned.stages[stages.evaluate[0]]
            if not Store(root).has(stage.key):
                with Store(root).publish(stage, {"commit": "0123abc", "seconds": 1.5}) as folder:
                    (folder / "metrics.json").write_text(json.dumps(found))

    return make


@pytest.fixture
def store(tmp_path: Path) -> ToyStore:
    return ToyStore(tmp_path)
