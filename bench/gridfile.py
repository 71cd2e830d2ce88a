"""YAML files with the line of every value, and `key=value` overrides of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

Where = tuple[str | int, ...]
Lines = Mapping[Where, int]


class FileError(ValueError):
    """A YAML file that cannot be read; the message names file and line."""


def load_yaml(
    path: Path, *, what: str = "grid", example: str = "grids/demo.yaml"
) -> tuple[dict[str, Any], dict[Where, int]]:
    """The mapping in a YAML file and the line of every key and item. Raises FileError naming a shipped example."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(f"{path}: there is no such file. Shipped {what}s are in {Path(example).parent}/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: cannot be read ({error})") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Where, int] = {}
        if node is not None:
            _walk(path, node, (), lines)
        loaded = yaml.safe_load(text)
    except RecursionError:
        raise FileError(f"{path}: an alias refers to itself") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise FileError(f"{path}{line}: not YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(loaded, dict):
        raise FileError(f"{path}: is not a mapping of fields to values (see {example})")
    return loaded, lines


def _walk(path: Path, node: yaml.Node, where: Where, lines: dict[Where, int]) -> None:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise FileError(f"{path}, line {line}: a field name must be a word")
            # YAML itself keeps the last of two equal keys without a word.
            if key.value in seen:
                raise FileError(f'{path}, line {line}: "{key.value}" is there twice (first in line {seen[key.value]})')
            seen[key.value] = line
            _walk(path, value, (*where, key.value), lines)
            lines[(*where, key.value)] = line
    elif isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _walk(path, item, (*where, i), lines)


def place(path: Path, lines: Lines, where: Where) -> str:
    """'grids/x.yaml, line 7', with the line of the nearest enclosing value that has one."""
    for end in range(len(where), 0, -1):
        if where[:end] in lines:
            return f"{path}, line {lines[where[:end]]}"
    return f"{path}" + (f", {where[0]}" if where else "")


def explain(path: Path, lines: Lines, error: Any, *, known: Callable[[Where], str], example: str) -> str:
    """One pydantic error as a sentence of ours; `known` says what may stand in place of an unknown field."""
    where = tuple(error["loc"])
    name = ".".join(map(str, where))
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f'{place(path, lines, where)}: unknown field "{name}" {known(where)}'
    if error["type"] == "missing":
        return f'{path}: field "{name}" is missing; add a line "{name}: ..." (see {example})'
    said = error["msg"].removeprefix("Value error, ")
    return f"{place(path, lines, where)}: {name} is {error['input']!r}; {said[0].lower()}{said[1:]}"


def apply_override(raw: dict[str, Any], text: str) -> None:
    """Set `key.sub=value` in the loaded file, value read as YAML. Raises FileError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise FileError(f'override "{text}" is not key=value (for example seed=[0] or override.transfer.epochs=1)')
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise FileError(f'override "{text}": the value is not YAML: {error}') from None
    target = raw
    *parents, last = key.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
        if not isinstance(target, dict):
            raise FileError(f'override "{text}": {parent} is not a mapping')
    target[last] = parsed
