"""`python -m bench.cancel GRID`: takes back what this grid has queued or running on SLURM, and nothing else."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import grid, places
from bench.board import by_array, executing, job_id
from bench.grid import Grid
from bench.launch import controller
from bench.launch.observed import Element, Slurm, ask, local_run
from bench.launch.records import CONTINUE
from bench.launch.schedule import needed
from bench.plan import plan
from bench.spec import Cell
from bench.store import Store, StoreError

# A controller that restarts answers again within this.
PATIENCE_S = 60.0
# SLURM kills a task that does not end by itself after KillWait, 30 s by default.
ENDING_S = 45.0
POLL_S = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Elements to cancel, and those that stay: what other cells need is in `shared`, other users' are `foreign`."""

    cancel: tuple[Element, ...] = ()
    shared: tuple[Element, ...] = ()
    foreign: tuple[Element, ...] = ()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.cancel", description=__doc__)
    found.add_argument("grid", type=Path, help="grid file, for example grids/demo.yaml")
    found.add_argument("overrides", nargs="*", metavar="key=value", help="override a field of the grid file")
    found.add_argument("--only", action="append", default=[], metavar="axis=value", help="what only these cells need")
    found.add_argument("--root", type=Path, default=places.default_root(), help="artifacts (default: %(default)s)")
    found.add_argument("--yes", action="store_true", help="do not ask")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 1 something is still in the queue, 2 bad input or no answer of SLURM, 130 Ctrl-C."""
    options = parser().parse_intermixed_args(arguments)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    try:
        return cancel(options, console)
    except (grid.GridError, StoreError, controller.SlurmError) as error:
        print(f"bench.cancel: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench.cancel: stopped; what was cancelled before stays cancelled", file=sys.stderr)
        return 130


def cancel(options: argparse.Namespace, console: Console) -> int:
    asked, store = grid.read(options.grid, options.overrides), Store(options.root)
    # Before SLURM is asked: this raises for a word that the grid does not have.
    gone = only_needed_by(asked, options.only, store.keys()) if options.only else None
    slurm = queue(options.root, "Nothing was cancelled")
    choice = choose(asked, gone, slurm, store.keys())
    tell(choice, asked, options.root, console)
    continued = bool(gone) and any(element.array.kind == CONTINUE for element in live(asked, slurm))
    if not choice.cancel and not continued:
        of = f" for {' '.join(options.only)} alone" if options.only else ""
        console.print(f"Nothing to cancel: no task of grid {asked.name} in {options.root} is in the queue{of}.")
        return 0
    if not options.yes and sys.stdin.isatty() and not confirmed(console):
        return 0
    # First, for a continuation that runs meanwhile: it does not submit what is recorded as cancelled.
    try:
        record(asked, gone, choice, slurm)
    except StoreError as error:
        if gone is not None:
            raise
        console.print(f"note: {error}. The tasks are cancelled all the same.")
    count, problems, left = carry_out(choice, asked, gone, store)
    for problem in problems if left else []:
        console.print(problem)
    rest = f", {tasks(len(left))} still in the queue" if left else ""
    console.print(f"{tasks(count - len(left))} cancelled{rest}.")
    if continued and gone is not None:
        console.print(f"{len(gone):,} stages are noted as cancelled: continuations do not submit them.")
    return 1 if left else 0


def tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"


def queue(root: Path, so_far: str) -> Slurm:
    """Submissions and queue. Raises SlurmError, with what was done so far, where SLURM gives no answer."""
    slurm = ask(root, patience_s=PATIENCE_S)
    if slurm.jobs is None:
        raise controller.SlurmError(f"{slurm.problem}. {so_far}; run this again when SLURM answers")
    return slurm


def live(asked: Grid, slurm: Slurm) -> list[Element]:
    """Elements of the grid's submissions that the queue still has."""
    return [one for one in slurm.elements if one.job is not None and one.submission.grid == asked.name]


def only_needed_by(asked: Grid, only: Sequence[str], done: set[str]) -> frozenset[str]:
    """Keys still to compute that the selected cells need and no other cell does. Raises GridError."""
    planned, selected = plan(asked), set(matching(asked, only))
    theirs: list[str] = []
    others: list[str] = []
    for cell, stages in zip(asked.cells, planned.cells, strict=True):
        (theirs if cell in selected else others).extend(stages.evaluate)
    return frozenset(needed(planned.stages, theirs, done)) - set(needed(planned.stages, others, done))


def matching(asked: Grid, only: Sequence[str]) -> list[Cell]:
    """The cells that match, without the dense references that `select` adds: other tickets are measured against them.

    Raises GridError.
    """
    selected = [cell for cell in grid.select(asked, only).cells if cell.pruner.name != "dense"]
    dense = tuple(cell for cell in asked.cells if cell.pruner.name == "dense")
    try:
        return [*selected, *grid.select(dataclasses.replace(asked, cells=dense), only).cells]
    except grid.GridError:
        return selected


def choose(asked: Grid, gone: frozenset[str] | None, slurm: Slurm, done: set[str]) -> Choice:
    """What to cancel: everything of the grid, or with `gone` the tasks of which nothing else is left to compute."""
    groups: dict[str, list[Element]] = defaultdict(list)
    for element in live(asked, slurm):
        left = set(element.keys) - done
        if gone is not None and not left & gone:
            continue
        group = "shared" if gone is not None and not left <= gone else "cancel"
        groups["foreign" if element.array.user != controller.user() else group].append(element)
    return Choice(**{name: tuple(elements) for name, elements in groups.items()})


def record(asked: Grid, gone: frozenset[str] | None, choice: Choice, slurm: Slurm) -> None:
    """Note in our live submissions what is cancelled, for their continuations and bench.status. Raises StoreError."""
    chosen: dict[Path, set[str]] = defaultdict(set)
    for element in choice.cancel:
        chosen[element.submission.folder].update(element.keys)
    submissions = {element.submission.folder: element for element in live(asked, slurm)}
    for folder, element in submissions.items():
        keys = set(gone) if gone is not None else chosen[folder]
        if keys and element.array.user == controller.user():
            element.submission.cancel(keys)


def carry_out(
    choice: Choice, asked: Grid, gone: frozenset[str] | None, store: Store
) -> tuple[int, list[str], list[Element]]:
    """(tasks that were to be cancelled, what scancel complained of, those still in the queue).

    Looks again until nothing new appears: a continuation may be submitting just now.
    """
    tried: set[str] = set()
    problems: list[str] = []
    deadline = time.monotonic() + ENDING_S
    while True:
        fresh = [element for element in choice.cancel if element.id not in tried]
        if fresh:
            problems += controller.cancel(compact(fresh))
            tried.update(element.id for element in fresh)
        slurm = queue(store.root, f"Not everything may be cancelled ({tasks(len(tried))} so far)")
        choice = choose(asked, gone, slurm, store.keys())
        ending = [one for one in choice.cancel if one.id in tried and one.job and one.job.state == "COMPLETING"]
        left = [one for one in choice.cancel if one not in ending]
        # A task that ends holds nothing up, unless it submits.
        if not left and not any(one.array.kind == CONTINUE for one in ending):
            return len(tried), problems, []
        if time.monotonic() > deadline:
            return len(tried), problems, left
        if all(one.id in tried for one in left):
            time.sleep(POLL_S)


def compact(elements: Sequence[Element]) -> list[str]:
    """SLURM's names of the elements, those of one array in one: "123_[0-4,7]"."""
    names: list[str] = []
    indices: dict[str, list[int]] = defaultdict(list)
    for element in elements:
        parent, _, index = element.id.partition("_")
        if index:
            indices[parent].append(int(index))
        else:
            names.append(parent)
    for parent, found in indices.items():
        runs = []
        # Along a run of indices the distance to their position is constant.
        for _, run in groupby(enumerate(sorted(found)), key=lambda pair: pair[1] - pair[0]):
            first, *rest = [index for _, index in run]
            runs.append(f"{first}-{rest[-1]}" if rest else str(first))
        names.append(f"{parent}_[{','.join(runs)}]")
    return names


def tell(choice: Choice, asked: Grid, root: Path, console: Console) -> None:
    """Show what will be cancelled and what stays."""
    if choice.cancel:
        table = Table(box=None, pad_edge=False)
        for name in ("array", "of", "tasks", "running", "queued", "stages"):
            table.add_column(name, justify="left" if name in ("array", "of") else "right")
        for elements in by_array(choice.cancel):
            active = sum(executing(element) for element in elements)
            numbers = (len(elements), active, len(elements) - active, sum(len(one.keys) for one in elements))
            table.add_row(job_id(elements[0]), elements[0].array.kind, *(f"{number:,}" for number in numbers))
        console.print(table)
    if choice.shared:
        console.print(f"{tasks(len(choice.shared))} not cancelled: other cells of the grid need some of their stages.")
    for user in sorted({element.array.user for element in choice.foreign}):
        count = sum(element.array.user == user for element in choice.foreign)
        console.print(f"{tasks(count)} of user {user} not cancelled: only {user} can do that.")
    if (local := local_run(root)) is not None:
        console.print(
            f"A local run of grid {local['grid']} goes on: press Ctrl-C where it runs, or "
            f"`kill -INT {local['pid']}` on {local['host']}."
        )


def confirmed(console: Console) -> bool:
    console.print("Cancel this? [y/N] ", end="")
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        return False


if __name__ == "__main__":
    sys.exit(main())
