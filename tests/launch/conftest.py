"""A real SLURM for tests: slurm/devcluster, one shared cluster per test process and more on request; fault drills."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import grid, results
from bench.launch import local
from bench.launch.task import ENDED, Settings
from bench.plan import Plan, plan
from bench.store import Store

DEVCLUSTER = Path(__file__).parents[2] / "slurm" / "devcluster"


def run_devcluster(*words: object) -> subprocess.CompletedProcess[str]:
    """Run slurm/devcluster to its end, whatever that is."""
    argv = [sys.executable, DEVCLUSTER, *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def slurm_environment(folder: Path) -> dict[str, str]:
    """The environment of this process, for the cluster of this folder and no other."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))}
    return {**own, "SLURM_CONF": f"{folder}/slurm.conf"}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningCluster:
    """A cluster that runs; its methods raise AssertionError if what they do fails."""

    folder: Path
    env: dict[str, str]

    def run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        """A command in the cluster's environment, in its folder; it may fail."""
        words = [str(word) for word in argv]
        return subprocess.run(words, env=self.env, cwd=self.folder, capture_output=True, text=True, check=False)

    def submit(self, *options: object, wrap: str) -> int:
        """The id of a job that runs these shell commands."""
        done = self.run("sbatch", "--parsable", *options, "--wrap", wrap)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def states(self, job: int) -> list[str]:
        """States of a job, one for each array element, while SLURM remembers it."""
        done = self.run("squeue", "--noheader", "--array", "--states=all", "--format=%T", f"--jobs={job}")
        return done.stdout.split()

    def wait(self, job: int, *states: str, seconds: float = 60.0) -> None:
        """Every element of the job is in one of these states."""
        deadline = time.monotonic() + seconds
        while not (found := self.states(job)) or not set(found) <= set(states):
            assert time.monotonic() < deadline, f"job {job} is {found} after {seconds} s: {self.run('squeue').stdout}"
            time.sleep(0.1)

    def kill(self, name: str, *options: str) -> None:
        """A daemon is killed; with "--with-jobs" a node's jobs too."""
        done = run_devcluster("kill", self.folder, name, *options)
        assert done.returncode == 0, done.stderr

    def revive(self, name: str) -> None:
        """A daemon that was killed runs again and answers."""
        done = run_devcluster("revive", self.folder, name)
        assert done.returncode == 0, done.stderr


Devcluster = Callable[..., subprocess.CompletedProcess[str]]
MakeCluster = Callable[..., RunningCluster]


@pytest.fixture(scope="session")
def devcluster() -> Devcluster:
    """Runs slurm/devcluster with these words; it may fail."""
    return run_devcluster


@pytest.fixture(scope="session")
def make_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCluster]:
    """Starts a cluster with these options of `devcluster start`; all are stopped when the tests end.

    make_cluster(nodes=1, accounting=True, settings=["SlurmdTimeout=5"], name="a folder's name")
    """
    folders: list[Path] = []

    def make(
        *,
        name: str = "cluster",
        nodes: int = 2,
        cpus: int = 2,
        auth: str = "auto",
        accounting: bool = False,
        settings: tuple[str, ...] = (),
    ) -> RunningCluster:
        # Not below a test's own folder: that is gone when its cluster is stopped.
        folder = tmp_path_factory.mktemp("cluster") / name
        folders.append(folder)
        lines = [f"--set={line}" for line in settings]
        options = ["--nodes", nodes, "--cpus", cpus, "--auth", auth, *(["--accounting"] if accounting else []), *lines]
        done = run_devcluster("start", folder, *options)
        assert done.returncode == 0, done.stderr
        return RunningCluster(folder=folder, env=slurm_environment(folder))

    yield make
    stopped = [run_devcluster("stop", folder) for folder in folders]
    assert [done.stderr for done in stopped if done.returncode] == []


@pytest.fixture(scope="session")
def cluster(make_cluster: MakeCluster) -> RunningCluster:
    """A cluster of four nodes with two CPUs each, shared by the tests of this process: leave it idle, its nodes up."""
    return make_cluster(nodes=4)


# What a fault drill computes: 38 stages, of which a pre-training and three rounds of IMP take seconds.
DRILL: Mapping[str, Any] = {
    "name": "drill",
    "pruner": ["dense", "random", "omp", "imp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 2, 3]},
    "seed": [0, 1],
    "override": {
        "pretrain": {"epochs": 2, "warmup_epochs": 0.0},
        "prune": {"epochs": 1},
        "transfer": {"epochs": 4},
        "attack": {"steps": 2},
    },
}
# Its arrays have tasks of a few seconds, some of them several; a task has one CPU, so one thread, as in `undisturbed`.
DRILL_PROFILE: Mapping[str, Any] = {
    "defaults": {"gpus": 0, "cpus": 1, "minutes": 5, "target_minutes": 0.1, "pack": 10},
    "signal_delay_s": 30,
    "disk_wait_minutes": 2,
}
_STARTED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+ [0-9a-f]{16} on \S+ job \S+$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """A grid's artifacts and rows: what must be equal whatever happened. Files by key and name, as sha256."""

    files: Mapping[str, Mapping[str, str]]
    rows: list[Any]


def computed(grid_file: Path, root: Path) -> Computed:
    """What a root holds of a grid; raises StoreError where an artifact is corrupt."""
    planned, store = plan(grid.read(grid_file)), Store(root)
    files = {}
    for key in planned.stages.keys() & store.keys():
        found = store.open(key)
        # Reading through the artifact checks every file against its digest.
        files[key] = {name: entry["sha256"] for name, entry in found.manifest["files"].items() if found.file(name)}
    times = {"seconds": None, "device_hours": None, "ticket_hours": None}
    rows = [dataclasses.replace(row, commit="", **times) for row in results.rows(planned, root=root)]
    return Computed(files=files, rows=rows)


def compute_here(grid_file: Path, root: Path, data: Path) -> Computed:
    """The grid, computed without SLURM and undisturbed, with one thread per stage."""
    planned = plan(grid.read(grid_file))
    engine = local.make_engine(
        planned.stages, planned.targets, Settings(root=root, data_root=data), 2, done=set(), cores=2,
        on_change=lambda _: None, on_note=print,
    )  # fmt: skip
    local.run(engine)
    return computed(grid_file, root)


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=None))
    return path


@dataclass(frozen=True, kw_only=True, slots=True)
class Drill:
    """A grid on a cluster, to be disturbed; its methods raise AssertionError if what they do fails."""

    cluster: RunningCluster
    grid: Path
    root: Path
    data: Path
    profile: Path
    expected: Computed
    report: Callable[[tuple[str, ...]], None]

    @property
    def planned(self) -> Plan:
        return plan(grid.read(self.grid))

    @property
    def store(self) -> Store:
        return Store(self.root)

    def bench(self, command: str, *options: object) -> subprocess.CompletedProcess[str]:
        """A command line of the suite over this grid and root; it may fail."""
        argv = [sys.executable, "-m", f"bench.{command}", self.grid, "--root", self.root, *options]
        repository = DEVCLUSTER.parents[1]
        words = [str(word) for word in argv]
        return subprocess.run(words, env=self.cluster.env, cwd=repository, capture_output=True, text=True, check=False)

    def submit(self, *options: object) -> str:
        """What a person does to start and, where need be, to go on; what it printed."""
        asked = ("--data", self.data, "--profile", self.profile, "--cluster", "slurm", "--yes", *options)
        done = self.bench("submit", *asked)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def jobs(self, *states: str) -> dict[str, str]:
        """State by id of everything queued, one for each element; only in these states where some are given."""
        done = self.cluster.run("squeue", "-h", "-a", "-r", "--format=%i %T")
        assert done.returncode == 0, done.stderr
        found = dict(line.split() for line in done.stdout.splitlines())
        return {job: state for job, state in found.items() if not states or state in states}

    def until(self, true: Callable[[], Any], seconds: float = 120.0) -> None:
        """The condition holds."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.cluster.run("squeue", "-a", "-r").stdout + self.said()
            time.sleep(0.05)

    def wait(self, seconds: float = 300.0) -> None:
        """Nothing is queued or running any more."""
        self.until(lambda: not self.jobs(), seconds)

    def begun(self) -> Counter[str]:
        """How often each stage was started."""
        found: Counter[str] = Counter()
        for path in (self.root / "logs").glob("*/*.log"):
            found[path.stem] = len(_STARTED.findall(path.read_text(errors="replace")))
        return found

    def under_way(self) -> set[str]:
        """Stages that were started and are not done."""
        return {key for key, count in self.begun().items() if count and not self.store.has(key)}

    def said(self) -> str:
        """The logs of all tasks."""
        logs = sorted((self.root / "slurm").glob("*/*/*_log.out"))
        return "\n".join(f"--- {path}\n{path.read_text(errors='replace')}" for path in logs)

    def check(self, fault: str, how: str, *, person: str = "no") -> Counter[str]:
        """Every artifact is there, equal to an undisturbed run's, none computed once more; how often each was started.

        The drill's line is printed at the end of the tests. `person`: what a person had to do.
        """
        found, begun = computed(self.grid, self.root), self.begun()
        lost = self.expected.files.keys() - found.files.keys()
        assert lost == set(), self.said()
        assert found == self.expected
        assert begun.keys() == found.files.keys()
        again = {key for key, count in begun.items() if count > 1}
        for key in again:
            assert self.last_start(key) <= (self.store.folder(key) / "manifest.json").stat().st_mtime, key
        resumed = sum(self.stopped(key) > 0 for key in again)
        recomputed = f"{resumed} from a checkpoint, {len(again) - resumed} from their start"
        self.report((fault, how, f"{len(again)} of {len(begun)}", recomputed, str(len(lost)), person))
        return begun

    def last_start(self, key: str) -> float:
        """When the stage was last started, in whole seconds."""
        line = _STARTED.findall(self.store.log(key).read_text(errors="replace"))[-1]
        return time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S"))

    def stopped(self, key: str) -> int:
        """How many attempts at a stage ended at a checkpoint in good order."""
        return self.store.log(key).read_text(errors="replace").count(ENDED)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny: Mapping[str, Any], data_root: Path) -> Computed:
    """The grid of the drills, computed once without SLURM."""
    folder = tmp_path_factory.mktemp("undisturbed")
    found = compute_here(write_yaml(folder / "drill.yaml", {**tiny, **DRILL}), folder / "runs", data_root)
    assert {row.status for row in found.rows} == {"done"}
    return found


@pytest.fixture(scope="session")
def compute() -> Callable[[Path, Path, Path], Computed]:
    """Computes a grid file under a root, from a data root, without SLURM."""
    return compute_here


@pytest.fixture
def make_drill(
    tmp_path: Path, tiny: Mapping[str, Any], data_root: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Drill]]:
    """A drill on a cluster: make_drill(cluster, changes={...of the grid}, profile={...fields}, root=...).

    With `changes` the artifacts are computed anew, unless what is `expected` is given. What a drill left in its queue is cancelled.
    """
    made: list[Drill] = []

    def make(
        cluster: RunningCluster,
        *,
        changes: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        root: Path | None = None,
        expected: Computed | None = None,
    ) -> Drill:
        path = write_yaml(tmp_path / "drill.yaml", {**tiny, **DRILL, **(changes or {})})
        if expected is None and changes:
            expected = compute_here(path, tmp_path / "expected", data_root)
        drill = Drill(
            cluster=cluster,
            grid=path,
            root=root or tmp_path / "runs",
            data=data_root,
            profile=write_yaml(tmp_path / "profile.yaml", {**DRILL_PROFILE, **(profile or {})}),
            expected=expected or request.getfixturevalue("undisturbed"),
            report=lambda row: request.node.user_properties.append(("drill", row)),
        )
        made.append(drill)
        return drill

    yield make
    for drill in made:
        if drill.jobs():
            drill.cluster.run("scancel", *{job.partition("_")[0] for job in drill.jobs()})
            drill.wait()
