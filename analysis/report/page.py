"""The report as one HTML file that opens from disk: nothing in it is loaded from elsewhere."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from analysis import frame, wording
from analysis.report import coverage, methods
from analysis.report.columns import COLUMNS
from analysis.report.excerpts import reading_order
from analysis.report.figures import Figure, by_kind
from analysis.report.layouts import MAX_LAYOUTS, controls_layouts
from analysis.report.views import FILES, NUMERIC, View, payload, view
from analysis.tables import Tables
from analysis.wording import Sentence

# More rows than a browser sorts at once; the CSV files have them all.
MAX_ROWS = 25_000
# Rows that are there without the script.
FIRST_ROWS = 50
_SECTIONS = (
    ("answers", "Answers"),
    ("run", "What was run"),
    ("leaderboard", "Leaderboard"),
    ("matching", "Matching tickets"),
    ("comparisons", "Comparisons"),
    ("rankings", "Rankings"),
    ("figures", "Figures"),
    ("missing", "Missing and failed"),
    ("protocol", "Protocol"),
    ("methods", "Methods"),
    ("provenance", "Provenance"),
    ("cite", "How to cite"),
)


def render(tables: Tables, figures: Sequence[Figure], sentences: Sequence[Sentence]) -> str:
    """The whole page; the same text for the same arguments.

    Tables of more than MAX_ROWS rows show the first of them and say so.
    """
    environment = Environment(
        loader=PackageLoader("analysis", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        numeric=NUMERIC,
        first_rows=FIRST_ROWS,
        most_layouts=MAX_LAYOUTS,
        count=wording.count,
        worded=wording.axis,
        json=_json,
    )
    environment.filters["unbroken"] = _unbroken
    return environment.get_template("template.html.j2").render(
        tables=tables,
        figures=by_kind(figures),
        topics=[(topic, list(found)) for topic, found in groupby(sentences, key=lambda sentence: sentence.topic)],
        statuses=coverage.statuses(tables.rows),
        levels=coverage.levels(tables.rows),
        coverage=coverage.by_axis(tables.rows),
        views=views(tables),
        layouts=controls_layouts(tables.controls),
        protocol=recipe_tables(tables.protocol),
        facts=[(name, fact(value)) for name, value in tables.provenance.items()],
        files=sorted({"rows.csv", "missing.csv", "leaderboards/", *_files(tables)}),
        notes=methods.NOTES,
        sections=_SECTIONS,
        citation=citation(tables),
    )


def views(tables: Tables) -> dict[str, View]:
    """What is shown of each table, and of the cells without a value."""
    shown = {name: table for name, table in tables.frames() if name in COLUMNS}
    shown["comparisons"] = reading_order(tables.comparisons)
    shown["published"] = tables.published[tables.published["measured_mean"].notna()]
    shown["missing"] = frame.missing(tables.rows)
    return {name: view(name, table, COLUMNS[name], limit=MAX_ROWS) for name, table in shown.items()}


def _files(tables: Tables) -> list[str]:
    return [FILES.get(name, f"tables/{name}.csv") for name, _ in tables.frames() if name != "rows"]


def citation(tables: Tables) -> str:
    """A BibTeX entry that names the grid and the commits."""
    commits = ", ".join(str(commit)[:12] for commit in tables.provenance.get("commits", ())) or "not recorded"
    return (
        "@misc{ticketbench,\n"
        "  title = {ticketbench: a benchmark suite for transferable lottery tickets},\n"
        f"  note = {{Grid {tables.name}, commits {commits}}},\n"
        "}"
    )


RecipeTable = tuple[str, list[str], list[tuple[str, list[str]]]]


def recipe_tables(protocol: Mapping[str, Mapping[str, Any]]) -> list[RecipeTable]:
    """(title, names of the recipes, (field, value in each) rows) for each grid: its settings, then a table per stage.

    A stage is a mapping of recipes; names of nested fields are joined by dots.
    """
    found: list[RecipeTable] = []
    for grid, fields in protocol.items():
        stages = {name: item for name, item in fields.items() if _is_stage(item)}
        settings = {name: item for name, item in fields.items() if name not in stages}
        if settings:
            found.append((grid, ["value"], [(name, [text]) for name, text in _flat(settings).items()]))
        for stage, recipes in stages.items():
            columns = [_flat(recipe) for recipe in recipes.values()]
            rows = dict.fromkeys(name for column in columns for name in column)
            values = [(name, [column.get(name, "") for column in columns]) for name in rows]
            found.append((f"{grid}: {stage}", [str(name) for name in recipes], values))
    return found


def _is_stage(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, Mapping) for item in value.values())


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        parts = (_flat(item, f"{path}.{name}" if path else str(name)) for name, item in value.items())
        return dict(ChainMap(*reversed(list(parts))))
    return {path: fact(value)}


def fact(value: Any) -> str:
    """A value of the provenance or a recipe as text."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {fact(item)}" for name, item in value.items())
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
        return ", ".join(map(fact, sorted(value, key=str) if isinstance(value, set | frozenset) else value))
    if value is None or value is pd.NA:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unbroken(text: str) -> str:
    """Lines break neither before a percent sign nor around an equals sign."""
    return re.sub(r" (?=%)|(?<=\b[np]) (?=[=<])|(?<==|<) ", "\u00a0", text)


def _json(shown: View) -> Markup:
    return htmlsafe_json_dumps(payload(shown), separators=(",", ":"), allow_nan=False)
