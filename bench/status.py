"""`python -m bench.status GRID`: what is done, what runs, what waits, what failed and why. It only reads."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from bench import board, grid, overview, places
from bench.launch import controller, records
from bench.launch.observed import Slurm, ask, tail
from bench.overview import View
from bench.plan import Plan, plan
from bench.store import Store, StoreError

WATCH_S, SHORTEST_S = 30.0, 5.0
# The controller is asked no more often than this, however often the store is read.
ASK_S = 30.0
TAIL_LINES, TAIL_BYTES = 50, 65536
# Of output that is read by no terminal.
WIDTH = 132


class Refused(Exception):
    """What was asked for cannot be shown; the message says why and what can."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.status", description=__doc__)
    found.add_argument("grid", type=Path, help="grid file, for example grids/demo.yaml")
    found.add_argument("overrides", nargs="*", metavar="key=value", help="override a field of the grid file")
    found.add_argument("--only", action="append", default=[], metavar="axis=value", help="only these cells")
    shown = found.add_mutually_exclusive_group()
    shown.add_argument("--failed", action="store_true", help="every failed or lost stage, with its error and log")
    shown.add_argument("--logs", metavar="KEY", help="the end of a stage's log; the beginning of its key is enough")
    shown.add_argument("--watch", nargs="?", const=WATCH_S, type=seconds, metavar="SECONDS", help="until it is over")
    shown.add_argument("--json", action="store_true", help="everything as one JSON document")
    found.add_argument("--root", type=Path, default=places.default_root(), help="artifacts (default: %(default)s)")
    return found


def seconds(text: str) -> float:
    """The value of --watch."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds; put the grid before --watch") from None
    if not value >= SHORTEST_S:
        raise argparse.ArgumentTypeError(f"{text}: give at least {SHORTEST_S:.0f} seconds, to spare the file server")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 where nothing could be shown."""
    options = parser().parse_intermixed_args(arguments)
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    try:
        status(options, console)
    except (grid.GridError, StoreError, Refused) as error:
        print(f"bench.status: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # `| head` has read enough; Python would complain when it flushes the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def status(options: argparse.Namespace, console: Console) -> None:
    planned = plan(grid.select(grid.read(options.grid, options.overrides), options.only))
    store = Store(options.root)
    if options.logs is not None:
        print("\n".join(logs(planned, store, options.logs)))
        return
    if options.watch is not None:
        watch(planned, store, options.watch, console)
        return
    found = overview.view(planned, store, ask(store.root))
    if options.json:
        print(json.dumps(document(found), indent=1))
    elif options.failed:
        lost = [found.states[key].job for key in found.keys("unknown")]
        explained = controller.accounting(lost) if found.slurm.jobs is not None else {}
        # No line is broken: paths are there to be copied.
        console.print(board.failures(found, explained), soft_wrap=True)
    else:
        page = board.page(found, width=console.width, notice=notice(found.slurm))
        console.print(page, soft_wrap=not console.is_terminal)


def notice(slurm: Slurm, answered: float | None = None) -> str:
    """A line where SLURM gave no answer; `answered` is when it last did."""
    if slurm.jobs is not None:
        return ""
    since = f" since {time.strftime('%H:%M:%S', time.localtime(answered))}" if answered else ""
    return f"SLURM: no answer{since} ({slurm.problem})"


def watch(planned: Plan, store: Store, every_s: float, console: Console) -> None:
    """Show the plan again and again, until nothing is left to wait for: in place on a terminal, else a line a time."""
    slurm, answered, again = ask(store.root), None, True
    due = time.monotonic() + ASK_S
    with Live(console=console, auto_refresh=False) if console.is_terminal else contextlib.nullcontext() as live:
        while True:
            if slurm.jobs is not None:
                answered = slurm.time
            found, told = overview.view(planned, store, slurm), notice(slurm, answered)
            if live is not None:
                live.update(board.page(found, width=console.width, notice=told), refresh=True)
            else:
                print(board.line(found, told), flush=True)
            if over(found, fresh=again):
                return
            time.sleep(every_s)
            again = time.monotonic() >= due
            slurm = ask(store.root, before=None if again else slurm)
            if again:
                # Jitter: several who watch do not ask at the same moment.
                due = time.monotonic() + ASK_S * random.uniform(1.0, 1.3)


def over(found: overview.View, *, fresh: bool) -> bool:
    """Is everything done, or, as a `fresh` answer of SLURM says, nothing queued or running that could change it?"""
    if len(found.keys("done")) == len(found.states):
        return True
    waits = found.keys("running", "queued", "waiting", "unknown") or found.live()
    return fresh and found.slurm.jobs is not None and not waits


def logs(planned: Plan, store: Store, prefix: str) -> list[str]:
    """The end of a stage's log, or of the SLURM tasks it was given to, under their paths. Raises Refused."""
    found = [key for key in planned.stages if key.startswith(prefix)]
    if not found:
        raise Refused(f"--logs {prefix}: no stage of {planned.grid.path} has this key; --failed and --json list keys")
    if len(found) > 1:
        shown = [f"  {key} {overview.describe(planned.stages, key)}" for key in found[: board.ROWS]]
        rest = [f"  ... and {len(found) - board.ROWS} more"] if len(found) > board.ROWS else []
        raise Refused("\n".join([f"--logs {prefix}: {len(found)} stages have this key:", *shown, *rest]))
    log = store.log(found[0])
    paths = [log] if tail(log, 1) else task_logs(store.root, found[0])
    if not paths:
        raise Refused(f"{found[0]} has not been started: neither {log} nor a log of a SLURM task is there")
    return [line for path in paths for line in (f"==> {path} <==", *last_lines(path))]


def task_logs(root: Path, key: str) -> list[Path]:
    """Logs of the tasks that were given the stage, those of ended ones too, the latest last."""
    arrays = [
        array
        for submission in records.submissions(root)
        for path in sorted(submission.folder.glob("*/array.json"))
        if (array := records.read_array(path)) is not None
    ]
    return [
        path
        for array in arrays
        for index, keys in enumerate(array.keys)
        if key in keys
        # <job>_<process>_log.out, as submitit names it.
        for path in sorted(array.folder.glob(f"{array.id(index)}_*_log.out"))
    ]


def last_lines(path: Path) -> list[str]:
    lines = tail(path, TAIL_BYTES).decode(errors="replace").splitlines()
    return lines[-TAIL_LINES:]


def document(found: View) -> dict[str, Any]:
    """Everything there is to say, in names that stay."""
    effort, blocking = overview.effort(found), overview.blocking(found)
    progress = {row.key: row for row in overview.running(found, found.keys("running"))}
    stages = []
    for key, state in found.states.items():
        row = progress.get(key)
        stages.append(
            {
                "key": key,
                "kind": found.plan.stages[key].kind,
                "what": overview.describe(found.plan.stages, key),
                "state": state.name,
                "reason": state.reason,
                "job": state.job or None,
                "node": state.node or None,
                "epoch": row.epoch if row else None,
                "epochs": row.epochs if row else None,
                "seconds": row.seconds if row else None,
                "left_seconds": row.left_s if row else None,
                "measured": dict(row.measured) if row else {},
                "failure": {name: value for name, value in (state.failure or {}).items() if name != "stage"} or None,
                "ancestor": state.ancestor or None,
                "blocks": blocking[key],
                "log": str(found.store.log(key)),
            }
        )
    return {
        "format": 1,
        "grid": found.plan.grid.name,
        "path": str(found.plan.grid.path),
        "root": str(found.store.root),
        "time": found.time,
        "slurm": {"asked": found.slurm.time, "answered": found.slurm.jobs is not None, "problem": found.slurm.problem},
        "local": found.seen.local,
        "states": overview.summary(found),
        "kinds": {kind: dict(row) for kind, row in overview.counts(found).items()},
        "cells": [share._asdict() for share in overview.shares(found)],
        "effort": effort._asdict(),
        "arrays": [
            {
                "job": board.job_id(elements[0]),
                "name": elements[0].array.name,
                "kind": elements[0].array.kind,
                "user": elements[0].array.user,
                "elements": [dataclasses.asdict(element.job) for element in elements if element.job is not None],
            }
            for elements in board.by_array(found.live())
        ],
        "stages": stages,
    }


if __name__ == "__main__":
    sys.exit(main())
