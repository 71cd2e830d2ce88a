"""A task in its allocation: signals, leftovers of killed attempts, cores, and a pack from its first to its last line."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from submitit.core.utils import DelayedSubmission

from bench import grid
from bench.launch import allocation, controller, local
from bench.launch.allocation import Pack, Signals
from bench.launch.elements import write_elements
from bench.launch.local import Engine
from bench.launch.schedule import Schedule
from bench.launch.task import Outcome
from bench.plan import plan
from bench.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def signals(monkeypatch):
    """Signals of a task whose submitit notes that it requeues; handlers are as before afterwards."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.setattr(controller, "preempted", lambda _: False)
    requeued = []
    signal.signal(signal.SIGUSR2, lambda number, _: requeued.append(number))
    yield Signals(), requeued
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_without_a_signal_a_task_ends_as_it_does(signals):
    found, requeued = signals
    found.leave()
    assert (found.received, requeued) == ("", [])


def test_a_warning_is_noted_and_the_task_requeued_when_it_leaves(signals):
    found, requeued = signals
    os.kill(os.getpid(), signal.SIGUSR2)
    assert (found.received, requeued) == ("SIGUSR2", [])
    found.leave()
    assert requeued == [signal.SIGUSR2]
    # What follows at the time limit no longer interrupts it.
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


@pytest.mark.parametrize("numbers", [(signal.SIGUSR2, signal.SIGTERM), (signal.SIGTERM, signal.SIGUSR2)])
def test_of_both_signals_the_warning_counts(signals, numbers):
    found, requeued = signals
    for number in numbers:
        os.kill(os.getpid(), number)
    assert found.received == "SIGUSR2"
    found.leave()
    assert requeued == [signal.SIGUSR2]


def test_a_task_that_is_ended_ends_and_is_not_requeued(signals):
    found, requeued = signals
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(SystemExit) as error:
        found.leave()
    assert (error.value.code, requeued) == (128 + signal.SIGTERM, [])


def test_a_task_that_is_preempted_with_a_time_of_grace_is_requeued(signals, monkeypatch):
    found, requeued = signals
    monkeypatch.setattr(controller, "preempted", lambda _: True)
    os.kill(os.getpid(), signal.SIGTERM)
    found.leave()
    assert requeued == [signal.SIGUSR2]


def test_of_several_processes_the_first_decides(signals, monkeypatch):
    found, requeued = signals
    monkeypatch.setenv("SLURM_PROCID", "1")
    os.kill(os.getpid(), signal.SIGTERM)
    found.leave()
    assert requeued == []


def in_job(monkeypatch, folder, array="", index="", job="12"):
    for name, value in {"JOB_ID": job, "ARRAY_JOB_ID": array, "ARRAY_TASK_ID": index}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SUBMITIT_FOLDER", str(folder))


@pytest.mark.parametrize(
    ("array", "index", "gone"),
    [
        ("7", "1", ["7_1_0_result.pkl.save_tmp", "7_1_submitted.pkl.save_tmp"]),
        ("", "", ["12_0_result.pkl.save_tmp"]),
    ],
)
def test_leftovers_of_a_killed_attempt_are_removed_and_nothing_of_other_tasks(
    tmp_path, monkeypatch, array, index, gone
):
    kept = ["7_1_submitted.pkl", "7_10_submitted.pkl.save_tmp", "7_2_0_result.pkl.save_tmp", "7_1_0_log.out"]
    for name in {*gone, *kept}:
        (tmp_path / name).write_text("")
    in_job(monkeypatch, tmp_path, array, index)
    allocation.sweep()
    allocation.sweep()
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_outside_of_a_job_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.delenv("SUBMITIT_FOLDER", raising=False)
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_x.save_tmp").write_text("")
    allocation.sweep()
    assert os.listdir(tmp_path) == ["_x.save_tmp"]


def test_a_checkpoint_is_the_same_task_again(tmp_path):
    pack = Pack(folder=str(tmp_path), root="/r", data_root="/d", device="cpu")
    again = pack.checkpoint(3, 4096)
    assert isinstance(again, DelayedSubmission)
    assert (again.function, again.args) == (pack, (3, 4096))
    assert pickle.loads(pickle.dumps(pack)) == pack


@pytest.mark.parametrize(("said", "cores"), [("3", 3), ("", 7), ("many", 7)])
def test_cores_are_slurms_word_else_what_the_process_may_use(monkeypatch, said, cores):
    monkeypatch.setattr(allocation, "cores", lambda: 7)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", said)
    assert allocation.allotted() == cores


def test_a_worker_that_died_is_recorded_as_a_failure_of_this_job(write_grid, tmp_path, monkeypatch):
    """So that it is not taken for the end of the whole task without a word, which would be counted beside it."""
    in_job(monkeypatch, tmp_path, "7", "1")
    stages, store = plan(grid.read(write_grid())).stages, Store(tmp_path / "runs")
    key = next(iter(stages))
    schedule = Schedule.make(stages, [key], set())
    engine = Engine(store=store, schedule=schedule, workers=[])
    for _ in range(local.MAX_DEATHS):
        worker = SimpleNamespace(stage=schedule.next(), progress=None)
        local.settle(engine, worker, Outcome(key=key, status="died", message="its worker ended with signal 9"))
    failure = store.failure(key)
    assert (failure["job"], failure["cause"], failure["attempts"]) == ("7_1", "worker died", 1)


PROGRAM = """
import json, sys
from bench.launch.allocation import Pack
summary = Pack(**json.loads(sys.argv[1]))(0, 0)
print("torch" in sys.modules)
"""


def run_task(tmp_path, stages, keys, data_root, *, environ=(), **more):
    """A process with the environment of a task, and its program; elements.jsonl holds these keys."""
    folder = tmp_path / "000"
    folder.mkdir(exist_ok=True)
    write_elements(folder / "elements.jsonl", [keys], stages, set())
    fields = {
        "folder": str(folder),
        "root": str(tmp_path / "runs"),
        "data_root": str(data_root),
        "device": "cpu",
        **more,
    }
    job = {"SLURM_JOB_ID": "71", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "0", "SLURM_NTASKS": "1"}
    environment = {
        **os.environ, **job, "SLURM_CPUS_PER_TASK": "1", "SUBMITIT_FOLDER": str(folder), "PYTHONPATH": str(ROOT),
        **dict(environ),
    }  # fmt: skip
    argv = [sys.executable, "-c", PROGRAM, json.dumps(fields)]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def dense(write_grid):
    """Stages of one dense cell: pretrain, transfer, evaluate."""
    return plan(grid.read(write_grid({"source": ["digits"], "pruner": ["dense"], "sparsity": [0.0]}))).stages


def test_a_blocked_task_says_why_and_ends_without_torch(tmp_path, dense, data_root):
    pretrain, transfer, evaluate = dense
    store = Store(tmp_path / "runs")
    store.fail(dense[pretrain], {"error": "Diverged: loss is nan"})
    process = run_task(tmp_path, dense, [transfer, evaluate], data_root)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert out.splitlines()[-2:] == ['{"computed": 0, "failed": 0, "blocked": 2, "signal": ""}', "False"]
    assert f"pretrain {pretrain} failed: Diverged: loss is nan (log: {store.log(pretrain)})" in out
    assert f"blocked: evaluate {evaluate}: waits for transfer {transfer}, which is blocked" in out


@pytest.mark.slow
def test_a_pack_computes_its_stages_and_says_what_runs(tmp_path, dense, data_root):
    process = run_task(tmp_path, dense, list(dense), data_root)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    # The parent holds no torch while its workers compute.
    assert out.splitlines()[-2:] == ['{"computed": 3, "failed": 0, "blocked": 0, "signal": ""}', "False"]
    store = Store(tmp_path / "runs")
    assert store.keys() == set(dense)
    made = [store.open(key).manifest["made"] for key in dense]
    assert {(one["job"], one["threads"]) for one in made} == {("70_0", 1)}
    running = json.loads((tmp_path / "000" / "running-0.json").read_text())
    assert (running["job"], set(running["running"]) <= set(dense)) == ("70_0", True)
    # The same task again, as after a requeue: nothing is computed twice.
    again, _ = run_task(tmp_path, dense, list(dense), data_root).communicate(timeout=60)
    assert '"computed": 0' in again


@pytest.mark.slow
def test_a_task_that_is_told_to_end_keeps_a_checkpoint_and_the_next_attempt_goes_on(tmp_path, write_grid, data_root):
    override = {"pretrain": {"epochs": 4, "warmup_epochs": 0.0}}
    stages = plan(
        grid.read(write_grid({"source": ["digits"], "pruner": ["dense"], "sparsity": [0.0], "override": override}))
    ).stages
    pretrain = next(iter(stages))
    process = run_task(tmp_path, stages, [pretrain], data_root)
    log = Store(tmp_path / "runs").log(pretrain)
    deadline = time.monotonic() + 60
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, out
    assert '"signal": "SIGTERM"' in out
    assert log.read_text().endswith("stopped at a checkpoint\n")
    out, _ = run_task(tmp_path, stages, [pretrain], data_root).communicate(timeout=300)
    assert '"computed": 1' in out
    assert len([line for line in log.read_text().splitlines() if f"pretrain {pretrain} on" in line]) == 2


@pytest.mark.parametrize(("computed", "waits"), [([0, 0, 0, 0], [5, 10]), ([0, 1, 0, 0], [5, 5, 10])])
def test_the_wait_for_a_full_disk_counts_from_when_it_was_full_and_anew_after_some_work(
    tmp_path, dense, monkeypatch, capsys, computed, waits
):
    """Twenty seconds are given: 5, then 10 go by, 20 more would be too long. The first attempt took an hour."""
    now, rounds = [0.0], iter(computed)
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))

    def run(engine):
        now[0] += 0.0 if engine.fatal else 3600.0
        engine.fatal = "the disk is full"
        engine.finished = {"pretrain": done} if (done := next(rounds)) else {}

    engine = SimpleNamespace(fatal="", schedule=SimpleNamespace(failed={}, blocked={}))
    monkeypatch.setattr(allocation, "time", clock)
    monkeypatch.setattr(local, "run", run)
    monkeypatch.setattr(Pack, "engine", lambda *_: engine)
    keys = list(dense)
    write_elements(tmp_path / "elements.jsonl", [keys], dense, set())
    pack = Pack(folder=str(tmp_path), root=str(tmp_path), data_root="", device="cpu", disk_wait_s=20.0)
    found = allocation.read_element(tmp_path / "elements.jsonl", 0)
    assert pack.alone(found, 0, SimpleNamespace(received=""))["computed"] == sum(computed)
    said = capsys.readouterr().out.splitlines()
    assert said == [*(f"the disk is full; trying again in {pause} s" for pause in waits), "the disk is full"]
