"""What is read of the disk and of squeue: tasks' own words, local runs, logs; one squeue at most."""

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import time

import pytest

from bench import grid
from bench.launch import observed, records
from bench.launch.records import Array
from bench.plan import plan
from bench.store import Store, write_json


@pytest.fixture
def planned(write_grid):
    return plan(grid.read(write_grid()))


@pytest.fixture
def store(tmp_path):
    (tmp_path / "runs").mkdir()
    return Store(tmp_path / "runs")


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """Sets what squeue answers, or the complaint with which it fails; counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "squeue"
    script.write_text(
        f"#!/bin/sh\necho called >> {folder}/calls\n[ -e {folder}/complaint ] && cat {folder}/complaint >&2 && exit 1\n"
        f"cat {folder}/answer\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def answer(*lines, complaint=None):
        (folder / "answer").write_text("".join(f"{line}\n" for line in lines))
        (folder / "complaint").unlink(missing_ok=True)
        if complaint is not None:
            (folder / "complaint").write_text(complaint)
        return folder / "calls"

    return answer


def submit(store, keys, *, name="tiny-1-000", grid_name="tiny", job="7"):
    """A recorded array with these keys by element, in a submission of its own."""
    submission = records.create(store.root, grid_name, {})
    array = Array(submission.new_folder(), name, "transfer", job, "ada", tuple(tuple(keys) for keys in keys))
    records.write_array(array)
    return submission, array


def test_slurm_is_not_asked_where_nothing_may_be_queued(store, squeue):
    calls = squeue(complaint="slurm_load_jobs error: Unable to contact slurm controller")
    assert observed.ask(store.root).jobs == {}
    submission, _ = submit(store, [["a"]])
    submission.settle(["000"])
    assert observed.ask(store.root).jobs == {}
    assert not calls.exists()


def test_one_squeue_answers_for_all_submissions(store, squeue):
    submit(store, [["a"], ["b"]])
    submit(store, [["c"]], name="other-1-000", grid_name="other", job="9")
    calls = squeue("71|7|0|RUNNING|None|1:00|n1|tiny-1-000", "9|9|N/A|PENDING|Resources|0:00||other-1-000")
    found = {element.keys: element.job for element in observed.ask(store.root).elements}
    assert [found["a",].state, found["b",], found["c",].reason] == ["RUNNING", None, "Resources"]
    assert calls.read_text() == "called\n"


def test_a_failing_squeue_is_part_of_the_answer_and_is_not_tried_again(store, squeue):
    submit(store, [["a"]])
    calls = squeue(complaint="slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    found = observed.ask(store.root)
    assert found.jobs is None
    assert "Unable to contact slurm controller" in found.problem
    assert [element.job for element in found.elements] == [None]
    assert calls.read_text() == "called\n"


def test_without_squeue_the_answer_says_so(store, tmp_path, monkeypatch):
    submit(store, [["a"]])
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "squeue is not on PATH" in observed.ask(store.root).problem


def test_submissions_are_read_again_without_asking_slurm_again(store, squeue):
    submit(store, [["a"]])
    calls = squeue("7|7|0|RUNNING|None|1:00|n1|tiny-1-000")
    first = observed.ask(store.root)
    submit(store, [["b"]], name="tiny-2-000", job="8")
    second = observed.ask(store.root, before=first)
    assert [element.keys for element in second.elements] == [("a",), ("b",)]
    assert second.jobs == first.jobs
    assert second.time == first.time
    assert calls.read_text() == "called\n"


@pytest.mark.parametrize(
    ("content", "running"),
    [
        ({"job": "7_0", "host": "n1", "running": ["a"], "time": -10}, {"a"}),
        ({"job": "7_0", "host": "n1", "running": [], "time": -10}, set()),
        # Of the run before a requeue: this one began 60 s ago.
        ({"job": "7_0", "host": "n1", "running": ["a"], "time": -200}, set()),
        ({"job": "6_0", "host": "n1", "running": ["a"], "time": -10}, set()),
        ({"job": "7_0"}, set()),
        ([], set()),
    ],
)
def test_what_a_task_runs_is_what_it_wrote_in_its_present_run(store, squeue, content, running):
    _, array = submit(store, [["a"], ["b"]])
    if "time" in content:
        content = {**content, "time": time.time() + content["time"]}
    (array.folder / "running-0.json").write_text(json.dumps(content))
    squeue("71|7|0|RUNNING|None|1:00|n1|tiny-1-000", "72|7|1|PENDING|Resources|0:00||tiny-1-000")
    assert [set(element.running) for element in observed.ask(store.root).elements] == [running, set()]


def test_the_disk_is_read_by_key(store, planned, squeue):
    squeue()
    pretrain, other, third, *_ = planned.stages.values()
    store.fail(other, {"error": "ValueError: no", "cause": "exception"})
    (store.scratch(third.key)).mkdir(parents=True)
    write_json(store.scratch(third.key) / "progress.json", {"epoch": 1, "epochs": 2, "time": 5.0})
    with store.publish(pretrain, {}) as folder:
        (folder / "a").write_text("a")
    # Of another grid, and half written.
    for name in ("failures/ab/abcdabcdabcdabcd.json", f"scratch/{pretrain.key[:2]}/{pretrain.key}/progress.json"):
        (store.root / name).parent.mkdir(parents=True, exist_ok=True)
        (store.root / name).write_text('{"epoch"')
    seen = observed.look(planned, store, observed.ask(store.root))
    assert seen.done == {pretrain.key}
    assert {key: record["error"] for key, record in seen.failures.items()} == {other.key: "ValueError: no"}
    assert seen.progress == {third.key: {"epoch": 1, "epochs": 2, "time": 5.0}}


def test_what_was_cancelled_is_so_until_it_is_submitted_again(store, planned, squeue):
    squeue()
    a, b, c, *_ = planned.stages
    first, _ = submit(store, [[a], [b]])
    first.cancel({a, b})
    other, _ = submit(store, [[c]], name="other-1-000", grid_name="other")
    other.cancel({c})
    assert observed.look(planned, store, observed.ask(store.root)).cancelled == {a, b}
    time.sleep(0.01)
    submit(store, [[b]], name="tiny-2-000", job="8")
    assert observed.look(planned, store, observed.ask(store.root)).cancelled == {a}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:07", 7), ("12:34", 754), ("1:02:03", 3723), ("2-01:02:03", 176523), ("INVALID", 0), ("", 0)],
)
def test_elapsed_times_of_squeue_are_read(text, seconds):
    assert observed.elapsed(text) == seconds


def hold_lock(root, pid, host):
    """An open file with the lock of a local run, as bench.launch.lock writes it."""
    file = (root / "local.lock").open("w+")
    json.dump({"pid": pid, "host": host, "grid": "tiny", "since": "2024-05-01 12:00:00"}, file)
    file.flush()
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_a_local_run_is_one_whose_lock_is_held_by_a_process_that_lives(store):
    assert observed.local_run(store.root) is None
    with hold_lock(store.root, os.getpid(), socket.gethostname()):
        found = observed.local_run(store.root)
        assert found is not None
        assert (found["pid"], found["grid"]) == (os.getpid(), "tiny")
        assert found["started"] == time.mktime((2024, 5, 1, 12, 0, 0, 0, 0, -1))
    # Killed: the file stays, the lock is gone, its process number is another's.
    assert observed.local_run(store.root) is None
    with hold_lock(store.root, 1, "elsewhere"):
        assert observed.local_run(store.root) is not None


def test_a_lock_of_a_process_that_is_gone_is_not_touched(store):
    """A new local run that starts at this moment must find the lock free."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with hold_lock(store.root, gone.pid, socket.gethostname()):
        assert observed.local_run(store.root) is None


def test_the_attempts_of_a_stage_are_counted_in_its_log(tmp_path):
    log = tmp_path / "a.log"
    assert observed.attempts(log) == (0, None)
    log.write_text("2024-05-01 12:00:00 transfer 0123456789abcdef on n1\nepoch 1\n")
    assert observed.attempts(log) == (1, time.mktime((2024, 5, 1, 12, 0, 0, 0, 0, -1)))
    with log.open("a") as file:
        file.write("x" * 1000 + "\n2024-05-01 12:30:00 transfer 0123456789abcdef on n2\n")
    assert observed.attempts(log) == (2, time.mktime((2024, 5, 1, 12, 30, 0, 0, 0, -1)))
