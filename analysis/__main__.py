"""Leaderboards, tests, figures and a report of what is finished of grids or result files; may be run at any time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console

from analysis import files, terminal
from analysis.collect import collect
from analysis.compiling import compiled
from analysis.join import join, read_csv
from analysis.leaderboard import INTERVALS
from analysis.tables import Tables
from analysis.wins import UnknownTask
from bench.grid import GridError
from bench.places import default_root
from bench.store import Store, StoreError

FORMATS = ("html", "markdown", "latex")


class BadInput(ValueError):
    """What was given cannot be analysed; the message is for the person who gave it."""


class Given(NamedTuple):
    """The frame of all inputs, the name of the analysis, and each grid's protocol."""

    table: pd.DataFrame
    name: str
    protocols: dict[str, dict[str, object]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, also for a half-finished grid; 2 with one paragraph on bad input."""
    options = _parse(arguments)
    console = Console()
    console = Console(width=max(console.width, terminal.WIDTH))
    try:
        paths, overrides = _split(options.inputs)
        given = _read(paths, overrides, options)
        store = Store(options.root) if given.protocols else None
        tables = _compiled(given, store, options)
        out = options.out or _folder(paths, given, options)
        formats = options.format or ["html"]
        written = files.write(tables, out, store=store, figures=options.figures, formats=formats)
    except (GridError, StoreError, BadInput) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"analysis: {error.filename or options.root}: {error.strerror or error}", file=sys.stderr)
        return 2
    terminal.show(tables, written.answers, written.paths, console)
    if written.figures > options.figures:
        console.print(f"At most {options.figures} figures of a kind are drawn: --figures {written.figures} draws all.")
    return 0


def _compiled(given: Given, store: Store | None, options: argparse.Namespace) -> Tables:
    stated = _margins(options.margin)
    try:
        return compiled(
            given.table,
            name=given.name,
            store=store,
            protocols=given.protocols,
            stated=stated,
            tasks=options.tasks.split(",") if options.tasks else None,
            interval=options.interval,
        )
    except UnknownTask as error:
        raise BadInput(f"--{error}") from None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="grid files (grids/demo.yaml), rows.csv of other analyses, key=value to replace a field of the grids",
    )
    parser.add_argument(
        "--root", type=Path, default=default_root(), help="where the artifacts are (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, help="where to write (default: ROOT/analysis/<name>, or beside the CSV file)"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=VALUE", help="these cells and their dense references alone"
    )
    parser.add_argument("--format", action="append", choices=FORMATS, help="repeat for several (default: html)")
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="METRIC=VALUE",
        help="largest loss against dense that counts as matching, in the metric's unit (accuracy=0.01)",
    )
    parser.add_argument("--tasks", metavar="SET,SET", help="the data sets a universal ticket must match (default: all)")
    parser.add_argument(
        "--interval", choices=INTERVALS, default=INTERVALS[0], help="of the means over seeds (default: %(default)s)"
    )
    parser.add_argument(
        "--figures",
        type=int,
        default=files.MAX_FIGURES,
        metavar="N",
        help="draw at most N figures of a kind (default: %(default)s)",
    )
    parser.add_argument("--no-cache", action="store_true", help="read every artifact again")
    return parser.parse_intermixed_args(arguments)


def _split(inputs: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files and overrides."""
    paths = [Path(given) for given in inputs if "=" not in given or Path(given).exists()]
    overrides = [given for given in inputs if Path(given) not in paths]
    if not paths:
        raise BadInput(f"no grid and no rows.csv among {', '.join(inputs)}; give for example grids/demo.yaml")
    if overrides and all(path.suffix == ".csv" for path in paths):
        raise BadInput(f"{overrides[0]} replaces a field of a grid, but only CSV files were given")
    return paths, overrides


def _read(paths: Sequence[Path], overrides: Sequence[str], options: argparse.Namespace) -> Given:
    tables, names, protocols = [], [], {}
    for path in paths:
        if path.suffix == ".csv":
            try:
                tables.append(read_csv(path))
            except ValueError as error:
                raise BadInput(str(error)) from None
            names.append(path.parent.name if path.stem == "rows" else path.stem)
            continue
        found = collect(path, root=options.root, overrides=overrides, only=options.only, cache=not options.no_cache)
        tables.append(found.table)
        names.append(found.name)
        protocols[found.name] = found.protocol
    if options.only and not protocols:
        raise BadInput("--only selects cells of a grid, but only CSV files were given")
    try:
        return Given(join(tables), "+".join(dict.fromkeys(names)) or "rows", protocols)
    except ValueError as error:
        raise BadInput(str(error)) from None


def _margins(given: Sequence[str]) -> dict[str, float]:
    stated = {}
    for text in given:
        # A metric may carry options: pgd_accuracy(steps=50)=0.01.
        metric, _, value = text.rpartition("=")
        try:
            stated[metric] = float(value)
        except ValueError:
            stated[metric] = -1.0
        if not metric or not 0 < stated[metric] < float("inf"):
            raise BadInput(f"--margin {text}: write metric=value with a positive number, for example accuracy=0.01")
    return stated


def _folder(paths: Sequence[Path], given: Given, options: argparse.Namespace) -> Path:
    """A selection has a folder of its own, so that it does not replace the analysis of the whole grid."""
    if not given.protocols:
        return paths[0].parent / "analysis"
    name = files.file_name("_", [given.name, "only", *options.only]) if options.only else given.name
    return Path(options.root / "analysis" / name)


if __name__ == "__main__":
    sys.exit(main())
