"""Grid files: YAML to validated cells. Errors name file and line, what was found, what is known and what to do."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from bench import cells, toy, words
from bench.catalog import TABLES
from bench.gridfile import FileError, Where, apply_override, explain, load_yaml, place
from bench.ladder import Ladder
from bench.recipes import PROTOCOLS
from bench.recipes.override import Report, override
from bench.recipes.protocol import Protocol
from bench.spec import AXES, Cell, Word

MAX_CELLS = 1_000_000


class GridError(ValueError):
    """A grid that cannot be run; the message is for the person who wrote it."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _words_schema(axis: str) -> dict[str, Any]:
    names = sorted(TABLES[axis])
    item = {
        "anyOf": [
            {"enum": names},
            {"type": "string", "pattern": r"^\w+\(.*\)$"},
            {"type": "object", "maxProperties": 1},
        ]
    }
    return {"anyOf": [{"type": "array", "items": item, "minItems": 1}, item]}


_SPARSITY_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "minItems": 1},
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        {
            "type": "object",
            "properties": {
                "rate": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "points": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "rounds": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            },
            "required": ["rounds"],
            "additionalProperties": False,
        },
    ]
}
_FRACTION_SCHEMA = {"anyOf": [{"type": "array", "items": {"type": "number"}, "minItems": 1}, {"type": "number"}]}
Words = Annotated[list[Any], BeforeValidator(_as_list)]
Numbers = Annotated[list[float], BeforeValidator(_as_list), WithJsonSchema(_FRACTION_SCHEMA)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Seeds = Annotated[list[Seed], BeforeValidator(_as_list)]


class GridFile(BaseModel):
    """The fields of a grid file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    protocol: Annotated[str, WithJsonSchema({"enum": sorted(PROTOCOLS)})]
    architecture: Annotated[Words, WithJsonSchema(_words_schema("architecture"))]
    pretraining: Annotated[Words, WithJsonSchema(_words_schema("pretraining"))]
    source: Annotated[Words, WithJsonSchema(_words_schema("source"))] | None = None
    pruner: Annotated[Words, WithJsonSchema(_words_schema("pruner"))]
    granularity: Annotated[Words, WithJsonSchema(_words_schema("granularity"))] = ["unstructured"]
    sparsity: Annotated[Any, WithJsonSchema(_SPARSITY_SCHEMA)] = [0.0]
    dataset: Annotated[Words, WithJsonSchema(_words_schema("dataset"))]
    transfer: Annotated[Words, WithJsonSchema(_words_schema("transfer"))] = ["finetune"]
    objective: Annotated[Words, WithJsonSchema(_words_schema("objective"))] = ["standard"]
    fraction: Numbers = [1.0]
    seed: Seeds = [0]
    pretraining_seed: Seeds = [0]
    evaluate: Annotated[Words, WithJsonSchema(_words_schema("evaluate"))] = ["accuracy"]
    exclude: list[dict[str, Any]] = []
    override: dict[str, dict[str, Any]] = {}
    cover: Literal["all", "pairs"] = "all"
    toy: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A validated grid: its cells in order, with the dense reference of every curve among them."""

    name: str
    path: Path
    protocol: Protocol
    ladder: Ladder
    cells: tuple[Cell, ...]
    evaluate: tuple[Word, ...]


def read(path: Path, overrides: Sequence[str] = ()) -> Grid:
    """The grid of a YAML file, with `key=value` overrides applied. Raises GridError; nothing is computed before."""
    try:
        raw, lines = load_yaml(path)
        for text in overrides:
            apply_override(raw, text)
        file = GridFile.model_validate(raw)
        if file.toy and file.protocol in PROTOCOLS:
            file = GridFile.model_validate(toy.shrink(file.model_dump(), PROTOCOLS[file.protocol]))
    except FileError as error:
        raise GridError(str(error)) from None
    except ValidationError as error:
        found = [explain(path, lines, item, known=_known, example="grids/demo.yaml") for item in error.errors()]
        raise GridError("\n".join(found)) from None
    problems: list[str] = []
    axes = parse_axes(file, lambda where, text: problems.append(f"{place(path, lines, where)}: {text}"))
    if problems:
        raise GridError("\n".join(problems))
    protocol, values = axes
    try:
        expanded = cells.expand(values, exclude=file.exclude, max_cells=MAX_CELLS)
    except cells.CellsError as error:
        raise GridError(f"{place(path, lines, error.where)}: {error}") from None
    if file.cover == "pairs":
        expanded = tuple(cells.with_dense(cells.cover(expanded)))
    return Grid(
        name=file.name, path=path, protocol=protocol, ladder=values.ladder, cells=expanded, evaluate=values.evaluate
    )


def select(grid: Grid, only: Sequence[str]) -> Grid:
    """The grid with the cells that match every `axis=value[,value]`, and their dense references. Raises GridError."""
    kept = grid.cells
    for text in only:
        axis, equals, value = text.partition("=")
        if not equals or axis not in AXES:
            raise GridError(f"--only {text}: write axis=value {words.suggestion(axis, AXES)}")
        wanted = [part for part in _split_values(value) if part]
        kept = tuple(cell for cell in kept if any(cells.has(cell, axis, item) for item in wanted))
        if not kept:
            found = sorted({cells.shown(getattr(cell, axis)) for cell in grid.cells})
            raise GridError(f"--only {text}: no cell of {grid.path} has it (known: {', '.join(found)})")
    # The dense references stay: a ticket is measured against them.
    return dataclasses.replace(grid, cells=tuple(cells.with_dense(kept)) if only else kept)


def _split_values(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def parse_axes(file: GridFile, report: Report) -> tuple[Protocol, cells.Axes]:
    """Protocol with overrides and the parsed axes; calls report(location, message) for every problem."""
    protocol = PROTOCOLS.get(file.protocol)
    if protocol is None:
        report(
            ("protocol",),
            f'protocol "{file.protocol}" is not in bench/recipes {words.suggestion(file.protocol, PROTOCOLS)}',
        )
        protocol = next(iter(PROTOCOLS.values()))
    protocol = override(protocol, file.override, report)
    parsed: dict[str, tuple[Word, ...]] = {}
    for axis, table in TABLES.items():
        items = getattr(file, axis)
        if axis == "source" and items is None:
            items = [protocol.source]
        found = []
        for i, item in enumerate(items):
            try:
                found.append(words.parse(item, axis, table))
            except words.WordError as error:
                report((axis, i), str(error))
        parsed[axis] = tuple(found)
        _check_values(axis, found, len(items), report)
    for axis in ("fraction", "seed", "pretraining_seed"):
        _check_values(axis, getattr(file, axis), len(getattr(file, axis)), report)
    for i, fraction in enumerate(file.fraction):
        if not 0 < fraction <= 1:
            report(("fraction", i), f"fraction {fraction} is not a share of the labels in (0, 1]")
    ladder, levels = parse_sparsity(file.sparsity, protocol, iterative=_iterative(parsed["pruner"]), report=report)
    values = cells.Axes(
        words={axis: parsed[axis] for axis in TABLES if axis != "evaluate"},
        levels=levels,
        fraction=tuple(file.fraction),
        seed=tuple(file.seed),
        pretraining_seed=tuple(file.pretraining_seed),
        evaluate=parsed["evaluate"],
        ladder=ladder,
    )
    return protocol, values


def _iterative(pruners: Sequence[Word]) -> bool:
    return any(TABLES["pruner"][pruner.name].iterative for pruner in pruners)


def _check_values(axis: str, values: Sequence[Any], given: int, report: Report) -> None:
    if given == 0:
        report((axis,), f"{axis} is empty: give at least one value, or leave the line out for the default")
    seen = set()
    for i, value in enumerate(values):
        if value in seen:
            report((axis, i), f"{axis} names {value} twice; every cell would be there twice")
        seen.add(value)


def parse_sparsity(
    value: Any, protocol: Protocol, *, iterative: bool, report: Report
) -> tuple[Ladder, tuple[cells.Level, ...]]:
    """Ladder and levels of the `sparsity` field; published roundings to four decimals count as their round."""
    ladder, levels = protocol.ladder, []
    if isinstance(value, Mapping):
        unknown = set(value) - {"rate", "points", "rounds"}
        if unknown or "rounds" not in value or ("rate" in value and "points" in value):
            report(
                ("sparsity",),
                "sparsity is a list of fractions, or {rate: 0.2, rounds: [...]}, or {points: 0.1, rounds: [...]}",
            )
            return ladder, ()
        try:
            if "rate" in value or "points" in value:
                of = "survivors" if "rate" in value else "original"
                ladder = Ladder(of=of, rate=float(value.get("rate", value.get("points"))))
        except (TypeError, ValueError) as error:
            report(("sparsity",), f"sparsity ladder: {error}")
        items = _as_list(value["rounds"])
        for i, k in enumerate(items):
            if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k <= ladder.rounds():
                report(("sparsity", "rounds", i), f"round {k!r} is not a whole number from 0 to {ladder.rounds()}")
            else:
                levels.append(cells.Level(ladder.sparsity(k), k))
    else:
        items = _as_list(value)
        for i, item in enumerate(items):
            if isinstance(item, bool) or not isinstance(item, int | float) or not 0 <= item < 1 or math.isnan(item):
                report(("sparsity", i), f"sparsity {item!r} is not a fraction in [0, 1)")
                continue
            level = nearest_level(float(item), ladder)
            if level.round is None and iterative:
                near = min(range(ladder.rounds() + 1), key=lambda k: abs(ladder.sparsity(k) - item))
                report(
                    ("sparsity", i),
                    f"sparsity {item} is off the ladder that iterative pruners follow; the nearest rung is "
                    f"round {near} ({ladder.sparsity(near):.4f}). "
                    f"Write sparsity: {{rate: {ladder.rate}, rounds: [0, {near}]}}",
                )
            levels.append(level)
    _check_values("sparsity", [level.sparsity for level in levels], len(items), report)
    return ladder, tuple(levels)


def nearest_level(sparsity: float, ladder: Ladder) -> cells.Level:
    """The round whose sparsity equals this one as published, to four decimals; else a level off the ladder."""
    for k in range(ladder.rounds() + 1):
        if abs(ladder.sparsity(k) - sparsity) <= 5.1e-5:
            return cells.Level(ladder.sparsity(k), k)
        if ladder.sparsity(k) > sparsity + 1e-3:
            break
    return cells.Level(sparsity, None)


def _known(where: Where) -> str:
    """What a grid may hold in place of an unknown field."""
    return words.suggestion(".".join(map(str, where)), GridFile.model_fields)


def schema() -> str:
    """JSON schema of grid files, for editors."""
    return json.dumps(GridFile.model_json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":  # python -m bench.grid > grids/schema.json
    print(schema(), end="")
