"""The local engine with real workers on the embedded sets."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bench import grid, submit
from bench.launch import lock
from bench.plan import plan
from bench.results import rows
from bench.store import Store


def run(path, data_root, root, *more):
    return submit.main(
        [
            str(path),
            "--data",
            str(data_root),
            "--root",
            str(root),
            "--workers",
            "2",
            "--cluster",
            "local",
            "--yes",
            *more,
        ]
    )


def contents(root: Path) -> dict[str, dict[str, str]]:
    """Key -> file -> sha256 of every artifact."""
    found = {}
    for manifest in (root / "store").glob("*/*/manifest.json"):
        content = json.loads(manifest.read_text())
        found[content["stage"]["key"]] = {name: entry["sha256"] for name, entry in content["files"].items()}
    return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory, data_root, tiny):
    """The tiny grid with fine-tuning and an attack, run undisturbed: its path, its root, its artifacts."""
    folder = tmp_path_factory.mktemp("reference")
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "transfer": ["linear", "finetune"], "evaluate": ["accuracy", "pgd"]}))
    assert run(path, data_root, folder / "runs") == 0
    return path, folder / "runs", contents(folder / "runs")


def test_a_grid_runs_to_complete_rows(reference):
    path, root, artifacts = reference
    found = rows(plan(grid.read(path)), root=root)
    assert {row.status for row in found} == {"done"}
    # 5 networks, 2 transfers, accuracy + pgd_accuracy.
    assert len(found) == 5 * 2 * 2
    assert set(artifacts) == set(plan(grid.read(path)).stages)
    by_round = {row.cell.round: row for row in found if row.cell.pruner.name != "dense"}
    total = by_round[8].prunable
    assert by_round[8].kept == grid.read(path).ladder.kept(total, 8)
    assert by_round[8].achieved_sparsity == pytest.approx(1 - 0.8**8, abs=1 / total)
    assert all(0 <= row.value <= 1 for row in found)
    robust = {(row.cell, row.metric): row.value for row in found}
    assert all(
        robust[cell, "pgd_accuracy"] <= robust[cell, "accuracy"] for cell, metric in robust if metric == "accuracy"
    )


def test_running_again_computes_nothing(reference, data_root, capsys):
    path, root, artifacts = reference
    before = {manifest: manifest.stat().st_mtime_ns for manifest in root.glob("store/*/*/manifest.json")}
    assert run(path, data_root, root) == 0
    assert "Everything is done" in capsys.readouterr().out
    assert before == {manifest: manifest.stat().st_mtime_ns for manifest in root.glob("store/*/*/manifest.json")}
    assert contents(root) == artifacts


@pytest.mark.parametrize("kind", ["pretrain", "prune", "evaluate"])
def test_a_damaged_artifact_is_named_and_recomputed_the_same(reference, data_root, tmp_path, capsys, kind):
    path, root, artifacts = reference
    copy = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(root), str(copy)], check=True)
    planned = plan(grid.read(path))
    key = next(key for key, stage in planned.stages.items() if stage.kind == kind)
    store = Store(copy)
    victim = next(
        file for file in store.folder(key).iterdir() if file.name != "manifest.json" and "history" not in file.name
    )
    # The same size: only the digest can tell. What reads it must be computed again to notice.
    victim.write_bytes(victim.read_bytes()[:-1] + b"\0")
    for reader_key, stage in planned.stages.items():
        if any(source == key for _, source in stage.inputs):
            store.quarantine(reader_key)
            for leaf_key, leaf in planned.stages.items():
                if any(source == reader_key for _, source in leaf.inputs):
                    store.quarantine(leaf_key)
    assert run(path, data_root, copy) == 0
    printed = capsys.readouterr().out.replace("\n", "")
    assert f"artifact {key}" in printed
    assert contents(copy) == artifacts


def test_a_truncated_artifact_is_noticed_before_the_run(reference, data_root, tmp_path, capsys):
    path, root, artifacts = reference
    copy = tmp_path / "runs"
    subprocess.run(["cp", "-a", str(root), str(copy)], check=True)
    weights = next(copy.glob("store/*/*/sparse.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-10])
    (weights.parent / "manifest.json").touch()
    key = weights.parent.name
    planned = plan(grid.read(path))
    for reader, stage in planned.stages.items():
        if dict(stage.inputs).get("transfer") == key:
            Store(copy).quarantine(reader)
    assert run(path, data_root, copy) == 0
    assert f"artifact {key} (transfer) is corrupt" in capsys.readouterr().out.replace("\n", " ")
    assert contents(copy) == artifacts


def test_one_failing_stage_blocks_only_its_descendants(write_grid, data_root, tmp_path):
    # A learning rate that diverges in every IMP round that trains.
    path = write_grid(
        {
            "override": {
                "pretrain": {"epochs": 1, "warmup_epochs": 0.0},
                "prune": {"epochs": 1, "lr": 1e30},
                "transfer": {"epochs": 1},
            }
        }
    )
    assert run(path, data_root, tmp_path / "runs") == 1
    found = rows(plan(grid.read(path)), root=tmp_path / "runs")
    assert {str(row.cell.pruner): row.status for row in found} == {"dense": "done", "omp": "done", "imp": "blocked"}
    reason = next(row.reason for row in found if row.status == "blocked")
    assert "Diverged: the training loss became nan" in reason
    assert Path(reason.split("log: ")[1].rstrip(")")).read_text().count("Diverged") >= 1
    # A failure is tried again by the next submit, and the complete rows stay.
    assert run(path, data_root, tmp_path / "runs") == 1


def start(path, data_root, root):
    code = "import sys; from bench import submit; sys.exit(submit.main())"
    arguments = [str(path), "--data", str(data_root), "--root", str(root), "--workers", "2"]
    arguments += ["--cluster", "local", "--yes"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def published(root):
    return len(list(root.glob("store/*/*/manifest.json")))


def workers_of(pid):
    import psutil

    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(reference, data_root, tmp_path):
    path, _, artifacts = reference
    process = start(path, data_root, tmp_path / "runs")
    wait_for(lambda: published(tmp_path / "runs") >= 3)
    children = workers_of(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "The same command goes on from here" in output.replace("\n", " ")
    assert not any(child.is_running() and child.status() != "zombie" for child in children)
    assert 3 <= published(tmp_path / "runs") < len(artifacts)
    assert run(path, data_root, tmp_path / "runs") == 0
    assert contents(tmp_path / "runs") == artifacts


@pytest.mark.slow
def test_a_killed_worker_costs_one_attempt_and_no_number(reference, data_root, tmp_path):
    path, _, artifacts = reference
    process = start(path, data_root, tmp_path / "runs")
    wait_for(lambda: published(tmp_path / "runs") >= 2)
    workers_of(process.pid)[0].kill()
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert contents(tmp_path / "runs") == artifacts


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_and_goes_on(reference, data_root, tmp_path):
    path, _, artifacts = reference
    process = start(path, data_root, tmp_path / "runs")
    wait_for(lambda: published(tmp_path / "runs") >= 4)
    children = workers_of(process.pid)
    process.kill()
    process.wait()
    # Orphaned workers end by themselves, at their next step.
    wait_for(lambda: not any(child.is_running() and child.status() != "zombie" for child in children), 60)
    assert run(path, data_root, tmp_path / "runs") == 0
    assert contents(tmp_path / "runs") == artifacts


def hold(root, ready, done):
    with lock.hold(Path(root), "other"):
        ready.set()
        done.wait(60)


def test_two_submits_at_once_are_refused_and_lose_nothing(reference, data_root, capsys):
    path, root, artifacts = reference
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(root), ready, done))
    other.start()
    try:
        assert ready.wait(60)
        assert run(path, data_root, root) == 2
    finally:
        done.set()
        other.join()
    assert f"is in use by a local run (grid other, process {other.pid} on" in capsys.readouterr().err
    assert contents(root) == artifacts
    assert run(path, data_root, root) == 0


def test_a_full_disk_stops_the_run_with_a_sentence_and_loses_nothing(reference, data_root, tmp_path, capsys):
    """A small file-size limit makes every write beyond it fail, as a full disk does."""
    path, _, artifacts = reference
    code = (
        "import resource, signal, sys; from bench import submit\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "    sys.exit(submit.main())\n"
    )
    script = tmp_path / "limited.py"
    script.write_text(code)
    arguments = [str(path), "--data", str(data_root), "--root", str(tmp_path / "runs"), "--workers", "1"]
    arguments += ["--cluster", "local", "--yes"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    found = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert found.returncode == 2, found.stdout + found.stderr
    assert "is full" in found.stderr or "free some space" in found.stderr
    assert "Traceback" not in found.stderr
    assert run(path, data_root, tmp_path / "runs") == 0
    assert contents(tmp_path / "runs") == artifacts
