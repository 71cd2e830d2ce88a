"""From axes to cells: the product, less what is excluded, with the dense reference of every curve."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench import words
from bench.catalog import IMPOSSIBLE, TABLES
from bench.ladder import Ladder
from bench.spec import AXES, Cell, Word

DENSE = Word("dense")
UNSTRUCTURED = Word("unstructured")


class Level(NamedTuple):
    """A sparsity, and the round of the ladder it is, if it is one."""

    sparsity: float
    round: int | None


class CellsError(ValueError):
    """Axes that do not make a grid; `where` is the place in the file."""

    def __init__(self, where: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """The parsed values of every axis; `words` by axis name."""

    words: Mapping[str, tuple[Word, ...]]
    levels: tuple[Level, ...]
    fraction: tuple[float, ...]
    seed: tuple[int, ...]
    pretraining_seed: tuple[int, ...]
    evaluate: tuple[Word, ...]
    ladder: Ladder


def shown(value: Any) -> str:
    """An axis value as a person writes it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def has(cell: Cell, axis: str, wanted: Any) -> bool:
    """Does the cell have this value of the axis? Words match by name or label, sparsities to four decimals."""
    value = getattr(cell, axis)
    if isinstance(value, Word):
        return _names(axis, str(wanted), value)
    if isinstance(value, float):
        try:
            return abs(value - float(wanted)) <= 5.1e-5
        except ValueError:
            return False
    return str(value) == str(wanted)


def _names(axis: str, pattern: str, value: Word) -> bool:
    """Does the pattern name the word: bare, by its label, or with the same options in another order?"""
    return words.matches(pattern, value) or value == _parsed(axis, pattern)


@functools.lru_cache(maxsize=1000)
def _parsed(axis: str, pattern: str) -> Word | None:
    # Of a bare name `words.matches` has said all.
    if axis not in TABLES or "(" not in pattern:
        return None
    try:
        return words.parse(pattern, axis, TABLES[axis])
    except words.WordError:
        return None


def expand(axes: Axes, *, exclude: Sequence[Mapping[str, Any]] = (), max_cells: int) -> tuple[Cell, ...]:
    """The cells in the order of the axes, dense networks once per curve. Raises CellsError."""
    columns: dict[str, Sequence[Any]] = {
        **{axis: axes.words[axis] for axis in ("architecture", "pretraining", "source", "pruner", "granularity")},
        "level": axes.levels,
        **{axis: axes.words[axis] for axis in ("dataset", "transfer", "objective")},
        **{axis: getattr(axes, axis) for axis in ("fraction", "seed", "pretraining_seed")},
    }
    sizes = {name: len(values) for name, values in columns.items()}
    total = math.prod(sizes.values())
    if total > max_cells:
        product = " x ".join(f"{size} {name}" for name, size in sizes.items() if size > 1)
        raise CellsError(
            (), f"{product} = {total:,} cells; a grid holds at most {max_cells:,}: shorten an axis or split the grid"
        )
    _check_exclude(exclude, axes)
    cells = [
        Cell(
            architecture=a, pretraining=p, source=s, pruner=pruner, granularity=g, sparsity=level.sparsity,
            round=level.round, dataset=d, transfer=t.name, objective=o, fraction=f, seed=seed, pretraining_seed=ps,
        )
        for a, p, s, pruner, g, level, d, t, o, f, seed, ps in itertools.product(*columns.values())
        # A dense network has no sparsity and a network of sparsity 0 is dense: they are added once per curve below.
        if level.sparsity > 0 and pruner.name != "dense"
    ]  # fmt: skip
    wants_dense = any(level.sparsity == 0 for level in axes.levels) or any(p.name == "dense" for p in columns["pruner"])
    if not cells or wants_dense:
        cells += _all_dense(columns)
    cells = _excluded(cells, exclude)
    if not cells:
        raise CellsError(("exclude",), "every cell is excluded; nothing is left to run")
    _check_impossible(cells)
    return tuple(with_dense(cells))


def dense_reference(cell: Cell) -> Cell:
    """The dense cell that this cell's curve starts from."""
    return dataclasses.replace(cell, pruner=DENSE, granularity=UNSTRUCTURED, sparsity=0.0, round=0)


def with_dense(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each curve preceded by its dense reference: "matching" is defined against it."""
    ordered: dict[Cell, None] = {}
    references: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        # A tuple of ids and numbers is far quicker to hash than a cell; words are shared objects here.
        curve = (
            id(cell.architecture), id(cell.pretraining), id(cell.source), id(cell.dataset), cell.transfer,
            id(cell.objective), cell.fraction, cell.seed, cell.pretraining_seed,
        )  # fmt: skip
        if curve not in references:
            references[curve] = dense_reference(cell)
            ordered[references[curve]] = None
        ordered[cell] = None
    return list(ordered)


def cover(cells: Sequence[Cell]) -> list[Cell]:
    """A few of the cells, in their order, among which every pair of axis values that the cells have is found.

    Chosen greedily, the cell with the most pairs not yet found first; of equals the first.
    """
    pairs = [set(itertools.combinations([(axis, shown(getattr(cell, axis))) for axis in AXES], 2)) for cell in cells]
    left, chosen = set().union(*pairs), set()
    while left:
        best = max(range(len(cells)), key=lambda i: len(pairs[i] & left))
        chosen.add(best)
        left -= pairs[best]
    return [cell for i, cell in enumerate(cells) if i in chosen]


def _all_dense(columns: Mapping[str, Sequence[Any]]) -> list[Cell]:
    axes = [columns[axis] for axis in columns if axis not in ("pruner", "granularity", "level")]
    return [
        Cell(
            architecture=a, pretraining=p, source=s, pruner=DENSE, granularity=UNSTRUCTURED, sparsity=0.0, round=0,
            dataset=d, transfer=t.name, objective=o, fraction=f, seed=seed, pretraining_seed=ps,
        )
        for a, p, s, d, t, o, f, seed, ps in itertools.product(*axes)
    ]  # fmt: skip


def _check_exclude(exclude: Sequence[Mapping[str, Any]], axes: Axes) -> None:
    """Every axis and value an exclusion names is one of the grid's. Raises CellsError."""
    known: dict[str, list[Any]] = {axis: list(values) for axis, values in axes.words.items()}
    known["pruner"] = [*known["pruner"], DENSE]
    known["sparsity"] = [level.sparsity for level in axes.levels]
    known |= {axis: list(getattr(axes, axis)) for axis in ("fraction", "seed", "pretraining_seed")}
    for i, entry in enumerate(exclude):
        if not entry:
            raise CellsError(("exclude", i), "an empty exclusion would drop every cell")
        for axis, wanted in entry.items():
            if axis not in known:
                raise CellsError(("exclude", i, axis), f'exclude names no axis "{axis}" {words.suggestion(axis, AXES)}')
            for item in _values(wanted):
                if not any(_equal(axis, value, item) for value in known[axis]):
                    found = ", ".join(shown(value) for value in known[axis])
                    raise CellsError(
                        ("exclude", i, axis), f"exclude: {axis} {item} is not in this grid (known: {found})"
                    )


def _values(wanted: Any) -> list[Any]:
    return wanted if isinstance(wanted, list) else [wanted]


def _equal(axis: str, value: Any, wanted: Any) -> bool:
    if isinstance(value, Word):
        return _names(axis, str(wanted), value)
    if isinstance(value, float) and isinstance(wanted, int | float):
        return abs(value - wanted) <= 5.1e-5
    return str(value) == str(wanted)


def _excluded(cells: list[Cell], exclude: Sequence[Mapping[str, Any]]) -> list[Cell]:
    rules = [[(axis, _values(wanted)) for axis, wanted in entry.items()] for entry in exclude]
    if not rules:
        return cells
    return [
        cell
        for cell in cells
        if not any(all(any(has(cell, axis, item) for item in wanted) for axis, wanted in rule) for rule in rules)
    ]


def _check_impossible(cells: Iterable[Cell]) -> None:
    """Raises CellsError for the first pair of words that cannot be computed together."""
    axes = ("architecture", "pretraining", "source", "pruner", "granularity", "dataset")
    for combination in sorted({tuple(getattr(cell, axis) for axis in axes) for cell in cells}, key=str):
        found = dict(zip(axes, combination, strict=True))
        for left, right, reason in IMPOSSIBLE:
            if all(_is(found[axis], name, options) for axis, name, options in (left, right)):
                a, b = found[left[0]], found[right[0]]
                raise CellsError(
                    (left[0],),
                    f"{left[0]} {a} with {right[0]} {b} is impossible: {reason}. "
                    f"Drop one, or exclude the pair: - {{{left[0]}: {a}, {right[0]}: {b}}}",
                )


def _is(found: Word, name: str, options: Mapping[str, Any]) -> bool:
    return found.name == name and all(found[key] == value for key, value in options.items())
