"""What a reader sees of each table: its columns in reading order, without those that say nothing here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.spec import AXES

Value = str | int | float | tuple[float, float] | None
# Columns of these kinds are set right-aligned.
NUMERIC = ("integer", "axis", "decimal", "signed", "interval", "p", "hours")
FILES = {"leaderboard": "leaderboards/", "overall": "leaderboards/overall.csv", "missing": "missing.csv"}
_TEXTS = ("text", "label", "flag")
# A choice among more levels than this is no easier than typing.
_MAX_CHOICES = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a view. An interval is made of the columns `name` (its lower limit) and `high`."""

    name: str
    heading: str
    kind: str
    high: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Rows of a table for reading, column by column; n_rows counts the table's.

    constant: axes with one level, which need no column. blank: columns without any value.
    choices: indices of the columns whose levels a reader may choose among.
    """

    name: str
    columns: Sequence[Column]
    values: Sequence[Sequence[Value]]
    n_rows: int
    constant: Sequence[tuple[str, str]]
    blank: Sequence[str]
    choices: Sequence[int]

    @property
    def file(self) -> str:
        """Where the whole table is, below the folder of the analysis; a folder where it is in several files."""
        return FILES.get(self.name, f"tables/{self.name}.csv")

    def rows(self, limit: int) -> list[list[str]]:
        """The first rows as text."""
        kinds = [column.kind for column in self.columns]
        first = zip(*(values[:limit] for values in self.values), strict=True)
        return [[text(kind, value) for kind, value in zip(kinds, row, strict=True)] for row in first]


def text(kind: str, value: Value) -> str:
    """A value as it is shown; blanks are empty."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, tuple):
        return f"[{value[0]:.4f}, {value[1]:.4f}]"
    if kind == "integer":
        return f"{value:,.0f}"
    if kind == "p":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    if kind == "axis":
        return f"{value:.0f}" if value == int(value) else f"{value:.4g}"
    return {"signed": f"{value:+.4f}", "hours": f"{value:.2f}"}.get(kind, f"{value:.4f}")


def view(name: str, table: pd.DataFrame, columns: Sequence[Column], *, limit: int) -> View:
    """The first `limit` rows of a table."""
    constant: list[tuple[str, str]] = []
    blank: list[str] = []
    shown: list[Column] = []
    values: list[list[Value]] = []
    for column in columns:
        found = _values(column, table.head(limit))
        # Empty stands for "averaged over" in axes that some rows have.
        is_axis = column.name in (*AXES, "grid", "metric", "selection", "unit", "axis")
        if len(table) > 1 and is_axis and table[column.name].nunique(dropna=False) == 1:
            if found[0] not in (None, ""):
                constant.append((column.heading, text(column.kind, found[0])))
        elif len(table) and all(value in (None, "") for value in found):
            blank.append(column.heading)
        else:
            shown.append(column)
            values.append(found)
    return View(
        name=name,
        columns=shown,
        values=values,
        n_rows=len(table),
        constant=constant,
        blank=blank,
        choices=[
            i
            for i, (column, found) in enumerate(zip(shown, values, strict=True))
            if column.kind in ("text", "label", "flag", "axis")
            and 2 <= len(set(found)) <= _MAX_CHOICES
            and column.name not in ("note", "reason", "flags")
        ],
    )


def _values(column: Column, table: pd.DataFrame) -> list[Value]:
    """Plain values, None where there is none. Numbers have six decimals, as in the CSV files."""
    found = table[column.name]
    if column.kind == "interval":
        pairs = zip(found.tolist(), table[column.high].tolist(), strict=True)
        return [None if pd.isna(low) or pd.isna(high) else (round(low, 6), round(high, 6)) for low, high in pairs]
    if column.kind in _TEXTS:
        words = {True: "yes", False: "no"} if column.kind == "flag" else {}
        return ["" if pd.isna(item) else str(words.get(item, item)) for item in found.tolist()]
    if column.kind == "axis" and not pd.api.types.is_numeric_dtype(found):
        found = pd.to_numeric(found, errors="coerce")
    return [None if pd.isna(item) else round(float(item), 6) for item in found.tolist()]


def payload(view: View) -> dict[str, Any]:
    """What the page's script reads: text as codes into a list of words, for it repeats."""
    columns = []
    for column, values in zip(view.columns, view.values, strict=True):
        described: dict[str, Any] = {"heading": column.heading, "kind": column.kind}
        if column.kind in _TEXTS:
            words = list(dict.fromkeys(values))
            codes = {word: code for code, word in enumerate(words)}
            columns.append(described | {"words": words, "codes": [codes[value] for value in values]})
        else:
            columns.append(described | {"values": values})
    return {"columns": columns, "choices": list(view.choices)}
