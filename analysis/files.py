"""What one analysis leaves on disk: tables, figures and a list of them; the same bytes for the same rows."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd

from analysis import frame
from analysis.plots import curves
from analysis.statistics.intervals import CONFIDENCE

CONTENTS = "analysis.json"
DECIMALS = 6
SCHEMA_VERSION = 1
# A figure takes up to a second, and a large grid has hundreds: beyond this many they are drawn on request.
MAX_FIGURES = 60
_FEW_FIGURES = 8


def write(table: pd.DataFrame, board: pd.DataFrame, out: Path, *, figures: int = MAX_FIGURES) -> list[Path]:
    """Write the tables and at most `figures` figures of a `frame` and its `leaderboard` into `out`; returns the paths.

    Settings with the most sparsities are drawn first, of these the ones with the most entries.

    Files that an earlier analysis left there, and this one does not write, are removed: a leaderboard that
    no longer belongs to the grid would be read as if it did. Other files stay. Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    earlier = _listed(out)
    written = [_csv(table[list(frame.COLUMNS)], out / "rows.csv", decimals=None)]
    written.append(_csv(frame.missing(table), out / "missing.csv", decimals=None))
    names = _names("leaderboard", board[["dataset", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    for (dataset, metric), entries in board.groupby(["dataset", "metric"], sort=True):
        written.append(_csv(entries, out / f"{names[dataset, metric]}.csv", decimals=DECIMALS))
    written += _figures(most_telling(curves.curves(table, board), figures), out)
    _contents(table, written, out)
    for name in earlier - {path.name for path in written}:
        (out / name).unlink(missing_ok=True)
    return written


def most_telling(curves: Sequence[curves.Curves], count: int) -> list[curves.Curves]:
    """At most `count` of them, those with the most sparsities and entries, in their order."""
    order = sorted(curves, key=lambda shown: (-shown.entries["sparsity"].nunique(), -len(shown.entries)))[:count]
    chosen = {shown.setting for shown in order}
    return [shown for shown in curves if shown.setting in chosen]


def _csv(table: pd.DataFrame, path: Path, *, decimals: int | None) -> Path:
    """Numbers as numbers, '' for what is missing. The axes always have all their digits: they are names."""
    if decimals is not None:
        measured = [str(name) for name in table.select_dtypes("float64") if name not in frame.ENTRY]
        table = table.assign(**{name: _fixed(table[name], decimals) for name in measured})
    table.to_csv(_aside(path), index=False, lineterminator="\n", na_rep="")
    os.replace(_aside(path), path)
    return path


def _figures(curves: Sequence[curves.Curves], out: Path) -> list[Path]:
    """Draw on all cores."""
    names = _names("curve", (shown.setting for shown in curves))
    paths = [out / f"{names[shown.setting]}.png" for shown in curves]
    if len(paths) < _FEW_FIGURES:
        list(map(_figure, curves, paths))
    else:
        with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(_figure, curves, paths))
    return paths


def _figure(shown: curves.Curves, path: Path) -> None:
    curves.draw(shown, _aside(path))
    os.replace(_aside(path), path)


def _fixed(values: pd.Series[float], decimals: int) -> list[str]:
    return ["" if value != value else f"{value:.{decimals}f}" for value in values.tolist()]


def _aside(path: Path) -> Path:
    """Where a file is made before it takes its place; one that is read while it is written would look complete."""
    return path.with_name(f".{path.name}.{os.getpid()}")


def _names(kind: str, settings: Iterable[tuple[object, ...]]) -> dict[tuple[object, ...], str]:
    """A distinct file name for every setting: its labels, with `-` for what does not belong in a file name."""
    names: dict[tuple[object, ...], str] = {}
    taken: set[str] = set()
    for setting in sorted(settings, key=str):
        stem = name = file_name("_", [kind, *(f"{item:g}" if isinstance(item, float) else item for item in setting)])
        number = 2
        while name.lower() in taken:
            name, number = f"{stem}~{number}", number + 1
        taken.add(name.lower())
        names[setting] = name
    return names


def file_name(separator: str, labels: Iterable[object]) -> str:
    """The labels in one name that every file system takes."""
    return separator.join(re.sub(r"[^A-Za-z0-9._=-]+", "-", str(label)).strip("-") for label in labels)


def _contents(table: pd.DataFrame, written: Iterable[Path], out: Path) -> None:
    """The list that the next analysis of this folder reads, with what the numbers stand for."""
    contents = {
        "schema": SCHEMA_VERSION,
        "grid": sorted(set(table["grid"])),
        "commits": sorted(set(table["commit"]) - {""}),
        "confidence": CONFIDENCE,
        "rows": len(table),
        "files": sorted(path.name for path in written),
    }
    path = out / CONTENTS
    _aside(path).write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    os.replace(_aside(path), path)


def _listed(out: Path) -> set[str]:
    """Names of the leaderboards and curves that an earlier analysis wrote here; none if its list cannot be read."""
    try:
        names = set(map(str, json.loads((out / CONTENTS).read_text(encoding="utf-8"))["files"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if re.fullmatch(r"leaderboard_[^/]*\.csv|curve_[^/]*\.png", name)}
