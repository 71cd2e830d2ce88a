"""What a person sees of a submission to SLURM: the arrays, what they wait for, a script, and what to do next."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.launch import batch, campaign, controller
from bench.launch import profile as profiles
from bench.launch.arrays import element_ids
from bench.launch.campaign import Order, Submitted
from bench.launch.controller import Limits
from bench.launch.observed import Slurm
from bench.launch.portions import PlannedArray
from bench.launch.profile import Profile, Resources

# Arrays listed one by one; a grid may have hundreds.
LISTED = 25


def noted(console: Console) -> Callable[[str], None]:
    """A function that prints a sentence."""
    return lambda text: console.print(text, highlight=False, markup=False)


def outlook(root: Path, profile: Profile, note: Callable[[str], None]) -> tuple[Slurm, Limits, Profile]:
    """SLURM's queue and limits and the profile for it; where SLURM gives no answer, an empty queue and its defaults."""
    try:
        return campaign.ask(root), controller.limits(), profiles.with_gpus(profile, controller.gpus())
    except controller.SlurmError as error:
        note(f"{error}. Shown is what an empty cluster without GPUs and with SLURM's usual limits would get.")
        empty = Slurm(submissions=(), elements=(), jobs={}, problem="", time=0.0)
        return empty, Limits(1000, 10_000), profiles.with_gpus(profile, False)


def preview(console: Console, order: Order, profile: Profile, *, name: str, root: Path) -> None:
    """The arrays of the grid `name` that would be submitted, what they wait for, and the script of one of them."""
    console.print(table([(str(i), array) for i, array in enumerate(order.arrays)], element_names(order.arrays)))
    tail(console, order)
    if not order.arrays:
        return
    shown = max(range(len(order.arrays)), key=lambda i: (bool(order.arrays[i].after), len(order.arrays[i].elements)))
    array = order.arrays[shown]
    folder = root.resolve() / "slurm" / f"{name}-..." / f"{shown:03d}"
    code = root.resolve() / "slurm" / "code" / "..."
    asked = batch.parameters(
        f"{name}.{array.kind}",
        array.resources,
        profile,
        after=[*element_names(order.arrays)(array), *array.live],
        code=code,
        elements=len(array.elements),
    )
    console.print(f"\nThe script of array {shown}:\n", highlight=False)
    text = batch.script(folder, asked, profile, elements=len(array.elements))
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def tail(console: Console, order: Order) -> None:
    if order.live:
        console.print(f"{len(order.live):,} stages are queued already.", highlight=False)
    if order.later:
        console.print(
            f"{order.later:,} stages are submitted by a continuation job when there is room.", highlight=False
        )


def element_names(arrays: Sequence[PlannedArray]) -> Callable[[PlannedArray], list[str]]:
    """What an array waits for, by the numbers of the list: "3", or "3_7" for one element."""

    def names(array: PlannedArray) -> list[str]:
        return element_ids(array, [(str(i), found) for i, found in enumerate(arrays)])

    return names


def report(console: Console, found: Submitted, options: argparse.Namespace) -> None:
    """What was queued."""
    if found.arrays:
        made = list(found.arrays)
        console.print(table(made, lambda array: element_ids(array, made)))
        tasks = sum(len(array.elements) for _, array in made)
        console.print(f"Queued {tasks:,} tasks in {len(made):,} arrays.", highlight=False)
    else:
        console.print("Everything that is left is queued already; nothing was submitted.", highlight=False)
    if found.continuation:
        console.print(f"Job {found.continuation} sees to the rest: retries, and what did not fit.", highlight=False)
    if found.stopped:
        console.print(found.stopped, highlight=False, markup=False)
    where = "" if os.fspath(options.root) == "runs" else f" --root {options.root}"
    grid = shlex.join([str(options.grid), *options.overrides])
    console.print(f"Next: python -m bench.status {grid}{where}", highlight=False, markup=False)


def table(arrays: Sequence[tuple[str, PlannedArray]], after: Callable[[PlannedArray], list[str]]) -> Table:
    """Arrays by name or job id: what they compute, ask for and wait for."""
    found = Table(box=None, pad_edge=False)
    for name in ("array", "of", "tasks", "stages", "each asks for", "after"):
        found.add_column(name, justify="right" if name in ("tasks", "stages") else "left")
    for name, array in arrays[:LISTED]:
        waits = [*after(array), *array.live]
        text = ", ".join(waits[:4]) + (f" and {len(waits) - 4} more" if len(waits) > 4 else "")
        stages = sum(map(len, array.elements))
        found.add_row(name, array.kind, f"{len(array.elements):,}", f"{stages:,}", asks(array.resources), text)
    if len(arrays) > LISTED:
        found.add_row("...", f"{len(arrays) - LISTED:,} more arrays")
    return found


def asks(found: Resources) -> str:
    """'2 nodes x 4 tasks, 4 GPUs, 8 CPUs, 60 GB, 240 min'."""
    parts = []
    if found.processes > 1:
        nodes = f"{found.nodes} nodes x " if found.nodes > 1 else ""
        parts.append(f"{nodes}{found.tasks_per_node} task{'s' if found.tasks_per_node != 1 else ''}")
    if found.gpus:
        parts.append(f"{found.gpus} GPU{'s' if found.gpus != 1 else ''}")
    parts.append(f"{found.cpus} CPU{'s' if found.cpus != 1 else ''}")
    if found.memory_gb is not None:
        parts.append(f"{found.memory_gb:g} GB")
    return ", ".join([*parts, f"{found.minutes} min"])
