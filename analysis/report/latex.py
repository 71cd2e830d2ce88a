r"""LaTeX tables for papers; they need \usepackage{booktabs}."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from analysis.report.excerpts import excerpts, top
from analysis.report.views import NUMERIC, Column, view
from analysis.statistics.intervals import CONFIDENCE
from analysis.tables import Tables

TOP = 10
MAX_ROWS = 40
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    # After the end of a row LaTeX reads a bracket as the row's option.
    "[": "{[}",
    "]": "{]}",
    **{sign: f"\\{sign}" for sign in "_%&#${}"},
}
_INTERVALS = f"Intervals: {CONFIDENCE * 100:g} % Student t."
_CAPTIONS = {
    "maxima": "Sparsest ticket of each curve that is shown to match its dense network, all denser levels included.",
    "comparisons": f"Paired differences, averaged over tickets, of the second level to the reference. {_INTERVALS}",
}


def tables(tables: Tables) -> dict[str, str]:
    """File name -> a table environment with caption and label.

    A leaderboard per data set and metric (the best TOP entries and the best dense network), `maxima.tex` and
    `comparisons.tex`; a table without rows has no file.
    """
    found: dict[str, str] = {}
    shown = {excerpt.name: excerpt for excerpt in excerpts(tables)}
    columns = [column for column in shown["leaderboard"].columns if column.name not in ("dataset", "metric")]
    for (dataset, metric), entries in tables.leaderboard.groupby(["dataset", "metric"], sort=True):
        caption = f"Best entries on {dataset} by {metric}, and the best dense network. {_INTERVALS}"
        name = stem = _slug(f"leaderboard_{dataset}_{metric}")
        number = 2
        while f"{name}.tex" in found:
            name, number = f"{stem}~{number}", number + 1
        found[f"{name}.tex"] = table(top(entries, TOP), columns, caption=caption, label=name, n_rows=len(entries))
    for name, caption in _CAPTIONS.items():
        excerpt = shown[name]
        if len(excerpt.rows):
            rows = excerpt.rows
            found[f"{name}.tex"] = table(rows, excerpt.columns, caption=caption, label=name, n_rows=len(rows))
    return found


def table(rows: pd.DataFrame, columns: Sequence[Column], *, caption: str, label: str, n_rows: int) -> str:
    """A table environment of at most MAX_ROWS rows; the caption says what every row shares and how many there are."""
    shown = view(label, rows, columns, limit=MAX_ROWS)
    about = [caption]
    if shown.constant:
        about.append(f"Throughout: {', '.join(' '.join(pair) for pair in shown.constant)}.")
    written = min(len(rows), MAX_ROWS)
    if written < n_rows:
        about.append(f"{written} of {n_rows} rows.")
    kinds = [column.kind for column in shown.columns]
    lines = [[escape(column.heading) for column in shown.columns]]
    lines += [[_cell(kind, text) for kind, text in zip(kinds, row, strict=True)] for row in shown.rows(MAX_ROWS)]
    body = [f"{' & '.join(line)} \\\\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            r"\small",
            f"\\caption{{{escape(' '.join(about))}}}",
            f"\\label{{tab:{label.replace('_', '-')}}}",
            f"\\begin{{tabular}}{{{''.join('r' if kind in NUMERIC else 'l' for kind in kinds)}}}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """The text as LaTeX prints it."""
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))


def _cell(kind: str, text: str) -> str:
    """Numbers with a minus sign, not a hyphen."""
    escaped = escape(text)
    return re.sub(r"-(?=\d)", "$-$", escaped) if kind in NUMERIC else escaped


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", text).strip("-")
