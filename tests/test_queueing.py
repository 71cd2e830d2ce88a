"""`python -m bench.submit` where there is a SLURM: what a person is shown, what is queued, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from bench import grid, submit
from bench.launch import records
from bench.plan import plan
from bench.store import Store

PROFILE = "defaults: {gpus: 0, cpus: 1, minutes: 60, target_minutes: 0.5}\n"


@pytest.fixture
def world(write_grid, tmp_path, fake_slurm, data_root, monkeypatch):
    """A grid, a root and a profile; SLURM's commands are scripts. Runs bench.submit with more arguments."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path, profile = write_grid(), tmp_path / "profile.yaml"
    profile.write_text(PROFILE)

    def run(*more, data=data_root):
        places = ["--root", str(tmp_path / "runs"), "--data", str(data), "--profile", str(profile)]
        return submit.main([str(path), *places, "--yes", *more])

    return run, path, Store(tmp_path / "runs"), profile


def rows(text):
    """Rows of the table of arrays: number or job, kind, tasks, stages, what they wait for."""
    pattern = re.compile(r"^(\d+) +(\w+) +([\d,]+) +([\d,]+) +.* min ?(.*)$", re.MULTILINE)
    return [
        (name, kind, int(tasks), int(stages), after.strip())
        for name, kind, tasks, stages, after in pattern.findall(text)
    ]


def test_a_dry_run_shows_the_arrays_what_they_wait_for_and_a_script_and_changes_nothing(world, fake_slurm, capsys):
    run, path, store, _ = world
    assert run("--cluster", "slurm", "--dry-run") == 0
    out = capsys.readouterr().out
    found = rows(out)
    assert found[0][:2] == ("0", "pretrain")
    assert found[0][4] == ""
    assert sum(stages for *_, stages, _ in found) == len(plan(grid.read(path)).stages)
    assert all(after for *_, after in found[1:])
    script = out[out.index("#!/bin/bash") :]
    kind = re.search(r"--job-name=tiny\.(\w+)", script)[1]
    _, shown, _, _, waits = found[int(re.search(r"The script of array (\d+)", out)[1])]
    assert shown == kind
    assert f"#SBATCH --dependency=afterany:{waits.replace(', ', ':')}" in script
    assert "submitit.core._submit" in script
    assert fake_slurm.calls("sbatch") == []
    assert not store.root.exists()


def test_a_dry_run_works_where_slurm_does_not_and_says_so(world, capsys, monkeypatch, tmp_path):
    run, *_ = world
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("--cluster", "slurm", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "squeue is not on PATH" in out
    assert "Shown is what an empty cluster without GPUs" in out
    assert rows(out)


def test_the_grid_is_queued_where_sbatch_is_on_the_path_and_once_only(world, fake_slurm, capsys):
    run, path, store, _ = world
    assert run() == 0
    out = capsys.readouterr().out
    (submission,) = records.submissions(store.root)
    found = {array.job: array for array in submission.arrays()}
    continuation = next(job for job, array in found.items() if array.kind == "continue")
    assert {row[0] for row in rows(out)} == set(found) - {continuation}
    tasks = sum(len(array.keys) for array in found.values()) - 1
    assert f"Queued {tasks} tasks in {len(found) - 1} arrays." in out
    assert f"Job {continuation} sees to the rest" in out
    assert f"Next: python -m bench.status {path} --root {store.root}" in out
    # What is in the queue is not queued again.
    lines = [
        f"{job}{i}|{job}|{i}|PENDING|None|0:00||{array.name}"
        if len(array.keys) > 1
        else f"{job}|{job}|N/A|PENDING|None|0:00||{array.name}"
        for job, array in found.items()
        for i in range(len(array.keys))
    ]
    fake_slurm.answer("squeue", "\n".join(lines) + "\n")
    calls = fake_slurm.calls("sbatch")
    assert run() == 0
    assert "Everything that is left is queued already; nothing was submitted." in capsys.readouterr().out
    assert fake_slurm.calls("sbatch") == calls


def test_what_is_submitted_runs_the_snapshot_with_the_grid_as_it_was(world, fake_slurm):
    run, path, store, _ = world
    assert run("seed=[7]") == 0
    (submission,) = records.submissions(store.root)
    assert (submission.folder / "grid.yaml").read_bytes() == path.read_bytes()
    assert submission.about["overrides"] == ["seed=[7]"]
    code = Path(submission.about["code"])
    assert json.loads((code / "snapshot.json").read_text())["hash"].startswith(code.name[:12])
    for script in fake_slurm.scripts().values():
        assert f"export PYTHONPATH={code}" in script


def test_without_slurm_the_grid_runs_here(world, capsys, monkeypatch, tmp_path):
    run, *_ = world
    assert run("--dry-run") == 0
    assert "The script of array" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("--dry-run") == 0
    out = capsys.readouterr().out
    assert "to run" in out
    assert "The script of array" not in out


def test_on_a_machine_without_slurm_to_ask_for_it_is_answered_in_one_sentence(world, capsys, monkeypatch, tmp_path):
    run, *_ = world
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("--cluster", "slurm") == 2
    error = capsys.readouterr().err
    assert error == "bench.submit: sinfo is not on PATH; run this on a login node, or give --cluster local\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: {partion: gpu}\n", 'Did you mean "partition"?'),
        ("defaults: {cpus: none}\n", "cpus"),
        ("max_jobs: 1\n", "max_jobs"),
        ("defaults: {sbatch: {array: 0-9}}\n", "arrays follow from the grid"),
        ("defaults: [\n", "profile.yaml"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_before_anything_is_queued(world, fake_slurm, capsys, text, said):
    run, _, store, profile = world
    profile.write_text(text)
    assert run() == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bench.submit: {profile}")
    assert said in error
    assert "Traceback" not in error
    assert (fake_slurm.calls("sbatch"), store.root.exists()) == ([], False)


def test_a_profile_that_is_not_there_is_named(world, capsys, tmp_path):
    run, *_ = world
    assert run("--profile", str(tmp_path / "nowhere.yaml")) == 2
    error = capsys.readouterr().err
    assert "nowhere.yaml" in error
    assert error.count("\n") == 1


def test_missing_data_are_named_with_the_command_before_anything_is_queued(world, fake_slurm, capsys, tmp_path):
    run, *_ = world
    assert run("dataset=[cifar10]", data=tmp_path / "empty") == 2
    assert "python -m bench.prepare" in capsys.readouterr().err
    assert fake_slurm.calls("sbatch") == []


def test_what_slurm_refuses_is_told_in_its_words(world, fake_slurm, capsys):
    run, *_ = world
    fake_slurm.fail("sbatch", "sbatch: error: invalid partition specified: gpuu")
    assert run() == 2
    # submitit repeats sbatch's words before ours.
    assert capsys.readouterr().err.splitlines()[-1] == "bench.submit: sbatch: error: invalid partition specified: gpuu"


@pytest.mark.parametrize("option", [("--workers", "3"), ("--device", "cpu")])
def test_options_of_local_runs_are_refused_on_slurm(world, capsys, option):
    run, *_ = world
    assert run("--cluster", "slurm", *option) == 2
    assert "--workers and --device are for local runs" in capsys.readouterr().err


def test_when_all_is_done_nothing_is_queued(world, fake_slurm, capsys):
    run, path, store, _ = world
    planned = plan(grid.read(path))
    for key in planned.targets:
        with store.publish(planned.stages[key], {}):
            pass
    assert run() == 0
    assert "Everything is done. Next: python -m analysis" in capsys.readouterr().out
    assert fake_slurm.calls("sbatch") == []
