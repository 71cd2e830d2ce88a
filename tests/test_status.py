"""`python -m bench.status`: what a person and a script are told, and that nothing is changed by asking."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import grid, status
from bench.launch import lock, records
from bench.launch.records import Array
from bench.plan import plan
from bench.store import Store, write_json

MADE = {"seconds": 3600.0, "device_seconds": 0.0, "device": "cpu", "threads": 2}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Folder of a squeue and a sacct that print the files `squeue.txt` and `sacct.txt`, or fail where there is none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("squeue", "sacct"):
        script = folder / name
        script.write_text(
            f"#!/bin/sh\necho {name} >> {folder}/calls\n[ -e {folder}/{name}.txt ] && exec cat {folder}/{name}.txt\n"
            "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2\nexit 1\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "160")
    return folder


@pytest.fixture
def world(tmp_path, write_grid, slurm):
    """A grid of which every part is in another state: its path, its root, key by name.

    dense: evaluated. omp round 2: its transfer runs. omp round 8: queued. imp: round 1 is done, round 2 failed.
    """
    path = write_grid()
    store, planned = Store(tmp_path / "runs"), plan(grid.read(path))
    keys = {}
    for cell, stages in zip(planned.grid.cells, planned.cells, strict=True):
        name = f"{cell.pruner.name}{cell.round}"
        keys |= {name: stages.ticket, f"{name} transfer": stages.transfer, f"{name} accuracy": stages.evaluate[0]}
    rounds = {stage.parameters.round: key for key, stage in planned.stages.items() if is_imp(stage)}
    keys |= {f"imp{number}": key for number, key in rounds.items()}
    for name in ("dense0", "dense0 transfer", "dense0 accuracy", "omp2", "imp1"):
        with store.publish(planned.stages[keys[name]], dict(MADE)) as folder:
            (folder / "a.txt").write_text("a")
    failure = {"error": "Diverged: loss is nan", "cause": "exception", "host": "n3", "time": time.time()}
    store.fail(planned.stages[keys["imp2"]], failure)
    store.fail(planned.stages[keys["imp2"]], failure)
    write_log(store, keys["imp2"], "Traceback\nDiverged: loss is nan\n")

    submission = records.create(store.root, "tiny", {})
    elements = ((keys["omp2 transfer"], keys["omp2 accuracy"]), (keys["omp8"], keys["omp8 transfer"]))
    array = Array(submission.new_folder(), "tiny-1-000", "transfer", "7", "ada", elements)
    records.write_array(array)
    running = {"job": "7_0", "host": "n1", "running": [keys["omp2 transfer"]], "time": time.time()}
    write_json(array.folder / "running-0.json", running)
    (array.folder / "7_1_0_log.out").write_text("srun: starting\n")
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 100))
    write_log(store, keys["omp2 transfer"], f"{started} transfer {keys['omp2 transfer']} on n1\n")
    store.scratch(keys["omp2 transfer"]).mkdir(parents=True)
    progress = {"epoch": 2, "epochs": 4, "loss": 0.1, "time": time.time()}
    write_json(store.scratch(keys["omp2 transfer"]) / "progress.json", progress)
    (slurm / "squeue.txt").write_text(
        "71|7|0|RUNNING|None|2:00|n1|tiny-1-000\n7|7|1|PENDING|Resources|0:00||tiny-1-000\n"
    )
    return path, store.root, keys


def is_imp(stage):
    return stage.kind == "prune" and stage.parameters.pruner.name == "imp"


def write_log(store, key, text):
    store.log(key).parent.mkdir(parents=True, exist_ok=True)
    store.log(key).write_text(text)


def told(capsys, world, *more, code=0):
    """What the command prints, errors included."""
    path, root, _ = world
    assert status.main([str(path), "--root", str(root), *more]) == code
    printed = capsys.readouterr()
    return printed.out + printed.err


def row(text, *beginning):
    """The words of the line that begins with these."""
    return next(words for line in text.splitlines() if (words := line.split())[: len(beginning)] == list(beginning))


def test_stages_are_counted_by_kind_and_state(world, capsys):
    text = told(capsys, world)
    names = row(text, "stage")
    assert names == ["stage", "done", "running", "queued", "waiting", "failed", "blocked", "missing", "total"]
    # imp2 failed; imp3 to imp8 read it. omp8 has its pre-training.
    assert row(text, "prune")[:9] == ["prune", "2", "0", "1", "0", "1", "6", "0", "10"]
    # Of dense, omp2, omp8, imp2, imp8.
    assert row(text, "transfer")[:9] == ["transfer", "1", "1", "0", "1", "0", "2", "0", "5"]
    assert row(text, "evaluate")[:9] == ["evaluate", "1", "0", "0", "1", "0", "2", "1", "5"]
    assert "tiny: 5 of 21 stages done, 1 of 5 cells" in text
    assert "queued: 1 Resources" in text


def test_cells_are_counted_by_the_axes_that_vary(world, capsys):
    lines = told(capsys, world).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("axis"))
    rows = [line.split() for line in lines[start : start + 7]]
    assert rows[0] == ["axis", "value", "cells", "done", "failed", "total"]
    assert [words[:5] for words in rows[1:4]] == [
        ["pruner", "dense", "1", "0", "1"], ["omp", "0", "0", "2"], ["imp", "0", "2", "2"],
    ]  # fmt: skip
    assert rows[4][:5] == ["sparsity", "0", "1", "0", "1"]
    assert not any(line.startswith("dataset") for line in lines)


def test_a_running_stage_is_shown_with_its_pace_and_place(world, capsys):
    _, _, keys = world
    words = row(told(capsys, world), keys["omp2 transfer"])
    # 100 s for 2 of 4 epochs: 100 s are left.
    match = re.search(
        r"resnet8 supervised, omp round 2, linear digits 2/4 1 min 4\d s 1 min (39|40|41) s n1 7_0", " ".join(words)
    )
    assert match, words


def test_what_a_training_measures_on_the_validation_split_is_shown_beside_its_epoch(world, capsys):
    _, root, keys = world
    path = Store(root).scratch(keys["omp2 transfer"]) / "progress.json"
    progress = json.loads(path.read_text()) | {"knn_accuracy": 0.71234, "validation_accuracy": 0.5}
    path.write_text(json.dumps(progress))
    words = " ".join(row(told(capsys, world), keys["omp2 transfer"]))
    assert "linear digits 2/4 knn accuracy 0.712, accuracy 0.500 1 min" in words
    (stage,) = (s for s in json.loads(told(capsys, world, "--json"))["stages"] if s["key"] == keys["omp2 transfer"])
    assert stage["measured"] == {"knn_accuracy": 0.71234, "validation_accuracy": 0.5}


def test_after_a_resume_the_time_left_is_not_guessed(world, capsys):
    _, root, keys = world
    log = Store(root).log(keys["omp2 transfer"])
    log.write_text(log.read_text() * 2)
    (stage,) = (s for s in json.loads(told(capsys, world, "--json"))["stages"] if s["key"] == keys["omp2 transfer"])
    assert (stage["epoch"], stage["epochs"], stage["left_seconds"]) == (2, 4, None)
    assert 99 < stage["seconds"] < 110


def test_failures_are_grouped_by_cause_with_an_example(world, capsys):
    text = told(capsys, world)
    _, root, keys = world
    # 6 rounds, 2 transfers, 2 evaluations.
    assert row(text, "exception")[:3] == ["exception", "1", "10"]
    assert f"prune {keys['imp2']}: Diverged: loss is nan" in text
    assert str(Store(root).log(keys["imp2"])) in text


def test_hours_spent_and_left_come_from_what_was_measured(world, capsys):
    effort = json.loads(told(capsys, world, "--json"))["effort"]
    # Five stages of one hour on two threads.
    assert effort["core_hours"] == pytest.approx(10.0)
    assert (effort["gpu_hours"], effort["exact"]) == (0.0, True)
    # One prune, two transfers and two evaluations are left at an hour each.
    assert effort["left_s"] == pytest.approx(5 * 3600)


def test_every_failed_stage_is_told_with_what_it_blocks(world, capsys):
    text = told(capsys, world, "--failed")
    _, root, keys = world
    assert text.splitlines() == [
        f"prune {keys['imp2']}  resnet8 supervised, imp round 2 on letters",
        "  exception, 2 attempts on n3, blocks 10 stages",
        "  Diverged: loss is nan",
        f"  log: {Store(root).log(keys['imp2'])}",
    ]


@pytest.mark.parametrize("accounting", [True, False], ids=["sacct", "no sacct"])
def test_accounting_explains_what_left_the_queue_where_there_is_any(world, slurm, capsys, accounting):
    (slurm / "squeue.txt").write_text("")
    if accounting:
        (slurm / "sacct.txt").write_text("7_0|OUT_OF_MEMORY\n7_1|CANCELLED by 1000\n")
    text = told(capsys, world, "--failed")
    expected = "7_0: its task left the queue with neither a result nor a failure"
    assert f"  unknown: job {expected}; accounting says OUT_OF_MEMORY" in text.splitlines() or not accounting
    assert f"  unknown: job {expected}" in text.splitlines() or accounting
    assert (slurm / "calls").read_text().splitlines() == ["squeue", "sacct"]


def test_accounting_is_not_asked_for_the_overview(world, slurm, capsys):
    (slurm / "squeue.txt").write_text("")
    assert row(told(capsys, world), "unknown:")[:2] == ["unknown:", "4"]
    assert (slurm / "calls").read_text().splitlines() == ["squeue"]


def test_without_an_answer_of_slurm_the_rest_is_shown_and_the_submitted_is_unknown(world, slurm, capsys):
    (slurm / "squeue.txt").unlink()
    text = told(capsys, world)
    assert "SLURM: no answer (`squeue" in text
    assert "Unable to contact slurm controller" in text
    assert "unknown: 4 SLURM gave no answer" in text
    assert row(text, "prune")[:2] == ["prune", "2"]
    assert (slurm / "calls").read_text().splitlines() == ["squeue"]


def test_only_restricts_the_plan(world, capsys):
    text = told(capsys, world, "--only", "pruner=omp")
    assert "tiny: 4 of 9 stages done" in text
    assert "failed of" not in text


def test_the_json_document_holds_every_stage_and_array(world, capsys):
    found = json.loads(told(capsys, world, "--json"))
    _, root, keys = world
    assert set(found) == {
        "format", "grid", "path", "root", "time", "slurm", "local", "states", "kinds", "cells", "effort", "arrays", "stages",
    }  # fmt: skip
    assert len(found["stages"]) == sum(found["states"].values()) == 21
    by_key = {stage["key"]: stage for stage in found["stages"]}
    assert by_key[keys["imp8 accuracy"]]["state"] == "blocked"
    assert by_key[keys["imp8 accuracy"]]["ancestor"] == keys["imp2"]
    assert by_key[keys["imp2"]]["failure"]["attempts"] == 2
    assert by_key[keys["imp2"]]["blocks"] == 10
    assert by_key[keys["omp8"]] == {
        "key": keys["omp8"], "kind": "prune", "what": "resnet8 supervised, omp round 8", "state": "queued", "reason": "Resources",
        "job": "7_1", "node": None, "epoch": None, "epochs": None, "seconds": None, "left_seconds": None, "failure": None, "measured": {},
        "ancestor": None, "blocks": 0, "log": str(Store(root).log(keys["omp8"])),
    }  # fmt: skip
    (array,) = found["arrays"]
    assert (array["job"], array["kind"], [job["id"] for job in array["elements"]]) == ("7", "transfer", ["7_0", "7_1"])
    assert found["slurm"]["answered"] is True


def test_the_log_of_a_stage_is_found_by_the_beginning_of_its_key(world, capsys):
    _, root, keys = world
    text = told(capsys, world, "--logs", keys["imp2"][:6])
    assert text.splitlines() == [f"==> {Store(root).log(keys['imp2'])} <==", "Traceback", "Diverged: loss is nan"]


def test_only_the_end_of_a_long_log_is_shown(world, capsys):
    _, root, keys = world
    write_log(Store(root), keys["imp2"], "".join(f"line {i}\n" for i in range(100_000)))
    lines = told(capsys, world, "--logs", keys["imp2"]).splitlines()
    assert lines[1:] == [f"line {i}" for i in range(100_000 - 50, 100_000)]


def test_a_stage_without_a_log_shows_that_of_its_task(world, capsys):
    _, _, keys = world
    lines = told(capsys, world, "--logs", keys["omp8"]).splitlines()
    assert lines[0].endswith("/000/7_1_0_log.out <==")
    assert lines[1:] == ["srun: starting"]


def test_a_key_that_is_none_or_several_is_an_error_that_helps(world, capsys):
    _, _, keys = world
    assert "no stage of" in told(capsys, world, "--logs", "xyz", code=2)
    several = told(capsys, world, "--logs", "", code=2)
    assert "21 stages have this key" in several
    assert "... and 1 more" in several
    unstarted = told(capsys, world, "--logs", keys["imp8"], code=2)
    assert f"{keys['imp8']} has not been started" in unstarted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "prunr=omp"], 'Did you mean "pruner"?'),
        (["--only", "pruner=snip"], "no cell of"),
        (["seeds=[1]"], 'unknown field "seeds"'),
        (["--watch", "1"], "give at least 5 seconds"),
        (["--watch", "nan"], "give at least 5 seconds"),
        (["--watch", "grid.yaml"], "put the grid before --watch"),
        (["--watch", "--json"], "not allowed with"),
    ],
)
def test_bad_input_is_one_sentence(world, capsys, arguments, message):
    path, root, _ = world
    try:
        code = status.main([str(path), "--root", str(root), *arguments])
    except SystemExit as error:
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_a_root_that_is_not_there_is_said_and_not_made(world, tmp_path, capsys):
    path, _, keys = world
    text = told(capsys, (path, tmp_path / "nowhere", keys))
    assert f"{tmp_path}/nowhere does not exist yet" in text
    assert not (tmp_path / "nowhere").exists()


# Reports every attempt to change something; read-only file systems and permissions stop no root user.
AUDITED = """
import os, sys
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.chmod",
           "os.chown", "shutil.rmtree", "shutil.move"}
def hook(event, arguments):
    if event in CHANGES:
        print("changes", event, arguments, file=sys.stderr)
    if event == "open" and str(arguments[0]).startswith(sys.argv[1]) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        print("writes", arguments, file=sys.stderr)
sys.dont_write_bytecode = True
from bench import status
sys.addaudithook(hook)
raise SystemExit(status.main(sys.argv[2:]))
"""


def snapshot(root):
    """Path -> kind, size, times and content of everything under a root."""
    return {
        path: (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("more", [[], ["--failed"], ["--json"], ["--logs", "KEY"]], ids=lambda more: " ".join(more))
def test_nothing_is_changed_by_asking(world, more):
    path, root, keys = world
    more = [keys["imp2"] if word == "KEY" else word for word in more]
    (root / "local.lock").write_text("")
    before = snapshot(root)
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    try:
        command = [sys.executable, "-c", AUDITED, str(root), str(path), "--root", str(root), *more]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(status.__file__).parents[1])
    finally:
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path: facts[1:] for path, facts in snapshot(root).items()} == {
        path: facts[1:] for path, facts in before.items()
    }


def test_a_local_run_is_told_with_what_it_computes(world, capsys):
    _, root, keys = world
    with lock.hold(root, "tiny"):
        scratch = Store(root).scratch(keys["omp8"])
        scratch.mkdir(parents=True)
        write_json(scratch / "progress.json", {"epoch": 1, "epochs": 2, "loss": 0.1, "time": time.time()})
        text = told(capsys, world)
    assert f"a local run of grid tiny computes here (process {os.getpid()} on " in text
    assert row(text, keys["omp8"])[-2:] == ["local", "run"]
    assert "a local run" not in told(capsys, world)


def test_a_reader_that_has_read_enough_is_no_error(world):
    path, root, _ = world
    command = f"{sys.executable} -m bench.status {path} --root {root} --json | head -1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_watch_prints_a_line_a_time_keeps_going_without_slurm_and_ends_with_ctrl_c(world, slurm, monkeypatch, capsys):
    """SLURM is asked at once and then when 30 s have passed; here 20 s pass with each look."""
    path, root, _ = world
    clock, looks = [0.0], []

    def sleep(seconds):
        looks.append(seconds)
        clock[0] += 20.0
        if len(looks) == 3:
            (slurm / "squeue.txt").unlink()
        if len(looks) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    clocks = SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0], strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr(status, "time", clocks)
    monkeypatch.setattr(status.random, "uniform", lambda low, high: low)
    assert status.main([str(path), "--root", str(root), "--watch", "20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert looks == [20.0] * 5
    assert len(lines) == 5
    # At 0, 40 and 80 s.
    assert (slurm / "calls").read_text().splitlines() == ["squeue"] * 3
    assert all("5 of 21 stages done" in line for line in lines)
    assert ["SLURM: no answer since" in line for line in lines] == [False, False, False, False, True]
    assert "1 running" in lines[3]
    assert "4 unknown" in lines[4]


def test_watch_ends_when_everything_is_done(world, capsys):
    path, root, _ = world
    planned, store = plan(grid.read(path)), Store(root)
    for key, stage in planned.stages.items():
        if not store.has(key):
            with store.publish(stage, dict(MADE)) as folder:
                (folder / "a.txt").write_text("a")
    assert status.main([str(path), "--root", str(root), "--watch", "5"]) == 0
    assert "21 of 21 stages done, 5 of 5 cells" in capsys.readouterr().out


def test_words_of_errors_and_options_are_no_markup(world, capsys):
    path, root, keys = world
    planned = plan(grid.read(path))
    Store(root).fail(planned.stages[keys["imp2"]], {"error": "KeyError: '[/red] [bold]'", "cause": "[x]", "time": 0.0})
    assert "KeyError: '[/red] [bold]'" in told(capsys, world)
    assert "KeyError: '[/red] [bold]'" in told(capsys, world, "--failed")
