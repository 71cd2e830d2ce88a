"""Compile rows, leaderboards and curves of a grid from what is finished; may be run at any time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis import files, terminal
from analysis.frame import frame
from analysis.leaderboard import leaderboard
from analysis.plots.curves import curves
from bench import results
from bench.grid import GridError, read, select
from bench.places import default_root
from bench.store import StoreError


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, also for a half-finished grid; 2 with one paragraph on bad input."""
    options = _parse(arguments)
    try:
        grid = read(options.grid, options.override)
        grid = select(grid, options.only)
        out = options.out or options.root / "analysis" / _folder(grid.name, options.only)
        table = frame(results.rows(grid, root=options.root), grid=grid.name)
        board = leaderboard(table)
        written = files.write(table, board, out, figures=options.figures)
    except (GridError, StoreError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"analysis: {error.filename or options.root}: {error.strerror or error}", file=sys.stderr)
        return 2
    console = Console()
    terminal.show(table, board, written, Console(width=max(console.width, terminal.WIDTH)))
    settings = len(curves(table, board))
    if settings > options.figures:
        console.print(f"{options.figures} of {settings} curves are drawn: --figures {settings} draws all.")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    parser.add_argument("grid", type=Path, metavar="GRID", help="grid file, for example grids/demo.yaml")
    parser.add_argument("override", nargs="*", metavar="key=value", help="replaces a field of the grid file")
    parser.add_argument(
        "--root", type=Path, default=default_root(), help="where the artifacts are (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: ROOT/analysis/<grid name>)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=VALUE", help="these cells and their dense references alone"
    )
    parser.add_argument(
        "--figures",
        type=int,
        default=files.MAX_FIGURES,
        metavar="N",
        help="draw at most N curves (default: %(default)s)",
    )
    return parser.parse_intermixed_args(arguments)


def _folder(name: str, only: Sequence[str]) -> str:
    """A selection has a folder of its own, so that it does not replace the analysis of the whole grid."""
    return files.file_name("_", [name, "only", *only]) if only else name


if __name__ == "__main__":
    sys.exit(main())
