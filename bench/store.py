"""Artifacts by key: published atomically, checked when read, never half there. Imports no torch.

<root>/store/<2 hex>/<key>/          manifest.json and the files it names: the only record that a stage is done
<root>/store/<2 hex>/.<key>.<host>.<pid>.<n>   a stage being written; renamed when its manifest is complete
<root>/failures/<2 hex>/<key>.json   the last failure of a stage; removed when it succeeds
<root>/scratch/<2 hex>/<key>/        checkpoint and progress of a running or interrupted stage
<root>/logs/<2 hex>/<key>.log        what the stage printed
<root>/corrupt/<key>.<n>             artifacts that failed their check, kept for a look
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.spec import Stage, as_json

FORMAT = 1
MANIFEST = "manifest.json"
# No space, over quota, over the file-size limit.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_serial = itertools.count()


class StoreError(Exception):
    """The store cannot be written or read; the message says where and why."""


class CorruptArtifact(StoreError):
    """An artifact that is not what its manifest says."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"artifact {key} is corrupt: {reason}")
        self.key, self.reason = key, reason


@dataclass(frozen=True, slots=True)
class Artifact:
    """A published stage. Files are checked against the manifest's digests when asked for."""

    key: str
    path: Path
    manifest: Mapping[str, Any]

    def file(self, name: str) -> Path:
        """Path of a file whose size and digest are right. Raises CorruptArtifact."""
        entry = self.manifest["files"].get(name)
        if entry is None:
            raise CorruptArtifact(self.key, f"{name} is not in its manifest")
        path = self.path / name
        try:
            found = _describe(path)
        except OSError as error:
            raise CorruptArtifact(self.key, f"{name}: {error.strerror}") from None
        if found["size"] != entry["size"]:
            raise CorruptArtifact(self.key, f"{name} has {found['size']} bytes, its manifest says {entry['size']}")
        if found["sha256"] != entry["sha256"]:
            raise CorruptArtifact(self.key, f"{name} has another sha256 than its manifest says")
        return path

    def json(self, name: str) -> Any:
        """A JSON file of the artifact. Raises CorruptArtifact."""
        return json.loads(self.file(name).read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Store:
    """The artifacts under one root folder."""

    root: Path

    def folder(self, key: str) -> Path:
        return self.root / "store" / key[:2] / key

    def scratch(self, key: str) -> Path:
        return self.root / "scratch" / key[:2] / key

    def log(self, key: str) -> Path:
        return self.root / "logs" / key[:2] / f"{key}.log"

    def has(self, key: str) -> bool:
        return (self.folder(key) / MANIFEST).is_file()

    def listed(self, key: str) -> bool:
        """Is there an artifact of the key, asked of the folder above it? Sees what a cached `has` may miss."""
        try:
            return key in os.listdir(self.folder(key).parent) and self.has(key)
        except OSError:
            return False

    def keys(self) -> set[str]:
        """Keys of all published artifacts: one listing per shard, not one look per key."""
        found: set[str] = set()
        try:
            for shard in os.scandir(self.root / "store"):
                if shard.is_dir():
                    found.update(name for name in os.listdir(shard) if not name.startswith("."))
        except FileNotFoundError:
            return found
        except OSError as error:
            raise StoreError(
                f"{self.root} cannot be read ({error.strerror}); give the folder of an earlier run"
            ) from None
        return found

    def open(self, key: str) -> Artifact:
        """The artifact of a key. Raises CorruptArtifact, or StoreError where there is none."""
        path = self.folder(key)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if path.is_dir():
                raise CorruptArtifact(key, f"{MANIFEST} is missing") from None
            raise StoreError(f"artifact {key} is not in {self.root}/store; it has not been computed") from None
        except (OSError, ValueError) as error:
            raise CorruptArtifact(key, f"{MANIFEST} is unreadable ({error})") from None
        try:
            sound = manifest["format"] == FORMAT and manifest["stage"]["key"] == key
            sound = sound and all({"size", "sha256"} <= set(entry) for entry in manifest["files"].values())
        except (KeyError, TypeError, AttributeError):
            sound = False
        if not sound or not isinstance(manifest.get("made"), dict):
            raise CorruptArtifact(key, f"{MANIFEST} is of another format or stage")
        return Artifact(key, path, manifest)

    def problem(self, key: str, *, digests: bool) -> str | None:
        """What is wrong with a published artifact, or None. Without digests only presence and sizes are checked."""
        try:
            artifact = self.open(key)
            for name, entry in artifact.manifest["files"].items():
                if digests:
                    artifact.file(name)
                elif (found := (artifact.path / name).stat().st_size) != entry["size"]:
                    return f"{name} has {found} bytes, its manifest says {entry['size']}"
        except CorruptArtifact as error:
            return error.reason
        except (OSError, StoreError) as error:
            return str(error)
        return None

    def quarantine(self, key: str) -> Path | None:
        """Move a corrupt artifact out of the way; its place, or None if another process was first."""
        target = self.root / "corrupt" / f"{key}.{_host()}.{os.getpid()}.{next(_serial)}"
        with disk_errors(self.root):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self.folder(key).rename(target)
            except FileNotFoundError:
                return None
        return target

    def sweep(self) -> None:
        """Remove the private folders that killed processes of this host left; those of running ones stay."""
        for left in (self.root / "store").glob("*/.*"):
            host, pid = left.name.rsplit(".", 3)[-3:-1] if left.name.count(".") >= 4 else ("", "")
            if host == _host() and pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def publish(self, stage: Stage, made: dict[str, Any]) -> Iterator[Path]:
        """A private folder to fill; on a clean exit it becomes the artifact, on an exception it is removed.

        `made` (host, versions, seconds, ...) may be filled until the exit. Where another process published the
        key meanwhile, its artifact stays and ours is dropped. Raises StoreError where the disk is full.
        """
        final = self.folder(stage.key)
        private = final.parent / f".{stage.key}.{_host()}.{os.getpid()}.{next(_serial)}"
        try:
            with disk_errors(self.root):
                private.mkdir(parents=True)
            yield private
            with disk_errors(self.root):
                self._seal(stage, private, made)
                _rename(private, final)
        finally:
            shutil.rmtree(private, ignore_errors=True)
        self.failure_file(stage.key).unlink(missing_ok=True)
        shutil.rmtree(self.scratch(stage.key), ignore_errors=True)

    def _seal(self, stage: Stage, private: Path, made: Mapping[str, Any]) -> None:
        files = {}
        for path in sorted(private.iterdir()):
            files[path.name] = _describe(path)
            _fsync(path)
        manifest = {"format": FORMAT, "stage": as_json(stage), "files": files, "made": dict(made)}
        write_json(private / MANIFEST, manifest)
        _fsync(private)

    def failure_file(self, key: str) -> Path:
        return self.root / "failures" / key[:2] / f"{key}.json"

    def fail(self, stage: Stage, record: Mapping[str, Any]) -> None:
        """Record why a stage failed; `attempts` counts its failures with this error."""
        before = self.failure(stage.key)
        same = before is not None and before.get("error") == record.get("error")
        attempts = (before["attempts"] if same and before else 0) + 1
        path = self.failure_file(stage.key)
        with disk_errors(self.root):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"stage": as_json(stage), "attempts": attempts, **record})

    def failure(self, key: str) -> dict[str, Any] | None:
        """The record of a stage's last failure, or None."""
        try:
            loaded: dict[str, Any] = json.loads(self.failure_file(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return loaded


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn an OSError on writing below root into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise StoreError(
                f"the disk of {root} is full ({error.strerror}). What is published stays; "
                "free some space, or give another --root, and submit again"
            ) from error
        raise StoreError(
            f"{root} cannot be written ({error.strerror}: {error.filename}); check the path and its permissions"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{next(_serial)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _host() -> str:
    # Dots separate the parts of private names.
    return socket.gethostname().replace(".", "-")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _rename(private: Path, final: Path) -> None:
    try:
        private.rename(final)
    except OSError as error:
        # The folder exists and is not empty: another process published the same stage first.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    _fsync(final.parent)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": os.fstat(file.fileno()).st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
