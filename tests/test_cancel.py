"""`python -m bench.cancel`: takes back what this grid has in the queue, and nothing else."""

import os
import stat

import pytest

from bench import cancel, grid
from bench.launch import controller, lock, records
from bench.launch.controller import Job
from bench.launch.observed import Element
from bench.launch.records import Array
from bench.plan import plan
from bench.store import Store

# A queue of one job a line, in a file; scancel takes jobs out of it. After each look the next of the files
# then.1, then.2, ... takes its place.
SQUEUE = """#!/bin/sh
[ -e {0}/down ] && {{ echo 'Unable to contact slurm controller (connect failure)' >&2; exit 1; }}
echo x >> {0}/asked
cat {0}/queue
for later in {0}/then.*; do [ -e $later ] && mv $later {0}/queue && break; done
exit 0
"""
SCANCEL = """#!/usr/bin/env python3
import pathlib, re, sys
folder = pathlib.Path("{0}")
with (folder / "cancelled").open("a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if (folder / "denied").exists():
    sys.exit("scancel: error: Kill job error on job id 7: Access/permission denied")
gone = set()
for name in sys.argv[1:]:
    parent, _, indices = name.partition("_")
    for part in indices.strip("[]").split(","):
        first, _, last = part.partition("-")
        gone |= {{(parent, str(i)) for i in range(int(first), int(last or first) + 1)}} if first else {{(parent, "N/A")}}
lines = (folder / "queue").read_text().splitlines()
(folder / "queue").write_text("".join(line + "\\n" for line in lines if tuple(line.split("|")[1:3]) not in gone or "COMPLETING" in line))
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of a squeue and a scancel that share a file; there is no sacct."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder))
        (folder / name).chmod((folder / name).stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(cancel, "POLL_S", 0.05)
    monkeypatch.setattr(cancel, "PATIENCE_S", 0.0)
    (folder / "queue").write_text("")
    return folder


def calls(slurm):
    """What scancel was asked for, a set per call."""
    path = slurm / "cancelled"
    return [set(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def world(tmp_path, write_grid):
    path = write_grid({"seed": [0, 1]})
    return path, Store(tmp_path / "runs"), plan(grid.read(path))


def submit(store, slurm, keys, *, job, grid_name="tiny", kind="transfer", user=None, state="PENDING", submission=None):
    """A recorded array with these keys by element, all in the queue in this state."""
    submission = submission or records.create(store.root, grid_name, {})
    folder = submission.new_folder()
    name, elements = f"{submission.folder.name}-{folder.name}", tuple(map(tuple, keys))
    records.write_array(Array(folder, name, kind, job, user or controller.user(), elements))
    with (slurm / "queue").open("a") as file:
        for index in range(len(elements)):
            number = index if len(elements) > 1 else "N/A"
            file.write(f"{job}|{job}|{number}|{state}|Priority|0:00||{name}\n")
    return submission


def run(world, *more, code=0):
    path, store, _ = world
    assert cancel.main([str(path), "--root", str(store.root), *more]) == code


def cell_keys(planned, **wanted):
    """Stages of the cells with these values: transfers and evaluations."""
    return [
        [stages.transfer, stages.evaluate[0]]
        for cell, stages in zip(planned.grid.cells, planned.cells, strict=True)
        if all(str(getattr(cell, axis)) == str(value) for axis, value in wanted.items())
    ]


def test_everything_of_the_grid_is_cancelled_and_nothing_else(world, slurm, capsys):
    _, store, planned = world
    ours = submit(store, slurm, cell_keys(planned), job="7")
    submit(store, slurm, [[]], job="8", kind="continue", submission=ours)
    submit(store, slurm, cell_keys(planned, seed=1), job="20", grid_name="other")
    with (slurm / "queue").open("a") as file:
        file.write("30|30|N/A|RUNNING|None|1:00|n1|my-own-job\n")
    count = len(planned.cells)
    run(world)
    assert calls(slurm) == [{f"7_[0-{count - 1}]", "8"}]
    text = capsys.readouterr().out
    table = [line.split() for line in text.splitlines()]
    assert ["7", "transfer", *map(str, (count, 0, count, 2 * count))] in table
    assert ["8", "continue", "1", "0", "1", "0"] in table
    assert f"{count + 1} tasks cancelled." in text
    assert {line.split("|")[0] for line in (slurm / "queue").read_text().splitlines()} == {"20", "30"}


def test_what_was_cancelled_is_recorded_before_slurm_is_told(world, slurm, monkeypatch):
    """A continuation that runs at this moment reads the record."""
    _, store, planned = world
    keys = cell_keys(planned, seed=1)
    ours = submit(store, slurm, keys, job="7")
    (slurm / "denied").touch()
    monkeypatch.setattr(cancel, "ENDING_S", 0.0)
    run(world, code=1)
    assert ours.cancelled() == {key for element in keys for key in element}


def test_a_full_disk_does_not_keep_tasks_in_the_queue(world, slurm, monkeypatch, capsys):
    _, store, planned = world
    ours = submit(store, slurm, cell_keys(planned, seed=1), job="7")

    def full(*_):
        raise cancel.StoreError("the disk is full")

    monkeypatch.setattr(records.Submission, "cancel", full)
    run(world, "--only", "seed=1", code=2)
    assert calls(slurm) == []
    run(world)
    assert len(calls(slurm)) == 1
    assert "the disk is full. The tasks are cancelled all the same" in capsys.readouterr().out
    assert ours.cancelled() == set()


def test_only_cancels_tasks_that_nothing_else_needs_and_tells_continuations(world, slurm, capsys):
    _, store, planned = world
    mine, others = cell_keys(planned, seed=1, pruner="omp"), cell_keys(planned, seed=0, pruner="omp")
    upstream = [[key for key, stage in planned.stages.items() if stage.kind == "pretrain"]]
    mixed = [[*mine[0], *others[0]]]
    ours = submit(store, slurm, [*mine[1:], *others[1:], *upstream, *mixed], job="7")
    submit(store, slurm, [[]], job="8", kind="continue", submission=ours)
    run(world, "--only", "seed=1", "--only", "pruner=omp")
    assert calls(slurm) == [{"7_[0]"}]
    # Also of the mixed task: a continuation does not try them again if that fails.
    assert ours.cancelled() == {key for element in mine for key in element}
    text = capsys.readouterr().out
    assert "1 task not cancelled: other cells of the grid need some of their stages." in text
    assert f"{2 * len(mine)} stages are noted as cancelled" in text


def test_only_leaves_the_dense_networks_that_other_tickets_are_measured_against(world, slurm):
    _, store, planned = world
    dense, tickets = cell_keys(planned, seed=1, pruner="dense"), cell_keys(planned, seed=1, pruner="omp")
    submit(store, slurm, [*dense, *tickets], job="7")
    run(world, "--only", "pruner=omp")
    assert calls(slurm) == [{"7_[1-2]"}]
    run(world, "--only", "pruner=dense")
    assert calls(slurm)[1:] == [{"7_[0]"}]


def test_only_counts_what_is_left_to_compute(world, slurm):
    """A task whose other stages are done is only there for the selected cells."""
    _, store, planned = world
    mine, others = cell_keys(planned, seed=1, pruner="omp"), cell_keys(planned, seed=0, pruner="omp")
    submit(store, slurm, [[*mine[0], *others[0]], [others[0][0]]], job="7")
    for key in others[0]:
        with store.publish(planned.stages[key], {}) as folder:
            (folder / "a.txt").write_text("a")
    run(world, "--only", "seed=1")
    assert calls(slurm) == [{"7_[0]"}]


def test_with_a_continuation_only_the_record_is_written_where_no_task_is_queued_yet(world, slurm, capsys):
    _, store, planned = world
    ours = submit(store, slurm, [[]], job="8", kind="continue")
    run(world, "--only", "seed=1", "--only", "pruner=omp")
    assert calls(slurm) == []
    assert ours.cancelled() == {key for element in cell_keys(planned, seed=1, pruner="omp") for key in element}
    assert "4 stages are noted as cancelled" in capsys.readouterr().out


def test_jobs_of_another_user_are_told_and_stay(world, slurm, capsys):
    _, store, planned = world
    theirs = submit(store, slurm, cell_keys(planned, seed=0), job="7", user="bob")
    submit(store, slurm, cell_keys(planned, seed=1), job="9")
    run(world)
    (asked,) = calls(slurm)
    assert {name.partition("_")[0] for name in asked} == {"9"}
    assert "5 tasks of user bob not cancelled: only bob can do that." in capsys.readouterr().out
    assert theirs.cancelled() == set()


def test_what_a_continuation_submits_before_it_ends_is_cancelled_too(world, slurm):
    """SLURM lists the continuation as running, then as ending, then what it submitted in its last moment."""
    _, store, planned = world
    keys = cell_keys(planned, seed=1)
    ours = submit(store, slurm, [[]], job="8", kind="continue", state="RUNNING")
    running = (slurm / "queue").read_text()
    (slurm / "then.1").write_text(running.replace("RUNNING", "COMPLETING"))
    (slurm / "queue").write_text("")
    submit(store, slurm, keys, job="9", submission=ours)
    (slurm / "queue").rename(slurm / "then.2")
    (slurm / "queue").write_text(running)
    run(world)
    assert calls(slurm) == [{"8"}, {f"9_[0-{len(keys) - 1}]"}]
    assert (slurm / "queue").read_text() == ""


def test_tasks_that_are_ending_are_waited_for_only_where_they_submit(world, slurm):
    _, store, planned = world
    submit(store, slurm, [cell_keys(planned)[0]], job="7", state="COMPLETING")
    run(world)
    assert len((slurm / "asked").read_text().splitlines()) == 2


def test_what_cannot_be_cancelled_is_an_error(world, slurm, monkeypatch, capsys):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned, seed=1), job="7")
    (slurm / "denied").touch()
    monkeypatch.setattr(cancel, "ENDING_S", 0.0)
    run(world, code=1)
    text = capsys.readouterr().out
    assert "Access/permission denied" in text
    assert "0 tasks cancelled, 5 tasks still in the queue." in text


def test_a_local_run_goes_on_and_how_to_stop_it_is_said(world, slurm, capsys):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned), job="7")
    with lock.hold(store.root, "tiny"):
        run(world)
    assert f"press Ctrl-C where it runs, or `kill -INT {os.getpid()}` on " in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--only", "seed=1"]])
def test_nothing_queued_is_said_and_is_no_error(world, slurm, capsys, more):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned), job="20", grid_name="other")
    run(world, *more)
    assert "Nothing to cancel" in capsys.readouterr().out
    assert calls(slurm) == []


def test_without_an_answer_of_slurm_nothing_is_tried(world, slurm, capsys):
    _, store, planned = world
    ours = submit(store, slurm, cell_keys(planned), job="7")
    (slurm / "down").touch()
    run(world, "--only", "seed=1", code=2)
    text = capsys.readouterr().err
    assert "Unable to contact slurm controller" in text
    assert "Nothing was cancelled; run this again when SLURM answers" in text
    assert (calls(slurm), ours.cancelled()) == ([], set())


@pytest.mark.parametrize(("answer", "cancelled"), [("n", False), ("", False), ("y", True)])
def test_on_a_terminal_a_person_is_asked(world, slurm, monkeypatch, answer, cancelled):
    _, store, planned = world
    ours = submit(store, slurm, cell_keys(planned), job="7")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: answer)
    run(world)
    assert (bool(calls(slurm)), bool(ours.cancelled())) == (cancelled, cancelled)


def test_no_answer_of_a_person_is_a_no(world, slurm, monkeypatch):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned), job="7")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)

    def end():
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    run(world)
    assert calls(slurm) == []


def test_yes_is_not_asked(world, slurm, monkeypatch):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned), job="7")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    run(world, "--yes")
    assert len(calls(slurm)) == 1


def test_a_word_that_the_grid_does_not_have_is_one_sentence_before_slurm_is_asked(world, slurm, capsys):
    _, store, planned = world
    submit(store, slurm, cell_keys(planned), job="7")
    run(world, "--only", "prunr=omp", code=2)
    assert 'Did you mean "pruner"?' in capsys.readouterr().err
    assert not (slurm / "asked").exists()


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["7"], ["7"]),
        (["7_0", "7_1", "7_2", "7_5", "9_3", "7_7", "7_6"], ["7_[0-2,5-7]", "9_[3]"]),
        (["7_1", "8"], ["8", "7_[1]"]),
    ],
)
def test_elements_of_an_array_have_one_name(tmp_path, ids, names):
    array = Array(tmp_path, "a", "transfer", "7", "ada", (("k",),))
    submission = records.Submission(tmp_path, {"grid": "tiny"})
    elements = [
        Element(submission=submission, array=array, index=0, job=Job(id, "a", "PENDING", "", "", "")) for id in ids
    ]
    assert cancel.compact(elements) == names
