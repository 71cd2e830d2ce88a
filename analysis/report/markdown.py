"""The report as Markdown: the answers, the main tables cut to what fits, and the figures as links."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from analysis.report import methods
from analysis.report.coverage import statuses
from analysis.report.excerpts import excerpts
from analysis.report.figures import Figure, by_kind
from analysis.report.layouts import MAX_LAYOUTS, controls_layouts
from analysis.report.views import NUMERIC, View, view
from analysis.tables import Tables
from analysis.wording import Sentence, count

# A wider cell makes the table unreadable as text.
CELL_WIDTH = 48
MAX_ROWS = 40


def render(tables: Tables, figures: Sequence[Figure], sentences: Sequence[Sentence]) -> str:
    """GitHub-flavoured Markdown, the same text for the same arguments.

    Tables have at most MAX_ROWS rows and name the file with all. Figures are links to their files.
    """
    told = ", ".join(f"{number:,} {status}" for status, number in statuses(tables.rows).items())
    parts = [f"# Transferable tickets: {literal(tables.name)}", f"{count(len(tables.rows), 'planned result')}: {told}."]
    parts.append("## Answers")
    for topic, found in groupby(sentences, key=lambda sentence: sentence.topic):
        parts += [f"### {topic}", "\n".join(map(bullet, found))]
    for excerpt in excerpts(tables):
        if len(excerpt.rows):
            shown = view(excerpt.name, excerpt.rows, excerpt.columns, limit=MAX_ROWS)
            parts += [f"## {excerpt.title}", grid(shown), _about(shown, excerpt.n_rows, excerpt.file)]
    parts += _controls(tables)
    parts += _pictures(figures)
    parts += ["## Methods", *(f"**{title}.** {literal(text)}" for title, text in methods.NOTES)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _controls(tables: Tables) -> Iterator[str]:
    """A table in the papers' layout for each of the first settings with controls."""
    found = controls_layouts(tables.controls)
    if found:
        yield "## Tickets and their controls"
    for layout in found[:MAX_LAYOUTS]:
        lines = [["", *layout.heads], ["---"] * (len(layout.heads) + 1)]
        lines += [[label, *cells] for label, cells in layout.rows]
        head, rule, *body = (" | ".join(map(literal, line)) if line[0] != "---" else " | ".join(line) for line in lines)
        yield f"{literal(layout.title)}. {literal(layout.note)}"
        yield "\n".join(f"| {line} |" for line in (head, rule, *body))
    if len(found) > MAX_LAYOUTS:
        yield f"{count(len(found) - MAX_LAYOUTS, 'more setting')}: tables/controls.csv."


def _pictures(figures: Sequence[Figure]) -> Iterator[str]:
    """The first of each kind as pictures, the others as links."""
    numbering = itertools.count(1)
    if figures:
        yield "## Figures"
    for title, shown, others in by_kind(figures):
        yield f"### {title}"
        for figure, number in zip(shown, numbering, strict=False):
            numbers = f" [Its numbers]({address(figure.csv)})." if figure.csv else ""
            yield f"![{literal(figure.title)}]({address(figure.file)})"
            yield f"**Figure {number}.** {literal(figure.caption)}{numbers}"
        yield "\n".join(f"- [{literal(figure.title)}]({address(figure.file)})" for figure in others)


def bullet(sentence: Sentence) -> str:
    """A list item, its points below it."""
    lines = [f"- {literal(sentence.lead)}", *(f"  - {literal(point)}" for point in sentence.points)]
    if sentence.end:
        lines.append(f"  - {literal(sentence.end)}" if sentence.points else f"  {literal(sentence.end)}")
    return "\n".join(lines)


def grid(shown: View) -> str:
    """A table with numbers aligned right; a cell that is too long ends in dots."""
    kinds = ["---:" if column.kind in NUMERIC else "---" for column in shown.columns]
    rows = [[column.heading for column in shown.columns], kinds]
    rows += [[literal(_cut(text)) for text in row] for row in shown.rows(MAX_ROWS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _about(shown: View, n_rows: int, file: str) -> str:
    """What the table leaves out."""
    parts = []
    if shown.constant:
        parts.append(f"The same in every row: {', '.join(' '.join(pair) for pair in shown.constant)}.")
    rows = min(shown.n_rows, MAX_ROWS)
    if rows < n_rows:
        parts.append(f"{rows} of {n_rows:,} rows; all are in {file}.")
    return literal(" ".join(parts))


def _cut(text: str) -> str:
    return text if len(text) <= CELL_WIDTH else f"{text[: CELL_WIDTH - 3]}..."


def literal(text: str) -> str:
    """The text with everything escaped that Markdown or HTML would take as a sign."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$])", r"\\\1", " ".join(text.split()))


def address(name: str) -> str:
    """A file name as the target of a link."""
    return re.sub(r"[^A-Za-z0-9._~=/-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)
