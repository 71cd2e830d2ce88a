"""A real SLURM for tests: slurm/devcluster, one shared cluster per test process and more on request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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

    make_cluster(nodes=1, accounting=True, settings=["SlurmdTimeout=5"], folder=path)
    """
    folders: list[Path] = []

    def make(
        *,
        folder: Path | None = None,
        nodes: int = 2,
        cpus: int = 2,
        auth: str = "auto",
        accounting: bool = False,
        settings: tuple[str, ...] = (),
    ) -> RunningCluster:
        folder = folder or tmp_path_factory.mktemp("cluster")
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
