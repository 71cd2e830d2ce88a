"""The code that runs is the code that was submitted: a copy of the packages below the root, named by its hash."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

from bench.store import disk_errors, write_json

PACKAGES = ("bench", "analysis")
# Files that the packages read, beside their code; pyproject.toml says the same.
DATA = {"analysis": ("published/*.csv", "report/*.css", "report/*.j2", "report/*.js")}
ABOUT = "snapshot.json"


def running() -> Path:
    """The folder that holds the imported packages: a checkout, an installation or a snapshot."""
    return Path(__file__).resolve().parents[2]


def files(package_root: Path) -> list[Path]:
    """Paths of all code and package data, relative and sorted; no tests, no caches, no stray files."""
    found = []
    for package in PACKAGES:
        folder = package_root / package
        for pattern in ("**/*.py", *DATA.get(package, ())):
            found += [path.relative_to(package_root) for path in folder.glob(pattern) if path.is_file()]
    return sorted(found, key=Path.as_posix)


def digests(package_root: Path) -> dict[str, str]:
    """sha256 of every file's content, by relative path."""
    return {
        path.as_posix(): hashlib.sha256((package_root / path).read_bytes()).hexdigest() for path in files(package_root)
    }


def digest(package_root: Path) -> str:
    """sha256 over the sorted paths and contents of code and package data, 64 hex digits."""
    return _combined(digests(package_root))


def _combined(contents: dict[str, str]) -> str:
    text = "".join(f"{path}\0{content}\n" for path, content in contents.items())
    return hashlib.sha256(text.encode()).hexdigest()


def origin(package_root: Path) -> dict[str, Any]:
    """Commit the code was taken from and whether it was edited since; "unknown" outside of a checkout."""
    if (package_root / ABOUT).exists():
        about = _about(package_root)
        if about is None:
            # Damaged. Git would answer for a checkout that only happens to lie around the snapshot.
            return {"commit": "unknown", "dirty": True}
        return {"commit": about["commit"], "dirty": about["dirty"] or about["hash"] != digest(package_root)}

    def git(*arguments: str) -> str | None:
        try:
            found = subprocess.run(
                ["git", "-C", str(package_root), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return found.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no") if commit else None
    return {"commit": commit or "unknown", "dirty": bool(changes)}


def _about(package_root: Path) -> dict[str, Any] | None:
    """What snapshot.json says; None where there is none, or no sound one."""
    try:
        about: dict[str, Any] = json.loads((package_root / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return about if {"hash", "commit", "dirty", "files"} <= set(about) else None


def take(root: Path) -> Path:
    """A snapshot of the running code below the root, complete and as it was made; an existing one serves again.

    A damaged one is left to whoever may run from it, and a sound one made beside it. Raises StoreError where the
    root cannot be written.
    """
    source, code = running(), root.resolve() / "slurm" / "code"
    private = code / f".{uuid.uuid4().hex}"
    try:
        with disk_errors(root):
            place = _place(code, digest(source))
            if place.exists():
                return place
            for path in files(source):
                (private / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / path, private / path)
            # Of the copy, not of the source: that may be edited while it is copied.
            contents = digests(private)
            whole = _combined(contents)
            write_json(private / ABOUT, {"hash": whole, **origin(source), "files": contents})
            return _publish(private, code, whole)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _place(code: Path, whole: str) -> Path:
    """Where the snapshot with this hash lies, or a free name for it: its own, or one beside damaged ones."""
    place = code / whole[:12]
    for n in itertools.count(2):
        if not os.path.lexists(place) or _sound(place, whole):
            break
        place = code / f"{whole[:12]}-{n}"
    return place


def _sound(folder: Path, whole: str) -> bool:
    """Does this folder hold exactly the files with this hash?"""
    about = _about(folder)
    return about is not None and about["hash"] == whole == digest(folder)


def _publish(private: Path, code: Path, whole: str) -> Path:
    """Give the private folder its name; where another process was first with an equal one, that one serves."""
    while True:
        place = _place(code, whole)
        if place.exists():
            return place
        try:
            # Fails onto a folder with files in it: a name is never taken from another process.
            private.rename(place)
        except OSError:
            if not os.path.lexists(place):
                raise
        else:
            return place
