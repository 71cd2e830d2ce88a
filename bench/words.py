"""Grid words: reading `imp`, `imp(on=downstream)` and `{imp: {on: downstream}}` against a table of the catalog."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import yaml

from bench.entries import Option
from bench.spec import Scalar, Word

PATTERN = re.compile(r"\s*([A-Za-z0-9_]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


class WordError(ValueError):
    """A word the catalog does not know, or an option it does not take."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """'(known: a, b). Did you mean "a"?' with the nearest known word, if one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"(known: {', '.join(names)})." + (f' Did you mean "{near[0]}"?' if near else "")


def parse(item: Any, axis: str, table: Mapping[str, Any]) -> Word:
    """The word an item of a grid names, its options resolved. Raises WordError."""
    name, given = split(item, axis)
    if name not in table:
        raise WordError(f'{axis} "{name}" is not in bench/catalog.py {suggestion(name, table)}')
    found = word(name, given, axis, table)
    of = dict(found.options).get("of")
    if of is not None and not getattr(table.get(str(of)), "classes", 0):
        known = suggestion(str(of), [name for name, entry in table.items() if entry.classes])
        raise WordError(f'{axis} {found}: "{of}" is no set with a fixed shape {known}')
    return found


def split(item: Any, axis: str) -> tuple[str, dict[str, Any]]:
    """Name and options of `name`, `name(a=1, b=c)` or `{name: {a: 1}}`. Raises WordError on any other form."""
    if isinstance(item, Mapping):
        if len(item) == 1:
            name, options = next(iter(item.items()))
            if options is None or isinstance(options, Mapping):
                return str(name), dict(options or {})
        raise WordError(f"{axis} {item!r} is not a word: write name, name(option=value) or {{name: {{option: value}}}}")
    match = PATTERN.fullmatch(item) if isinstance(item, str) else None
    if match is None:
        raise WordError(f"{axis} {item!r} is not a word: write name, name(option=value) or {{name: {{option: value}}}}")
    options = {}
    for part in filter(None, re.split(r"\s*,\s*", (match[2] or "").strip())):
        key, equals, value = part.partition("=")
        if not equals:
            raise WordError(f'{axis} "{item}": option "{part}" has no value; write {part}=...')
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise WordError(f'{axis} "{item}": the value of {key.strip()} is not YAML') from None
    return match[1], options


def word(name: str, given: Mapping[str, Any], axis: str, table: Mapping[str, Any]) -> Word:
    """The word with defaults filled in. Raises WordError on an unknown, missing or ill-typed option."""
    known: Mapping[str, Option] = getattr(table[name], "options", {})
    for key in given:
        if key not in known:
            hint = suggestion(key, known) if known else "(it takes none)."
            raise WordError(f'{axis} "{name}" has no option "{key}" {hint}')
    resolved, shown = [], []
    for key, option in known.items():
        if option.required and given.get(key) is None:
            raise WordError(f'{axis} "{name}" needs {key}: write {name}({key}=...)')
        value = typed(given[key], option, f"{axis} {name}({key}=...)") if key in given else option.default
        resolved.append((key, value))
        if value != option.default:
            # As a person writes it in YAML.
            text = f"{value:g}" if isinstance(value, float) else str(value)
            shown.append(f"{key}={text.lower() if isinstance(value, bool) else text}")
    return Word(name, tuple(resolved), f"{name}({', '.join(shown)})" if shown else name)


def typed(value: Any, option: Option, where: str) -> Scalar:
    """The value as the option's type. Raises WordError naming type or choices."""
    if option.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, option.kind) or isinstance(value, bool) is not (option.kind is bool):
        raise WordError(f"{where} is {value!r}, which is not of type {option.kind.__name__}")
    if option.choices and value not in option.choices:
        raise WordError(f"{where} is {value!r} {suggestion(str(value), map(str, option.choices))}")
    return cast(Scalar, value)


def matches(pattern: str, found: Word) -> bool:
    """Does `imp` or `imp(on=downstream)` name this word? A bare name matches every choice of options."""
    return pattern in (found.name, found.label)
