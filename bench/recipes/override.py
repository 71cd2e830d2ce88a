"""Applying a grid's `override` section to its protocol, with every problem reported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from bench import words
from bench.recipes.protocol import Protocol, override_recipes
from bench.spec import Attack, Contrast, Recipe, Views

Report = Callable[[tuple[str | int, ...], str], None]

# Section of `override` -> record whose fields it may change; "data" changes fields of the protocol itself.
SECTIONS: dict[str, type | None] = {
    "pretrain": Recipe, "prune": Recipe, "transfer": Recipe, "attack": Attack, "data": None,
}
DATA_FIELDS = (
    "loader", "imagenet_stem_resolution", "small_resolution", "dense_resolution", "text_length", "validation_rule",
    "fraction_rule", "attack_examples",
)  # fmt: skip
# Records within a recipe, whose fields change only where a recipe has them; and those within them.
NESTED: dict[str, type] = {"attack": Attack, "validation_attack": Attack, "contrast": Contrast}
WITHIN: dict[str, type] = {"views": Views}


def override(protocol: Protocol, changes: Mapping[str, Mapping[str, Any]], report: Report) -> Protocol:
    """The protocol with the grid's `override` applied; calls report(location, message) for every problem."""
    for section, fields in changes.items():
        if section not in SECTIONS:
            hint = words.suggestion(section, SECTIONS)
            report(("override", section), f'override "{section}" is not a section {hint}')
            continue
        kind = SECTIONS[section]
        known = [f.name for f in dataclasses.fields(kind)] if kind else list(DATA_FIELDS)
        for name in fields:
            if name not in known:
                report(("override", section, name), f'{section} has no field "{name}" {words.suggestion(name, known)}')
        if set(fields) <= set(known):
            try:
                protocol = _override_section(protocol, section, dict(fields))
            except (TypeError, ValueError) as error:
                report(("override", section), f"override {section}: {error}")
    return protocol


def _override_section(protocol: Protocol, section: str, fields: dict[str, Any]) -> Protocol:
    if section == "data":
        return dataclasses.replace(protocol, **_checked(Protocol, fields))
    if section == "attack":
        return dataclasses.replace(protocol, attack=dataclasses.replace(protocol.attack, **_checked(Attack, fields)))
    nested = {name: _checked_part(kind, name, fields.pop(name, {})) for name, kind in NESTED.items()}
    table = override_recipes(getattr(protocol, section), _checked(Recipe, fields), nested)
    changed: dict[str, Any] = {section: table}
    return dataclasses.replace(protocol, **changed)


def _checked_part(kind: type, name: str, fields: Any) -> dict[str, Any]:
    """Checked fields of a record within a record."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{name} is {fields!r}, which is not a mapping of {name} fields to values")
    own = dict(fields)
    within = {part: _checked_part(WITHIN[part], part, own.pop(part)) for part in WITHIN if part in own}
    return _checked(kind, own, what=name) | within


def _checked(record: type, fields: dict[str, Any], what: str = "attack") -> dict[str, Any]:
    """Field values in the types of the record's fields. Raises ValueError naming the field and the type."""
    kinds = get_type_hints(record)
    checked = {}
    for name, value in fields.items():
        if name not in kinds:
            raise ValueError(f'{what} has no field "{name}" {words.suggestion(name, kinds)}')
        if get_origin(kinds[name]) is tuple and not isinstance(value, list):
            value = [value]
        try:
            # JSON's notion of types: a list is a tuple and a whole number a float, a text is no number.
            checked[name] = TypeAdapter(kinds[name]).validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError):
            kind = getattr(kinds[name], "__name__", str(kinds[name]))
            kind = str(kinds[name]) if kind == "tuple" else kind
            raise ValueError(f"{name} is {value!r}, which is not of type {kind}") from None
    return checked
