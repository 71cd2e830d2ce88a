"""What one analysis leaves on disk: tables, figures, a report and a list of them; the same bytes for the same rows.

report.html                answers, leaderboards, tests and figures in one file (REPORT.md, latex/*.tex where asked for)
rows.csv, missing.csv      every planned result; what has no value, and why
leaderboards/*.csv         one per data set and metric, and overall.csv
tables/*.csv               matching, maxima, comparisons, ...: `analysis.schema.TABLES`
figures/*.png, *.svg
datapackage.json           what every column means
analysis.json              what the numbers rest on, and the list of files that the next analysis here replaces
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from analysis import frame, schema
from analysis.answers.summary import sentences
from analysis.drawings import Board, Shown, drawings
from analysis.plots import style
from analysis.report import latex, markdown, page
from analysis.report.figures import Figure
from analysis.tables import Tables
from analysis.wording import Sentence
from bench.store import Store

CONTENTS, DATA_PACKAGE = "analysis.json", "datapackage.json"
SCHEMA_VERSION = 2
# Of a number that was measured or computed; the axes always have all their digits: they are names.
SIGNIFICANT_DIGITS = 6
# A figure takes up to a second, and a large grid has hundreds: beyond this many of a kind they are drawn on request.
MAX_FIGURES = 12
_FEW_FIGURES = 8
_FOLDERS = ("leaderboards", "tables", "figures", "latex")
_PLAIN = ("rows.csv", "missing.csv", "report.html", "REPORT.md", DATA_PACKAGE)
_NAMES = frozenset((*frame.COLUMNS, "level_a", "level_b", "tau"))


class Csv(NamedTuple):
    """A table to write. path: below the folder of the analysis; table: its name in `schema.TABLES`."""

    path: str
    table: str
    content: pd.DataFrame
    digits: int | None = SIGNIFICANT_DIGITS


class Written(NamedTuple):
    """What was written, the answers in it, and the largest number of figures of a kind that could be drawn."""

    paths: list[Path]
    answers: list[Sentence]
    figures: int


def write(
    tables: Tables,
    out: Path,
    *,
    store: Store | None = None,
    figures: int = MAX_FIGURES,
    formats: Collection[str] = ("html",),
) -> Written:
    """Write everything into `out`, at most `figures` figures of a kind.

    store: for what is drawn from masks. Files that an earlier analysis left there, and this one does not write, are
    removed: a leaderboard that no longer belongs to the grid would be read as if it did. Other files stay. Raises
    OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    earlier = _listed(out)
    boards = _boards(tables)
    found = list(csvs(tables, boards))
    names = [given.path for given in found]
    for given in found:
        _csv(given, out / given.path)
    chosen = drawings(tables, boards, store, most=figures)
    drawn = _figures(chosen.shown, out)
    names += [f"figures/{figure.name}.{suffix}" for figure in drawn for suffix in ("png", "svg")]
    package = schema.data_package(tables.name, [given[:3] for given in found])
    texts = {DATA_PACKAGE: json.dumps(package, indent=1) + "\n"}
    answers = sentences(tables)
    if "html" in formats:
        texts["report.html"] = page.render(tables, drawn, answers)
    if "markdown" in formats:
        texts["REPORT.md"] = markdown.render(tables, drawn, answers)
    if "latex" in formats:
        texts |= {f"latex/{name}": text for name, text in latex.tables(tables).items()}
    names += texts
    texts[CONTENTS] = json.dumps(_contents(tables, names), indent=1) + "\n"
    for name, text in texts.items():
        _text(out / name, text)
    for name in earlier - set(names):
        (out / name).unlink(missing_ok=True)
    return Written([out / name for name in names], answers, chosen.available)


def csvs(tables: Tables, boards: Mapping[Board, str]) -> Iterator[Csv]:
    """Every table with its place."""
    yield Csv("rows.csv", "rows", tables.rows, None)
    yield Csv("missing.csv", "rows", frame.missing(tables.rows), None)
    for (dataset, metric), entries in tables.leaderboard.groupby(["dataset", "metric"], sort=True):
        yield Csv(boards[str(dataset), str(metric)], "leaderboard", entries)
    for name, content in tables.frames():
        if name not in ("rows", "leaderboard"):
            yield Csv(f"{'leaderboards' if name == 'overall' else 'tables'}/{name}.csv", name, content)


def _boards(tables: Tables) -> dict[Board, str]:
    """The file of each leaderboard, by data set and metric."""
    found = tables.leaderboard[["dataset", "metric"]].drop_duplicates()
    names = distinct_names(found.itertuples(index=False, name=None), taken=("overall",))
    return {(str(dataset), str(metric)): f"leaderboards/{name}.csv" for (dataset, metric), name in names.items()}


def _csv(given: Csv, path: Path) -> None:
    """Numbers as numbers, '' for what is missing."""
    table = given.content
    if given.digits is not None:
        measured = [str(name) for name in table.select_dtypes("float64") if name not in _NAMES or name == "value"]
        table = table.assign(**{name: _rounded(table[name], given.digits) for name in measured})
    path.parent.mkdir(exist_ok=True)
    table.to_csv(_aside(path), index=False, lineterminator="\n", na_rep="")
    os.replace(_aside(path), path)


def _rounded(values: pd.Series[float], digits: int) -> list[str]:
    return ["" if value != value else f"{value:.{digits}g}" for value in values.tolist()]


def _figures(shown: Sequence[Shown], out: Path) -> list[Figure]:
    """Draw on all cores; in the order given."""
    names = distinct_names((drawing.drawing.kind, *drawing.drawing.setting) for drawing in shown)
    stems = [names[drawing.drawing.kind, *drawing.drawing.setting] for drawing in shown]
    draw = partial(_figure, out / "figures")
    if shown:
        (out / "figures").mkdir(exist_ok=True)
    if len(shown) < _FEW_FIGURES:
        return list(map(draw, shown, stems))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(draw, shown, stems))


def _figure(folder: Path, shown: Shown, name: str) -> Figure:
    drawn = shown.drawing.draw()
    png, vector = style.save(drawn, _aside(folder / name), name=name)
    text = vector.read_text(encoding="utf-8")
    for path in (png, vector):
        os.replace(path, folder / f"{name}{path.suffix}")
    return Figure(name=name, caption=str(drawn.get_label()), svg=text, csv=shown.csv)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    _aside(path).write_text(text, encoding="utf-8")
    os.replace(_aside(path), path)


def _aside(path: Path) -> Path:
    """Where a file is made before it takes its place; one that is read while it is written would look complete."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def distinct_names(
    settings: Iterable[tuple[object, ...]], taken: Collection[str] = ()
) -> dict[tuple[object, ...], str]:
    """A distinct file name for every setting: its labels, with `-` for what does not belong in a file name."""
    names: dict[tuple[object, ...], str] = {}
    used = set(taken)
    for setting in sorted(set(settings), key=str):
        labels = (f"{item:g}" if isinstance(item, float) else item for item in setting)
        stem = name = file_name("_", (label for label in labels if label != ""))
        number = 2
        while name.lower() in used:
            name, number = f"{stem}~{number}", number + 1
        used.add(name.lower())
        names[setting] = name
    return names


def file_name(separator: str, labels: Iterable[object]) -> str:
    """The labels in one name that every file system takes."""
    name = separator.join(re.sub(r"[^A-Za-z0-9._=-]+", "-", str(label)).strip("-") for label in labels)
    # With a suffix and the process's number beside it; file systems take 255 bytes.
    return name[:200]


def _contents(tables: Tables, names: Iterable[str]) -> dict[str, object]:
    return {"schema": SCHEMA_VERSION, "rows": len(tables.rows), **tables.provenance, "files": sorted(names)}


def _listed(out: Path) -> set[str]:
    """What an earlier analysis wrote here; nothing if its list cannot be read."""
    try:
        names = set(map(str, json.loads((out / CONTENTS).read_text(encoding="utf-8"))["files"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    below = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[^/]+\.(?:csv|png|svg|tex)")
    return {name for name in names if name in _PLAIN or (below.fullmatch(name) and ".." not in name)}
