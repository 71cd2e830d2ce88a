"""The SLURM benchmark: what it reports was measured on a cluster of its own, which is gone afterwards."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.perf import Unavailable, __main__, cluster, plan, slurm
from bench.perf.slurm import Completion, Queueing


def mentioning(path):
    """The command lines that name a path: daemons have their cluster's folder among their arguments."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(one.read_bytes())
    return [line for line in found if os.fsencode(path) in line]


@pytest.mark.slow
def test_a_grid_is_queued_with_few_calls_and_trivial_stages_are_run(monkeypatch, tmp_path):
    monkeypatch.setattr(slurm.tempfile, "tempdir", str(tmp_path))
    before = dict(os.environ)
    rows = slurm.run(repeats=1, quick=True)
    assert all(row["value"] >= 0 for row in rows)
    found = {(row["benchmark"], row["unit"], row["case"]): row["value"] for row in rows}
    for packing in ("slurm packed", "slurm unpacked"):
        (limit,) = [value for (name, _, case), value in found.items() if name == packing and case.startswith("must be")]
        assert 2 <= found[packing, "sbatch calls", "submit"] < limit
        assert found[packing, "sbatch calls", "submit again"] == 0
        assert found[packing, "s", "status"] > 0
    cases = [case for name, _, case in found if name == "slurm run"]
    assert cases == ["2 stages, one a task", "4 stages in 2 tasks"]
    assert all(value > 0 for (name, _, _), value in found.items() if name in ("slurm run", "slurm launch"))
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())
    assert not mentioning(tmp_path)


def test_the_cluster_is_stopped_when_the_benchmark_fails(monkeypatch, tmp_path):
    asked = []

    def devcluster(*words):
        asked.append(words[0])
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(cluster, "devcluster", devcluster)
    before = dict(os.environ)

    def measure():
        with cluster.running(tmp_path / "cluster"):
            assert os.environ["SLURM_CONF"] == str(tmp_path / "cluster" / "slurm.conf")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure()
    assert asked == ["start", "stop"]
    assert dict(os.environ) == before


def test_every_call_of_sbatch_is_counted_and_passed_on(monkeypatch, tmp_path):
    real = tmp_path / "real" / "sbatch"
    real.parent.mkdir()
    real.write_text('#!/bin/sh\necho "got $*"\n')
    real.chmod(0o755)
    monkeypatch.setattr(cluster, "devcluster", lambda *words: subprocess.CompletedProcess(words, 0, "", ""))
    monkeypatch.setenv("PATH", f"{real.parent}{os.pathsep}{os.environ['PATH']}")
    with cluster.running(tmp_path / "cluster") as calls:
        answers = [subprocess.run(["sbatch", "a b", n], capture_output=True, text=True).stdout for n in "12"]
        assert cluster.lines(calls) == 2
    assert answers == ["got a b 1\n", "got a b 2\n"]


def test_without_slurm_one_sentence_says_what_to_install(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path)}
    argv = [sys.executable, "-m", "bench.perf", "slurm", "--quick"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=cluster.CHECKOUT)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench.perf: SLURM is not installed")
    assert "apt-get install" in line


def test_what_was_measured_before_a_benchmark_that_cannot_run_is_reported(monkeypatch, capsys):
    def run(repeats, quick):
        raise Unavailable("no such program")

    monkeypatch.setattr(slurm, "run", run)
    monkeypatch.setattr(plan, "run", lambda repeats, quick: slurm.rows_of("planning", "s", {"small": 1.0}))
    assert __main__.main(["plan", "slurm"]) == 2
    told = capsys.readouterr()
    assert told.err == "bench.perf: no such program\n"
    assert "planning" in told.out
    assert __main__.main(["slurm"]) == 2
    assert capsys.readouterr().out == ""


def test_values_are_medians_calls_the_most_and_ratios_to_the_first_case():
    def queueing(seconds, calls):
        return Queueing(seconds={"submit": seconds, "status": 1.0}, calls=(calls, 0), groups=3, tasks=5, stages=2000)

    rows = slurm.queue_rows({"packed": [queueing(2.0, 4), queueing(8.0, 5), queueing(4.0, 4)]})
    assert [(row["case"], row["value"], row["unit"], row["ratio"]) for row in rows] == [
        ("submit, 2,000 stages, 5 tasks", 4.0, "s", 1.0),
        ("status", 1.0, "s", 0.25),
        ("must be below 1 + 3 groups + stages / 1000", 6.0, "sbatch calls", 1.0),
        ("submit", 5, "sbatch calls", 5 / 6),
        ("submit again", 0, "sbatch calls", 0.0),
    ]
    one, many = Completion(rate=10.0, launch=(1.0, 3.0)), Completion(rate=200.0, launch=(2.0,))
    rows = slurm.completion_rows({"one a task": [one], "packed": [many]})
    assert [(row["benchmark"], row["value"], row["ratio"]) for row in rows] == [
        ("slurm run", 10.0, 1.0),
        ("slurm run", 200.0, 20.0),
        ("slurm launch", 2.0, 1.0),
        ("slurm launch", 2.0, 1.0),
    ]
