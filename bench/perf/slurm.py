"""Seconds to queue a grid, and stages per minute with packing and without, on a real SLURM started for the purpose.

`queue` submits 10,000 stages that are held, so that nothing runs. `complete` runs stages that compute next to nothing
(the random network of every pretraining seed), so that what is measured is the way to them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bench import grid, prepare
from bench.launch import campaign, controller
from bench.launch import profile as profiles
from bench.launch.continuation import Continue
from bench.launch.observed import Slurm
from bench.perf import cluster
from bench.plan import Plan, plan
from bench.store import MANIFEST, Store

QUEUED = """
name: queued
protocol: demo
architecture: [resnet8]
pretraining: [supervised, pgd_adversarial]
pruner: [dense, random, omp, imp]
sparsity: {{rate: 0.2, rounds: [0, 4, 8]}}
dataset: [digits, digit_glyphs]
transfer: [linear]
evaluate: [accuracy, pgd]
seed: {seeds}
pretraining_seed: {pretraining_seeds}
"""
TRIVIAL = """
name: trivial
protocol: demo
architecture: [resnet8]
pretraining: [random]
pruner: [dense]
dataset: [digits]
transfer: [linear]
evaluate: [accuracy]
pretraining_seed: {pretraining_seeds}
"""
# Fields of the profile: tasks of half a minute, as slurm/one_machine.yaml has them, and one stage a task, the hardest
# case: it has many more arrays, and tasks that only a continuation can submit.
PACKING: dict[str, dict[str, Any]] = {"packed": {"target_minutes": 0.5}, "unpacked": {"pack": 1}}
# Tasks per node among which the trivial stages are shared out where they are packed.
TASKS_PER_NODE = 2
HELD = {"sbatch": {"hold": True}}
# Without a new artifact for so long something is wrong.
STALLED_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Queueing:
    """A grid queued and cancelled: seconds by command, and the calls of sbatch of the first and the second submit.

    `tasks` and `stages` were submitted, in `groups` of tasks that wait for the same and ask for the same.
    """

    seconds: dict[str, float]
    calls: tuple[int, int]
    groups: int
    tasks: int
    stages: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """Trivial stages, from before their submission to the last artifact, and the start of every task.

    rate: stages per minute. launch: seconds from the first line of a task's batch script to that of its first stage.
    """

    rate: float
    launch: tuple[float, ...]


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows of every benchmark; ratio to its first case. Raises Unavailable where SLURM cannot be started."""
    seeds, pretraining_seeds = (1, 1) if quick else (20, 6)
    # One stage a task takes seconds each: a rate needs no thousand of them.
    packed, alone = (4, 2) if quick else (1000, 40)
    tasks = min(TASKS_PER_NODE * cluster.NODES, packed // 2)
    trivial = {
        f"{alone} stages, one a task": (alone, 1),
        f"{packed:,} stages in {tasks} tasks": (packed, -(-packed // tasks)),
    }
    queued: dict[str, list[Queueing]] = {name: [] for name in PACKING}
    completed: dict[str, list[Completion]] = {case: [] for case in trivial}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = folder / "queued.yaml"
        written.write_text(
            QUEUED.format(seeds=list(range(seeds)), pretraining_seeds=list(range(pretraining_seeds))), encoding="utf-8"
        )
        for repeat in range(repeats):
            with cluster.running(folder / f"cluster-{repeat}") as calls:
                if not repeat:
                    prepare.main(["digits", "letters", "digit_glyphs", "--data", str(folder / "data")])
                for i, (packing, fields) in enumerate(PACKING.items()):
                    queued[packing].append(queue(written, folder / f"queued-{repeat}-{i}", fields, calls))
                for i, (case, (stages, pack)) in enumerate(trivial.items()):
                    completed[case].append(complete(stages, pack, folder / f"trivial-{repeat}-{i}"))
    return [*queue_rows(queued), *completion_rows(completed)]


def queue(written: Path, folder: Path, packing: dict[str, Any], calls: Path) -> Queueing:
    """Submit a grid with every job held, submit it again, look at it, cancel it: the commands that people give."""
    folder.mkdir()
    profile = write_profile(folder / "profile.yaml", {"defaults": {**plain(packing), **HELD}})
    asked, root = profiles.read(profile), folder / "root"
    empty = Slurm(submissions=(), elements=(), jobs={}, problem="", time=0.0)
    order = campaign.compose(plan(grid.read(written)), asked, Store(root), slurm=empty, limits=controller.limits())
    submit = (
        "submit", written, "--root", root, "--data", folder.parent / "data", "--profile", profile, "--cluster", "slurm",
        "--yes",
    )  # fmt: skip
    commands: dict[str, tuple[object, ...]] = {
        "submit": submit,
        "submit again": submit,
        "status": ("status", written, "--root", root),
        "cancel": ("cancel", written, "--root", root, "--yes"),
    }
    seconds, counted = {}, []
    for name, (module, *words) in commands.items():
        before = cluster.lines(calls)
        seconds[name] = cluster.command(f"bench.{module}", *words)
        counted.append(cluster.lines(calls) - before)
    cluster.drain()
    return Queueing(
        seconds=seconds,
        calls=(counted[0], counted[1]),
        groups=len({(array.kind, array.resources, array.after, array.live) for array in order.arrays}),
        tasks=sum(len(array.elements) for array in order.arrays),
        stages=order.total - order.later,
    )


def complete(stages: int, pack: int, folder: Path) -> Completion:
    """Compute the random networks of so many pretraining seeds, `pack` to a task."""
    folder.mkdir()
    began_at = folder / "began"
    began_at.mkdir()
    written = folder / "trivial.yaml"
    written.write_text(TRIVIAL.format(pretraining_seeds=list(range(stages))), encoding="utf-8")
    setup = f'touch "{began_at}/${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"'
    # The continuation would submit what reads these networks; held, it never does.
    content = {"defaults": plain({"pack": pack}), "continuation": HELD, "setup": [setup]}
    profile = profiles.read(write_profile(folder / "profile.yaml", content))
    planned = networks_only(plan(grid.read(written)))
    store, data = Store(folder / "root"), folder.parent / "data"
    began = time.time()
    with campaign.exclusively(store.root, "bench.perf", print) as held:
        submission = campaign.begin(
            store.root, planned, profile, grid_file=written, overrides=[], only=[], data=data
        )  # fmt: skip
        go_on = Continue(str(submission.folder))
        campaign.advance(submission, planned, profile, store, person=True, go_on=go_on, note=print, held=held)
    wait(store, planned.targets)
    cluster.drain()
    artifacts = [store.open(key) for key in planned.targets]
    ended = max((artifact.path / MANIFEST).stat().st_mtime for artifact in artifacts)
    first: dict[str, float] = {}
    for artifact in artifacts:
        made = artifact.manifest["made"]
        first[made["job"]] = min(made["started"], first.get(made["job"], made["started"]))
    launch = tuple(start - (began_at / job).stat().st_mtime for job, start in first.items())
    return Completion(rate=60 * stages / (ended - began), launch=launch)


def networks_only(planned: Plan) -> Plan:
    """The plan with the networks themselves as targets, in the place of the evaluations of cells."""
    return replace(planned, cells=tuple(cell._replace(evaluate=(cell.ticket,)) for cell in planned.cells))


def wait(store: Store, keys: Sequence[str]) -> None:
    """Every key has its artifact. Raises RuntimeError where none comes any more."""
    wanted = set(keys)
    left, since = len(wanted), time.monotonic()
    while found := wanted - store.keys():
        if len(found) < left:
            left, since = len(found), time.monotonic()
        if time.monotonic() - since > STALLED_S:
            logs = sorted(store.root.glob("slurm/*/*/*_log.out"))
            last = logs[-1].read_text(errors="replace")[-2000:] if logs else "no task has started"
            raise RuntimeError(f"{left} stages are missing and none ended within {STALLED_S:.0f} s: {last}")
        time.sleep(0.25)


def plain(packing: dict[str, Any]) -> dict[str, Any]:
    return {"gpus": 0, "cpus": 1, "minutes": 60, **packing}


def write_profile(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump({"signal_delay_s": 30, **content}), encoding="utf-8")
    return path


def queue_rows(queued: dict[str, list[Queueing]]) -> list[dict[str, Any]]:
    """For every packing: seconds of the commands, then what calls of sbatch must stay below, and the calls."""
    rows: list[dict[str, Any]] = []
    for packing, found in queued.items():
        one = found[0]
        values = {name: statistics.median(each.seconds[name] for each in found) for name in one.seconds}
        first = f"submit, {one.stages:,} stages, {one.tasks:,} tasks"
        rows += rows_of(f"slurm {packing}", "s", {first if name == "submit" else name: values[name] for name in values})
        bound = 1 + one.groups + one.stages / 1000
        most = [max(each.calls[i] for each in found) for i in (0, 1)]
        limit = f"must be below 1 + {one.groups:,} groups + stages / 1000"
        calls = {limit: bound, "submit": most[0], "submit again": most[1]}
        rows += rows_of(f"slurm {packing}", "sbatch calls", calls)
    return rows


def completion_rows(completed: dict[str, list[Completion]]) -> list[dict[str, Any]]:
    rates = {case: statistics.median(each.rate for each in found) for case, found in completed.items()}
    starts = {case: statistics.median(s for each in found for s in each.launch) for case, found in completed.items()}
    return [
        *rows_of("slurm run", "stages/min", rates),
        *rows_of("slurm launch", "s", starts),
    ]


def rows_of(benchmark: str, unit: str, values: dict[str, float]) -> list[dict[str, Any]]:
    first = next(iter(values.values()))
    return [
        {"benchmark": benchmark, "case": case, "value": value, "unit": unit, "ratio": value / first}
        for case, value in values.items()
    ]
