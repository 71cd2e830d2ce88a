"""The work of a task as its array's file holds it, and what of it can be computed with what is in the store."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.spec import Stage, as_json, from_json
from bench.store import Store

# An input that nobody reports as failed may be there and not yet seen: file systems show new names late.
LOOKS_S = (0.5, 1.0, 2.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Element:
    """The stages of one task, and for every input that was to be computed elsewhere: its kind and its inputs."""

    stages: Mapping[str, Stage]
    ancestors: Mapping[str, tuple[str, tuple[str, ...]]]


def write_elements(
    path: Path, elements: Sequence[Sequence[str]], stages: Mapping[str, Stage], done: set[str]
) -> list[int]:
    """Write a line per element; the offsets of the lines, by which tasks find theirs."""
    offsets = []
    with path.open("wb") as file:
        for keys in elements:
            offsets.append(file.tell())
            line = {"stages": [as_json(stages[key]) for key in keys], "ancestors": _ancestors(keys, stages, done)}
            file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return offsets


def _ancestors(keys: Sequence[str], stages: Mapping[str, Stage], done: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    stack = [source for key in keys for _, source in stages[key].inputs]
    while stack:
        key = stack.pop()
        if key not in found and key not in done and key not in keys:
            sources = [source for _, source in stages[key].inputs]
            found[key] = [stages[key].kind, sources]
            stack.extend(sources)
    return found


def read_element(path: Path, offset: int) -> Element:
    with path.open("rb") as file:
        file.seek(offset)
        line = json.loads(file.readline())
    stages = [from_json(found) for found in line["stages"]]
    ancestors = {key: (kind, tuple(sources)) for key, (kind, sources) in line["ancestors"].items()}
    return Element(stages={stage.key: stage for stage in stages}, ancestors=ancestors)


def sort_out(found: Element, store: Store) -> tuple[list[str], dict[str, str]]:
    """(keys that can be computed here, inputs first; reason by key that cannot)."""
    runnable: list[str] = []
    blocked: dict[str, str] = {}
    absent = missing(found, store)
    for key, stage in found.stages.items():
        for role, source in stage.inputs:
            if source in blocked:
                blocked[key] = f"waits for {role} {source}, which is blocked"
            elif source in absent:
                blocked[key] = f"waits for {role} {source}; {explain(source, found, store)}"
        if key not in blocked:
            runnable.append(key)
    return runnable, blocked


def missing(found: Element, store: Store) -> set[str]:
    """Inputs from other tasks that are not there. An absence that nothing explains is looked at again."""
    sources = {source for stage in found.stages.values() for _, source in stage.inputs} - found.stages.keys()
    absent = {source for source in sources if not store.has(source)}
    for pause in LOOKS_S:
        strange = {source for source in absent if _failed(source, found, store) is None}
        if not strange:
            break
        time.sleep(pause)
        # Listing the folder makes a network file system ask its server.
        absent -= {source for source in strange if store.listed(source)}
    return absent


def explain(key: str, found: Element, store: Store) -> str:
    """Which ancestor is to blame, and where its log is."""
    guilty = _failed(key, found, store)
    if guilty is None:
        return (
            "it has not been computed (cancelled, or its task was lost); the continuation, or bench.submit, sees to it"
        )
    kind = found.ancestors[guilty][0] if guilty in found.ancestors else "stage"
    failure = store.failure(guilty) or {"error": "?"}
    return f"{kind} {guilty} failed: {failure['error']} (log: {store.log(guilty)})"


def _failed(key: str, found: Element, store: Store) -> str | None:
    """The nearest failed one among a key and its ancestors."""
    line, seen = [key], {key}
    while line:
        one = line.pop(0)
        if store.failure(one) is not None:
            return one
        for source in found.ancestors.get(one, ("", ()))[1]:
            if source not in seen and not store.has(source):
                seen.add(source)
                line.append(source)
    return None
