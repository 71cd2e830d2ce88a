"""What a plan costs and what sharing saves, estimated before anything runs. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.cost import disk_bytes, epochs, tera_operations
from bench.plan import Plan
from bench.spec import KINDS, PruneParameters, Stage

# Sustained tera-operations per second in training, far below the peaks: small batches, loading, normalisation.
GPU_TERA, CORE_TERA = 20.0, 0.02
# Loading, metrics and files of a stage that computes almost nothing.
OVERHEAD_S = 0.2


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of stage; hours and bytes are those of what is still to run."""

    kind: str
    unique: int
    done: int
    to_run: int
    gpu_hours: float
    core_hours: float
    disk: float


@dataclass(frozen=True, slots=True)
class Work:
    """Training work: epochs of the upstream and downstream sets, and operations in units of 1e12."""

    upstream_epochs: int = 0
    downstream_epochs: int = 0
    tera: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.upstream_epochs + other.upstream_epochs,
            self.downstream_epochs + other.downstream_epochs,
            self.tera + other.tera,
        )


def seconds(stage: Stage, *, gpu: bool) -> float:
    """Estimated seconds of a stage alone on a GPU, or on one CPU core."""
    return tera_operations(stage) / (GPU_TERA if gpu else CORE_TERA) + OVERHEAD_S


def summarise(plan: Plan, done: set[str], left: Iterable[Stage]) -> tuple[Row, ...]:
    """Counts by kind of stage, and what the stages `left` to run will cost."""
    unique = Counter(stage.kind for stage in plan.stages.values())
    finished = Counter(plan.stages[key].kind for key in done)
    to_run: Counter[str] = Counter()
    tera, disk = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for stage in left:
        to_run[stage.kind] += 1
        tera[stage.kind] += tera_operations(stage)
        disk[stage.kind] += disk_bytes(stage)
    rows = []
    for kind in KINDS:
        gpu, core = ((tera[kind] / rate + OVERHEAD_S * to_run[kind]) / 3600 for rate in (GPU_TERA, CORE_TERA))
        rows.append(Row(kind, unique[kind], finished[kind], to_run[kind], gpu, core, disk[kind]))
    return tuple(rows)


def sharing(plan: Plan) -> tuple[Work, Work]:
    """(training work if every cell recomputed all its ancestors, training work of the merged plan)."""
    chains: dict[str, Work] = {}
    alone = Work()
    for cell in plan.cells:
        own = dict(plan.stages[cell.transfer].inputs)["pretrain"]
        # Evaluations may read the features of another pre-training than the cell's own.
        others = {dict(plan.stages[key].inputs).get("pretrain", own) for key in cell.evaluate} - {own}
        for key in (cell.transfer, *sorted(others)):
            alone += _chain(plan.stages, key, chains)
    return alone, sum((_work(stage) for stage in plan.stages.values()), Work())


def _work(stage: Stage) -> Work:
    count = epochs(stage)
    if not count:
        return Work()
    upstream = stage.kind == "pretrain" or (
        isinstance(stage.parameters, PruneParameters) and dict(stage.parameters.pruner.options).get("on") == "upstream"
    )
    return Work(count if upstream else 0, 0 if upstream else count, tera_operations(stage))


def _chain(stages: Mapping[str, Stage], key: str, known: dict[str, Work]) -> Work:
    """Work of a stage and its ancestors: a chain of rounds on one pre-training."""
    if key not in known:
        stage = stages[key]
        inputs = dict(stage.inputs)
        source = next((inputs[role] for role in ("ticket", "previous", "rewind", "pretrain") if role in inputs), None)
        known[key] = _work(stage) + (_chain(stages, source, known) if source else Work())
    return known[key]


def size(count: float) -> str:
    """'1.2 GB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
