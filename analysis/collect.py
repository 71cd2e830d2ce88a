"""The frame of a grid's results, kept as Parquet for as long as grid, code and store are what they were."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis import frame as frames
from bench import results
from bench.grid import read, select
from bench.plan import plan
from bench.recipes.protocol import Protocol
from bench.store import StoreError

# Key of what a cached table is, among the metadata of its file.
_ABOUT = b"ticketbench"


class Collected(NamedTuple):
    """A frame with the name of its grid and its protocol: recipes by stage and what decides them, as JSON values."""

    name: str
    table: pd.DataFrame
    protocol: dict[str, Any]


def collect(
    path: Path, *, root: Path, overrides: Sequence[str] = (), only: Sequence[str] = (), cache: bool = True
) -> Collected:
    """All that the grid planned, whatever became of it. Raises GridError, StoreError.

    Read from `root/cache/analysis` where nothing changed since it was written there: grid file, overrides, selection,
    this code, the published artifacts and the recorded failures. An artifact that is damaged on the disk after it was
    read is not noticed; `cache=False` reads every file again. A root that cannot be written is no error.
    """
    # Before anything is read: what is published meanwhile makes the cached table an old one.
    state = _state(path, root, overrides, only)
    kept = root / "cache" / "analysis" / f"{path.stem}-{_digest([str(path.resolve()), *overrides, '', *only])}.parquet"
    if cache and (found := _cached(kept, state)) is not None:
        return found
    grid = select(read(path, overrides), only)
    planned = plan(grid)
    made = Collected(
        grid.name, frames.frame(results.rows(planned, root=root), grid=grid.name), _protocol(grid.protocol)
    )
    files = {name for stage in planned.stages.values() if (name := getattr(stage.parameters, "path", None))}
    _keep(kept, made, state, files)
    return made


def _state(path: Path, root: Path, overrides: Sequence[str], only: Sequence[str]) -> str:
    """A digest of all that decides the rows but the files that a grid's words name."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        # Reading the grid says what is wrong with it.
        text = ""
    return _digest([text, *overrides, "", *only, "", *_code(), "", *_listing(root)])


def _code() -> Iterator[str]:
    for source in (*sorted(Path(results.__file__).parent.rglob("*.py")), Path(frames.__file__), Path(__file__)):
        yield source.read_text(encoding="utf-8")


def _listing(root: Path) -> Iterator[str]:
    """Names of artifacts and failures, and when each folder of them last changed."""
    for part in ("store", "failures"):
        try:
            shards = sorted(entry.path for entry in os.scandir(root / part) if entry.is_dir())
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"{root} cannot be read ({error.strerror}); give the folder of an earlier run") from None
        for shard in shards:
            yield f"{shard} {os.stat(shard).st_mtime_ns}"
            yield from sorted(name for name in os.listdir(shard) if not name.startswith("."))


def _digest(parts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() + b"\0")
    return found.hexdigest()[:16]


def _cached(kept: Path, state: str) -> Collected | None:
    try:
        file = pq.ParquetFile(kept)
        about = json.loads(file.schema_arrow.metadata[_ABOUT])
        if about["state"] != state or about["files"] != _seen(about["files"]):
            return None
        return Collected(about["name"], file.read().to_pandas(), about["protocol"])
    # Cut short, of an older layout, or not there: it is written anew.
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None


def _keep(kept: Path, made: Collected, state: str, files: Iterable[str]) -> None:
    about = {"state": state, "name": made.name, "protocol": made.protocol, "files": _seen(files)}
    content = pa.Table.from_pandas(made.table, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), _ABOUT: json.dumps(about)})
    aside = kept.with_name(f".{kept.name}.{os.getpid()}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, aside)
        aside.replace(kept)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


def _seen(files: Iterable[str]) -> dict[str, list[int]]:
    """Size and time of files whose digests are part of keys."""
    found = {}
    for name in sorted(files):
        try:
            status = os.stat(name)
        except OSError:
            found[name] = [-1, -1]
        else:
            found[name] = [status.st_size, status.st_mtime_ns]
    return found


def _protocol(protocol: Protocol) -> dict[str, Any]:
    """As JSON values; what is none of these as text."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(protocol), default=str))
    return values
