"""`python -m bench.perf [NAME...]`: medians of interleaved repeats as a table, and as JSON with --json FILE."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.launch import provenance
from bench.launch.devices import cores
from bench.perf import Unavailable
from bench.store import write_json

BENCHMARKS = ("plan", "analysis", "loader", "mask", "train", "attack", "start")
# What needs more than the suite does: transformers, SLURM's programs.
ON_REQUEST = ("text", "slurm")


def main(arguments: Sequence[str] | None = None) -> int:
    known = ", ".join((*BENCHMARKS, *ON_REQUEST))
    parser = argparse.ArgumentParser(prog="python -m bench.perf", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {known} (default: {', '.join(BENCHMARKS)})")
    parser.add_argument("--repeats", type=int, default=5, help="repeats per case, their median is reported")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run? (not for numbers)")
    parser.add_argument("--json", type=Path, help="also write the rows, with machine and versions, to this file")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in (*BENCHMARKS, *ON_REQUEST)]
    if unknown or options.repeats < 1:
        what = f"no benchmark {unknown[0]!r} (known: {known})" if unknown else "--repeats is at least 1"
        print(f"bench.perf: {what}", file=sys.stderr)
        return 2
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        print(f"bench.perf: --json {options.json}: give a file in a folder that is there", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    code = 0
    try:
        for name in options.names or BENCHMARKS:
            rows += importlib.import_module(f"bench.perf.{name}").run(options.repeats, options.quick)
    except Unavailable as error:
        print(f"bench.perf: {error}", file=sys.stderr)
        code = 2
    if not rows:
        return code
    load = os.getloadavg()[0]
    Console(soft_wrap=True).print(table(rows, load))
    if options.json:
        machine = {"host": platform.node(), "cores": cores(), "load": load, "time": time.time()}
        write_json(options.json, {"rows": rows, "machine": machine, **provenance.code(), **provenance.versions()})
    return code


def table(rows: Sequence[dict[str, Any]], load: float) -> Table:
    """Rows by benchmark, with the range over the repeats where it is known; the ratio is to the benchmark's first case.

    A case without a value could not be measured.
    """
    found = Table(title=f"medians, {cores()} cores, load {load:.1f}", title_justify="left", box=None, pad_edge=False)
    for name in ("benchmark", "case", "value", "range", "unit", "ratio"):
        found.add_column(name, justify="right" if name in ("value", "range", "ratio") else "left")
    for row in rows:
        value, ratio = (number(row[name]) for name in ("value", "ratio"))
        spread = f"{number(row['low'])}-{number(row['high'])}" if row.get("low") is not None else ""
        found.add_row(row["benchmark"], row["case"], value, spread, row["unit"], ratio)
    return found


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
