"""Canonical JSON of records: what keys are hashed from. Imports no torch.

Fields with metadata {"identity": False} (paths, labels) are left out: they cannot change a number. Those with
{"identity": "unless default"} are left out at their default: fields that came later change no key of before.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Hashable
from typing import Any

KEPT = object()


def canonical(record: Any) -> str:
    """JSON of a record with its fields sorted; the same text for equal records, on every machine."""
    parts = []
    for name, is_float, omitted in _fields(record.__class__):
        value: Any = getattr(record, name)
        if omitted is not KEPT and value == omitted:
            continue
        if hasattr(value, "__dataclass_fields__"):
            text = _canonical_part(value)
        else:
            # A whole number in a grid and the same float in a recipe are one value.
            text = json.dumps(float(value) if is_float else value)
        parts.append(f'"{name}":{text}')
    return "{" + ",".join(parts) + "}"


@functools.lru_cache(maxsize=100_000)
def _canonical_part(record: Hashable) -> str:
    """Parts (recipes, data, words) recur in thousands of stages: canonical JSON of each is made once."""
    return canonical(record)


@functools.cache
def _fields(kind: Any) -> tuple[tuple[str, bool, Any], ...]:
    """(name, is it a float?, value at which it is left out, or KEPT) of every field, by name."""
    fields = {f.name: f for f in dataclasses.fields(kind) if f.metadata.get("identity", True)}
    return tuple(
        (name, f.type == "float", f.default if f.metadata.get("identity") == "unless default" else KEPT)
        for name, f in sorted(fields.items())
    )
