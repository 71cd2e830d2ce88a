import errno
import json
import os

import pytest

from bench import grid
from bench.plan import plan
from bench.store import MANIFEST, CorruptArtifact, Store, StoreError


@pytest.fixture
def stage(write_grid):
    return next(iter(plan(grid.read(write_grid())).stages.values()))


def publish(store, stage, content=b"weights", made=None):
    with store.publish(stage, made or {}) as folder:
        (folder / "a.bin").write_bytes(content)


def test_a_published_artifact_is_found_and_read(tmp_path, stage):
    store = Store(tmp_path)
    publish(store, stage, made={"seconds": 1.5})
    artifact = store.open(stage.key)
    assert store.has(stage.key)
    assert store.keys() == {stage.key}
    assert artifact.file("a.bin").read_bytes() == b"weights"
    assert artifact.manifest["made"] == {"seconds": 1.5}
    assert artifact.manifest["stage"]["parameters"]["architecture"]["name"] == "resnet8"


def test_nothing_is_published_when_the_work_fails(tmp_path, stage):
    store = Store(tmp_path)

    def fail_half_way():
        with store.publish(stage, {}) as folder:
            (folder / "a.bin").write_bytes(b"half")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        fail_half_way()
    assert store.keys() == set()
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


def test_a_folder_left_by_a_killed_process_is_not_an_artifact(tmp_path, stage):
    store = Store(tmp_path)
    left = store.folder(stage.key).with_name(f".{stage.key}.host.1.0")
    left.mkdir(parents=True)
    (left / "a.bin").write_bytes(b"half")
    assert store.keys() == set()
    assert not store.has(stage.key)
    publish(store, stage)
    assert store.problem(stage.key, digests=True) is None


def test_the_first_of_two_publishers_wins(tmp_path, stage):
    store = Store(tmp_path)
    with store.publish(stage, {}) as folder:
        (folder / "a.bin").write_bytes(b"second")
        publish(store, stage, b"first")
    assert store.open(stage.key).file("a.bin").read_bytes() == b"first"
    assert [path.name for path in store.folder(stage.key).parent.iterdir()] == [stage.key]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "a.bin").write_bytes(b"weight"), "a.bin has 6 bytes, its manifest says 7"),
        (lambda folder: (folder / "a.bin").write_bytes(b"wEights"), "a.bin has another sha256"),
        (lambda folder: (folder / "a.bin").unlink(), "a.bin: No such file"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json is unreadable"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 0}'), "manifest.json is of another format"),
        (
            lambda folder: (folder / MANIFEST).write_text('{"format": 1, "stage": {}}'),
            "manifest.json is of another format",
        ),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "manifest.json is of another format"),
    ],
)
def test_damage_is_found_named_and_never_used(tmp_path, stage, damage, reason):
    store = Store(tmp_path)
    publish(store, stage)
    damage(store.folder(stage.key))
    assert reason.split(":")[0] in (store.problem(stage.key, digests=True) or "")
    with pytest.raises(CorruptArtifact, match=stage.key) as error:
        store.open(stage.key).file("a.bin")
    assert reason in str(error.value)


def test_a_quarantined_artifact_can_be_published_again(tmp_path, stage):
    store = Store(tmp_path)
    publish(store, stage)
    place = store.quarantine(stage.key)
    assert place is not None
    assert (place / "a.bin").exists()
    assert store.quarantine(stage.key) is None
    publish(store, stage)
    assert store.has(stage.key)


def test_failures_count_and_are_cleared_by_success(tmp_path, stage):
    store = Store(tmp_path)
    for error in ("x", "x", "y"):
        store.fail(stage, {"error": error})
    assert (store.failure(stage.key) or {})["attempts"] == 1
    store.fail(stage, {"error": "y"})
    assert (store.failure(stage.key) or {})["attempts"] == 2
    publish(store, stage)
    assert store.failure(stage.key) is None


def test_a_full_disk_is_said_so_and_leaves_nothing_half(tmp_path, stage, monkeypatch):
    store = Store(tmp_path)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        StoreError, match=r"the disk of .* is full .* free some space, or give another --root, and submit"
    ):
        publish(store, stage)
    monkeypatch.undo()
    assert store.keys() == set()
    publish(store, stage)
    assert store.has(stage.key)


def test_a_root_that_cannot_be_written_is_said_so(tmp_path, stage):
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        publish(Store(tmp_path), stage)


def test_manifests_are_json_with_the_stage_that_made_them(tmp_path, stage):
    store = Store(tmp_path)
    publish(store, stage)
    manifest = json.loads((store.folder(stage.key) / MANIFEST).read_text())
    assert manifest["stage"]["key"] == stage.key
    assert set(manifest) == {"format", "stage", "files", "made"}


def test_a_root_that_is_a_file_is_said_so(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(tmp_path / "root").keys()


def test_stray_files_in_the_store_are_no_artifacts(tmp_path, stage):
    store = Store(tmp_path)
    publish(store, stage)
    (tmp_path / "store" / "README").write_text("")
    assert store.keys() == {stage.key}


def test_leftovers_of_dead_processes_of_this_host_are_swept(tmp_path, stage):
    store = Store(tmp_path)
    publish(store, stage)
    shard = store.folder(stage.key).parent
    with store.publish(stage, {}) as alive:
        dead = [alive.with_name(alive.name.replace(f".{os.getpid()}.", ".999999999."))]
        elsewhere = alive.with_name(f".{stage.key}.elsewhere.999999999.0")
        for folder in (*dead, elsewhere):
            folder.mkdir()
        store.sweep()
        assert alive.is_dir()
        assert sorted(path.name for path in shard.iterdir()) == sorted([alive.name, elsewhere.name, stage.key])
