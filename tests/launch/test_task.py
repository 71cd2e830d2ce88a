"""How one stage ends: done, blocked, corrupt, failed, interrupted or fatal, and what is left behind in each case."""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml

from bench import grid
from bench.launch.task import Settings, run_stage
from bench.plan import plan
from bench.store import Store


@pytest.fixture(scope="module")
def planned(tmp_path_factory, tiny):
    """Stages of a dense tiny grid on the digits, by kind."""
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "source": ["digits"], "pruner": ["dense"], "sparsity": [0.0]}))
    return {stage.kind: stage for stage in plan(grid.read(path)).stages.values()}


@pytest.fixture(scope="module")
def computed(tmp_path_factory, planned, data_root):
    """A root in which every stage is done."""
    root = tmp_path_factory.mktemp("computed") / "runs"
    for stage in planned.values():
        assert run_stage(stage, Settings(root=root, data_root=data_root)).status == "done"
    return root


@pytest.fixture
def settings(tmp_path, data_root):
    return Settings(root=tmp_path / "runs", data_root=data_root)


@contextlib.contextmanager
def real_streams():
    """Python's streams on descriptors 1 and 2, as outside of pytest."""
    with (
        open(1, "w", closefd=False) as out,
        open(2, "w", closefd=False) as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        yield


def with_inputs(stage, settings, computed):
    """The settings, their root holding the stage's inputs."""
    for _, key in stage.inputs:
        shutil.copytree(Store(computed).folder(key), Store(settings.root).folder(key))
    return settings


def digests(root, stage):
    return {name: entry["sha256"] for name, entry in Store(root).open(stage.key).manifest["files"].items()}


def leftovers(root):
    return list((root / "store").glob("*/.*"))


def test_a_missing_input_blocks_at_once_before_torch_is_imported(planned, settings, tmp_path):
    code = (
        "import json, sys; from pathlib import Path\n"
        "from bench.launch.task import Settings, run_stage; from bench.spec import from_json\n"
        "root, data_root, stage = sys.argv[1:]\n"
        "outcome = run_stage(from_json(json.loads(stage)), Settings(root=Path(root), data_root=Path(data_root)))\n"
        "heavy = sorted({'torch', 'numba', 'ffcv'} & set(sys.modules))\n"
        "print(json.dumps([outcome.status, outcome.message, heavy]))\n"
    )
    from bench.spec import as_json

    stage = planned["transfer"]
    arguments = [str(settings.root), str(settings.data_root), json.dumps(as_json(stage))]
    found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    status, message, heavy = json.loads(found.stdout)
    missing = dict(stage.inputs)["pretrain"]
    assert status == "blocked"
    assert message == f"artifact {missing} is not in {settings.root}/store; it has not been computed"
    assert heavy == []
    # Nothing about the stage itself went wrong.
    assert Store(settings.root).failure(stage.key) is None


def test_a_done_stage_is_not_computed_again(planned, settings, computed, monkeypatch):
    from bench.stages import evaluate

    monkeypatch.setattr(evaluate, "run", lambda *_: pytest.fail("computed again"))
    assert run_stage(planned["evaluate"], dataclasses.replace(settings, root=computed)).status == "done"


def test_a_failure_is_recorded_counted_logged_and_cleared_by_success(planned, settings, tmp_path):
    stage, store = planned["pretrain"], Store(settings.root)
    for attempt in (1, 2):
        with real_streams():
            outcome = run_stage(stage, dataclasses.replace(settings, data_root=tmp_path / "nothing"))
        assert outcome.status == "failed"
        assert outcome.message.startswith("DataError: ")
        assert "python -m bench.prepare digits" in outcome.message
        record = store.failure(stage.key)
        assert (record["attempts"], record["error"], record["cause"]) == (attempt, outcome.message, "exception")
        assert record["stage"]["key"] == stage.key
    log = store.log(stage.key).read_text()
    assert log.count("Traceback (most recent call last)") >= 2
    assert outcome.message.removeprefix("DataError: ") in log
    assert not store.has(stage.key)
    assert leftovers(settings.root) == []
    assert run_stage(stage, settings).status == "done"
    assert store.failure(stage.key) is None
    assert store.has(stage.key)


def test_another_error_starts_the_count_anew_and_memory_is_told_apart(planned, settings, monkeypatch):
    from bench.stages import pretrain

    stage, errors = planned["pretrain"], [ValueError("one\nmore"), ValueError("one"), MemoryError("no more")]
    found = []
    for error in errors:

        def run(*_, error=error):
            raise error

        monkeypatch.setattr(pretrain, "run", run)
        assert run_stage(stage, settings).status == "failed"
        record = Store(settings.root).failure(stage.key)
        found.append((record["error"], record["attempts"], record["cause"]))
    assert found == [
        ("ValueError: one", 1, "exception"),
        ("ValueError: one", 2, "exception"),
        ("MemoryError: no more", 1, "host memory"),
    ]


@pytest.mark.parametrize("looks", [1, 4, 9])
def test_an_interrupted_stage_leaves_a_checkpoint_and_goes_on_to_the_same_artifact(planned, settings, computed, looks):
    # One epoch of 9 steps: 8 looks, since after the last step there is nothing left to interrupt.
    stage, store, asked = planned["pretrain"], Store(settings.root), 0

    def stop():
        nonlocal asked
        asked += 1
        return asked == looks

    outcome = run_stage(stage, settings, stop=stop)
    if looks < 9:
        assert (outcome.status, outcome.message) == ("interrupted", "stopped at a checkpoint")
        assert (store.scratch(stage.key) / "checkpoint.pt").is_file()
        assert not store.has(stage.key)
        assert store.failure(stage.key) is None
        assert leftovers(settings.root) == []
        steps = []
        assert run_stage(stage, settings, stop=lambda: bool(steps.append(1))).status == "done"
        # A look after each of the remaining steps but the last, after which there is nothing left to interrupt.
        assert len(steps) == 9 - looks - 1
    assert digests(settings.root, stage) == digests(computed, stage)
    assert not store.scratch(stage.key).exists()


@pytest.mark.parametrize("file", ["weights.safetensors", "manifest.json"])
def test_a_corrupt_input_is_reported_with_its_key(planned, settings, computed, file):
    stage = planned["transfer"]
    culprit = dict(stage.inputs)["pretrain"]
    with_inputs(stage, settings, computed)
    path = Store(settings.root).folder(culprit) / file
    path.write_bytes(path.read_bytes()[:-1] + b"#")
    outcome = run_stage(stage, settings)
    assert (outcome.status, outcome.culprit) == ("corrupt", culprit)
    assert outcome.message.startswith(f"artifact {culprit} is corrupt: {file}")
    assert not Store(settings.root).has(stage.key)
    # The reader did nothing wrong.
    assert Store(settings.root).failure(stage.key) is None
    assert leftovers(settings.root) == []


def test_the_log_holds_what_the_stage_printed_and_the_terminal_does_not(planned, settings, monkeypatch, capfd):
    from bench.stages import pretrain

    def run(_parameters, _inputs, folder, _context):
        print("from Python")
        os.write(1, b"from C\n")
        os.write(2, b"an error from C\n")
        (folder / "weights.safetensors").write_bytes(b"")

    monkeypatch.setattr(pretrain, "run", run)
    with real_streams():
        assert run_stage(planned["pretrain"], settings).status == "done"
        print("afterwards")
    log = Store(settings.root).log(planned["pretrain"].key).read_text()
    assert f"pretrain {planned['pretrain'].key} on " in log
    for line in ("from Python", "from C", "an error from C"):
        assert f"{line}\n" in log
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("afterwards\n", "")


def test_a_full_disk_is_fatal_and_no_failure_of_the_stage(planned, settings, monkeypatch):
    from bench.stages import pretrain

    def run(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere")

    monkeypatch.setattr(pretrain, "run", run)
    outcome = run_stage(planned["pretrain"], settings)
    assert outcome.status == "fatal"
    assert "somewhere" in outcome.message
    assert "free some space" in outcome.message
    assert Store(settings.root).failure(planned["pretrain"].key) is None
    assert leftovers(settings.root) == []


def test_an_unwritable_root_is_fatal_with_a_sentence(planned, settings):
    settings.root.write_text("a file where the folder should be")
    outcome = run_stage(planned["pretrain"], settings)
    assert outcome.status == "fatal"
    assert str(settings.root) in outcome.message


def test_the_manifest_says_where_and_how_an_artifact_was_made(planned, computed):
    for stage in planned.values():
        manifest = Store(computed).open(stage.key).manifest
        made = manifest["made"]
        assert made["host"]
        assert (made["device"], made["threads"]) == ("cpu", 1)
        assert {"commit", "dirty", "versions", "seconds", "device_seconds", "peak_memory"} <= set(made)
        assert {"code", "job", "restarts"} <= set(made)
        assert made["versions"]["torch"]
        assert 0 < made["seconds"] < 600
        assert manifest["stage"]["inputs"] == dict(stage.inputs)
        # The files of images it read; those that read none say so.
        assert all(len(digest) == 64 for digest in made["data"].values())
        assert bool(made["data"]) == (stage.parameters.data is not None)
