"""What a person sees of a plan: tables of its stages, its axes, what runs, what failed and why. No torch."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench import overview
from bench.launch.display import duration
from bench.launch.observed import EXECUTING, Element
from bench.launch.states import STATES
from bench.overview import View

# Rows of what runs and of arrays; the rest is counted.
ROWS = 20
WIDE = 120
# Columns that are there even when they hold zeros.
_ALWAYS = ("done", "running", "queued", "failed")


def page(found: View, *, width: int, notice: str = "") -> Group:
    """Everything at a glance; `notice` is a line on SLURM where it gave no answer."""
    parts: list[RenderableType] = [Text(overall(found), style="bold")]
    parts += [Text(line) for line in [effort(found)] if line]
    parts += [Text(line, style="yellow") for line in (notice, *remarks(found)) if line]
    # What may need somebody first: a small terminal cuts off the end while it is redrawn.
    for section in (kinds(found, width), running(found, width), causes(found), arrays(found), axes(found)):
        if section is not None:
            parts += [Text(), section]
    return Group(*parts)


def overall(found: View) -> str:
    """Stages and cells done."""
    done = {key for key, state in found.states.items() if state.name == "done"}
    cells = sum(done.issuperset(stages.evaluate) for stages in found.plan.cells)
    return (
        f"{found.plan.grid.name}: {len(done):,} of {len(found.states):,} stages done, "
        f"{cells:,} of {len(found.plan.cells):,} cells"
    )


def effort(found: View) -> str:
    """Hours so far and time left, as far as they are known."""
    spent = overview.effort(found)
    about = "" if spent.exact else "about "
    parts = [
        f"{about}{hours:,.{2 if hours < 10 else 0}f} {unit} so far"
        for hours, unit in ((spent.gpu_hours, "GPU-hours"), (spent.core_hours, "core-hours"))
        if hours
    ]
    if spent.left_s is not None:
        parts.append(f"about {duration(spent.left_s)} left at the pace of what runs now")
    return "; ".join(parts)


def remarks(found: View) -> list[str]:
    """Lines on what the tables cannot show: a local run, why stages wait, what is not known."""
    lines = []
    if not found.store.root.is_dir():
        lines.append(f"{found.store.root} does not exist yet; --root or TICKETBENCH_ROOT says where results are")
    if (local := found.seen.local) is not None:
        lines.append(
            f"a local run of grid {local['grid']} computes here (process {local['pid']} on {local['host']} since "
            f"{local['since']}); only its longer stages are seen as running"
        )
    for name in ("queued", "unknown"):
        reasons = Counter(found.states[key].reason for key in found.keys(name))
        told = [f"{count:,} {reason}" for reason, count in reasons.most_common() if reason]
        if told:
            lines.append(f"{name}: {'; '.join(told)}")
    return lines


def kinds(found: View, width: int) -> Table:
    """Stages by kind and state, with a bar where there is room; states that no stage is in are left out."""
    counted, total = overview.counts(found), overview.summary(found)
    names = [name for name in STATES if total[name] or name in _ALWAYS]
    table = Table(box=None, pad_edge=False)
    table.add_column("stage")
    for name in (*names, "total"):
        table.add_column(name, justify="right", overflow="fold")
    # rich puts two spaces between columns; 8 is the longest word in the first.
    room = min(30, width - 10 - sum(max(len(name), len(f"{total.get(name, 0):,}")) + 2 for name in (*names, "total")))
    if room >= 8:
        table.add_column("")
    for kind, row in counted.items():
        cells: list[RenderableType] = [kind, *(f"{row[name]:,}" for name in names), f"{row.total():,}"]
        if room >= 8:
            cells.append(ProgressBar(total=row.total(), completed=row["done"], width=room))
        table.add_row(*cells)
    return table


def axes(found: View) -> Table | None:
    """Cells by value of every axis that has several."""
    shares = overview.shares(found)
    if not shares:
        return None
    failed = any(share.failed for share in shares)
    table = Table(box=None, pad_edge=False)
    for name in ("axis", "value", "cells done", *(["failed"] if failed else []), "total", ""):
        table.add_column(name, justify="left" if name in ("axis", "value", "") else "right", overflow="fold")
    last = ""
    for share in shares:
        numbers = [share.done, *([share.failed] if failed else []), share.total]
        bar = ProgressBar(total=share.total, completed=share.done, width=20)
        # Words are data: "[...]" in them is no markup.
        words = (Text(share.axis if share.axis != last else ""), Text(share.value))
        table.add_row(*words, *(f"{number:,}" for number in numbers), bar)
        last = share.axis
    return table


def running(found: View, width: int) -> RenderableType | None:
    """The stages that run: how far they are, and where."""
    keys = found.keys("running")
    if not keys:
        return None
    table = Table(box=None, pad_edge=False)
    rows = list(overview.running(found, keys[:ROWS]))
    measured = ["validation"] if any(row.measured for row in rows) else []
    for name in ("running", "what", "epoch", *measured, "for", "left", "node", "job"):
        table.add_column(name, justify="right" if name in ("epoch", "for", "left") else "left", overflow="fold")
    for row in rows:
        state = found.states[row.key]
        table.add_row(
            row.key if width >= WIDE else row.key[:8],
            Text(overview.describe(found.plan.stages, row.key)),
            f"{row.epoch}/{row.epochs}" if row.epoch is not None else "",
            *([", ".join(f"{_short(name)} {value:.3f}" for name, value in row.measured.items())] if measured else []),
            *(duration(seconds) if seconds is not None else "" for seconds in (row.seconds, row.left_s)),
            Text(state.node),
            state.job or state.reason,
        )
    return _cut(table, len(keys), "stages run")


def _short(name: str) -> str:
    """The name of a measurement on the validation split, below that word."""
    return name.replace("validation_", "").replace("_", " ")


def arrays(found: View) -> RenderableType | None:
    """The arrays of this grid that SLURM still has."""
    table = Table(box=None, pad_edge=False)
    for name in ("array", "of", "running", "queued", "user"):
        table.add_column(name, justify="right" if name in ("running", "queued") else "left")
    rows = by_array(found.live())
    for elements in rows[:ROWS]:
        active = sum(executing(element) for element in elements)
        kind, user = elements[0].array.kind, elements[0].array.user
        table.add_row(job_id(elements[0]), kind, f"{active:,}", f"{len(elements) - active:,}", user)
    return _cut(table, len(rows), "arrays") if rows else None


def by_array(elements: Sequence[Element]) -> list[list[Element]]:
    """The elements grouped by their array, in order."""
    groups: dict[str, list[Element]] = defaultdict(list)
    for element in elements:
        groups[element.array.name].append(element)
    return list(groups.values())


def executing(element: Element) -> bool:
    """Has the element's task processes?"""
    return element.job is not None and element.job.state in EXECUTING


def job_id(element: Element) -> str:
    """The job id that an element shares with its array."""
    return element.id.partition("_")[0]


def causes(found: View) -> Table | None:
    """Failed stages by cause, each with one example."""
    groups = overview.causes(found)
    if not groups:
        return None
    blocking = overview.blocking(found)
    table = Table(box=None, pad_edge=False)
    for name in ("failed of", "stages", "blocking", "for example"):
        table.add_column(name, justify="right" if name in ("stages", "blocking") else "left", overflow="fold")
    for cause, keys in groups.items():
        # The failure that holds up most says most.
        key = max(keys, key=lambda one: blocking[one])
        example = Text(f"{found.plan.stages[key].kind} {key}: {found.states[key].reason}\n{found.store.log(key)}")
        table.add_row(Text(cause), f"{len(keys):,}", f"{sum(blocking[one] for one in keys):,}", example)
    return table


def failures(found: View, explained: Mapping[str, str]) -> Group:
    """Every failed stage, and every one of which nobody knows; `explained` is accounting's word by job id."""
    blocking, lines = overview.blocking(found), []
    for key in found.keys("failed"):
        failure = found.states[key].failure or {}
        times = int(failure.get("attempts", 1))
        where = f" on {failure['host']}" if failure.get("host") else ""
        lines += [
            _title(found, key),
            Text(
                f"  {failure.get('cause', 'unknown')}, {times} {'attempts' if times != 1 else 'attempt'}{where}, "
                f"blocks {blocking[key]:,} {'stages' if blocking[key] != 1 else 'stage'}"
            ),
            Text(f"  {failure.get('error', '')}", style="red"),
            Text(f"  log: {found.store.log(key)}"),
        ]
    for key in found.keys("unknown"):
        state = found.states[key]
        word = explained.get(state.job)
        told = f"; accounting says {word}" if word else ""
        lines += [_title(found, key), Text(f"  unknown: job {state.job}: {state.reason}{told}")]
    return Group(*(lines or [Text("No stage has failed.")]))


def _title(found: View, key: str) -> Text:
    return Text(f"{found.plan.stages[key].kind} {key}  {overview.describe(found.plan.stages, key)}", style="bold")


def _cut(table: Table, count: int, what: str) -> RenderableType:
    return Group(table, Text(f"... and {count - ROWS:,} more {what}", style="dim")) if count > ROWS else table


def line(found: View, notice: str) -> str:
    """Everything in a line, with its time of day, for where there is no terminal."""
    clock = time.strftime("%H:%M:%S", time.localtime(found.time))
    counted = overview.summary(found).items()
    parts = [f"{count:,} {name}" for name, count in counted if count and name not in ("done", "missing")]
    return f"[{clock}] " + "; ".join(part for part in (overall(found), *parts, effort(found), notice) if part)
