"""What tests share: one folder of prepared embedded sets, and a grid that computes in seconds."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "name": "tiny",
    "protocol": "demo",
    "architecture": ["resnet8"],
    "pretraining": ["supervised"],
    "pruner": ["omp", "imp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 2, 8]},
    "dataset": ["digits"],
    "transfer": ["linear"],
    "evaluate": ["accuracy"],
    "override": {
        "pretrain": {"epochs": 1, "warmup_epochs": 0.0},
        "prune": {"epochs": 1},
        "transfer": {"epochs": 2},
        "attack": {"steps": 2},
    },
}

# The table of the fault drills of tests/launch.
DRILL_COLUMNS = ("fault", "how", "stages interrupted", "recomputed", "lost", "person needed")


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with the embedded sets prepared."""
    from bench import prepare

    root = tmp_path_factory.mktemp("data")
    assert (
        prepare.main(["digits", "letters", "digit_glyphs", "digits_inverted", "digits_noisy", "--data", str(root)]) == 0
    )
    return root


@pytest.fixture(scope="session")
def tiny() -> Mapping[str, Any]:
    """The fields of the tiny grid."""
    return TINY


@pytest.fixture
def write_grid(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny grid with fields changed; a field of value None is left out."""

    def write(changes: Mapping[str, Any] | None = None, name: str = "grid.yaml") -> Path:
        content = {key: value for key, value in {**TINY, **(changes or {})}.items() if value is not None}
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))
        return path

    return write


FAKE = """#!/bin/sh
cd {folder}
echo "{name} $*" >> calls
if [ -s {name}.fail ]; then
    head -n 1 {name}.fail >&2
    sed -i 1d {name}.fail
    exit 1
fi
"""
FAKE_SBATCH = """
id=$(cat next 2> /dev/null || echo 100)
echo $((id + 1)) > next
cp "$1" $id.sh
env > $id.env
echo "Submitted batch job $id"
"""


@dataclass(frozen=True, slots=True)
class FakeSlurm:
    """Commands that stand for SLURM's. sbatch numbers jobs from 100 on, the others print what they were told to."""

    folder: Path

    def answer(self, name: str, text: str) -> None:
        """What a command prints from now on."""
        (self.folder / f"{name}.txt").write_text(text)

    def fail(self, name: str, *lines: str) -> None:
        """The next calls of a command fail with these words, one each."""
        (self.folder / f"{name}.fail").write_text("".join(f"{line}\n" for line in lines))

    def calls(self, name: str) -> list[str]:
        """The calls of a command, with its arguments."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.strip() for line in lines if line.split()[0] == name]

    def scripts(self) -> dict[str, str]:
        """What was submitted, by job."""
        return {path.stem: path.read_text() for path in sorted(self.folder.glob("*.sh"))}

    def environment(self, job: str) -> list[str]:
        """Lines of the environment in which a job was submitted."""
        return (self.folder / f"{job}.env").read_text().splitlines()


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """SLURM's commands on PATH, as scripts: an empty queue, SLURM's default limits, no GPUs, no accounting."""
    folder = tmp_path / "fake-slurm"
    folder.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "sinfo", "sacct", "scancel", "srun"):
        script = folder / name
        does = FAKE_SBATCH if name == "sbatch" else f"[ -e {name}.txt ] && cat {name}.txt\nexit 0\n"
        script.write_text(FAKE.format(folder=folder, name=name) + does)
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    found = FakeSlurm(folder)
    found.answer("scontrol", "MaxArraySize = 1001\nMaxJobCount = 10000\n")
    return found


def pytest_configure() -> None:
    """Ctrl-C reaches tests and what they start also where a shell runs them in the background, which ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of the drills that passed. Here, for with several processes the first reads no other conftest.py."""
    rows = [
        row
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, row in report.user_properties
        if name == "drill"
    ]
    if rows:
        terminalreporter.section("fault drills")
        for row in (DRILL_COLUMNS, ["---"] * len(DRILL_COLUMNS), *rows):
            terminalreporter.write_line(f"| {' | '.join(row)} |")
