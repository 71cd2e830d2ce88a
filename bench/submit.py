"""`python -m bench.submit GRID`: plan, show the plan, queue it on SLURM or run it here. Again: resume and retry."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import estimate, grid, places, queueing
from bench.data.errors import DataError
from bench.launch import campaign, controller, local, lock, records
from bench.launch import profile as profiles
from bench.launch.continuation import Continue
from bench.launch.controller import SlurmError
from bench.launch.devices import cores, cuda_devices
from bench.launch.display import Display
from bench.launch.inputs import missing_data, write_embedded
from bench.launch.profile import ProfileError
from bench.launch.schedule import needed
from bench.launch.task import Settings
from bench.plan import Plan, plan
from bench.spec import Stage
from bench.store import Store, StoreError


class Refused(Exception):
    """The run cannot start; the message says why and what to do."""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.submit", description=__doc__)
    found.add_argument("grid", type=Path, help="grid file, for example grids/demo.yaml")
    found.add_argument("overrides", nargs="*", metavar="key=value", help="override a field of the grid file")
    found.add_argument("--only", action="append", default=[], metavar="axis=value", help="only these cells")
    found.add_argument(
        "--cluster",
        choices=["auto", "slurm", "local"],
        default="auto",
        help="where (auto: slurm where sbatch is there)",
    )
    found.add_argument(
        "--profile", type=Path, default=Path("slurm/default.yaml"), help="what to ask SLURM for (slurm/*.yaml)"
    )
    found.add_argument(
        "--set", action="append", default=[], metavar="key=value", help="override a field of the profile"
    )
    found.add_argument(
        "--workers", type=int, help="local processes (default: one per GPU, else one per core, at most 8)"
    )
    found.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    found.add_argument(
        "--toy", action="store_true", help="the grid at toy size: recipes shrunk, data sets stood in for (= toy=true)"
    )
    found.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    found.add_argument("--yes", action="store_true", help="do not ask")
    places.add_arguments(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all done or queued, 1 some stages failed, 2 nothing could be run, 130 stopped by Ctrl-C."""
    options = parser().parse_intermixed_args(arguments)
    console = Console(soft_wrap=True)
    try:
        return submit(options, console)
    except (grid.GridError, ProfileError, SlurmError, StoreError, lock.Busy, Refused) as error:
        print(f"bench.submit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench.submit: stopped; what was queued stays queued (bench.cancel takes it back)", file=sys.stderr)
        return 130


def submit(options: argparse.Namespace, console: Console) -> int:
    if options.workers is not None and options.workers < 1:
        raise Refused(f"--workers {options.workers}: give at least 1")
    if options.toy:
        # A field like any other from here on: what goes on later on a cluster reads the same grid.
        options.overrides.append("toy=true")
    chosen = grid.select(grid.read(options.grid, options.overrides), options.only)
    planned = plan(chosen)
    store = Store(options.root)
    if options.cluster == "slurm" or (options.cluster == "auto" and controller.available()):
        return submit_slurm(planned, store, options, console)
    if options.dry_run:
        done = store.keys() & planned.stages.keys()
        left = to_run(planned, done)
        show(console, planned, done, left, options)
        for line in missing_data(left, options.data):
            console.print(f"note: {line}", highlight=False, markup=False)
        return 0
    with lock.hold(options.root, chosen.name):
        notes: list[str] = []
        done = local.prepare(planned, store, notes.append)
        for note in notes:
            console.print(note, highlight=False, markup=False)
        left = to_run(planned, done)
        show(console, planned, done, left, options)
        if not left:
            console.print(f"Everything is done. Next: {analysis(options)}", highlight=False)
            return 0
        check_data(left, options, console)
        return run_local(planned, done, options, console)


def submit_slurm(planned: Plan, store: Store, options: argparse.Namespace, console: Console) -> int:
    """Queue what is left and return. With --dry-run: show what would be queued."""
    if options.workers is not None or options.device != "auto":
        raise Refused("--workers and --device are for local runs (--cluster local); on SLURM the profile says both")
    profile = profiles.read(options.profile, options.set)
    if options.dry_run:
        slurm, limits, profile = queueing.outlook(options.root, profile, queueing.noted(console))
        order = campaign.compose(planned, profile, store, slurm=slurm, limits=limits)
        left = [planned.stages[key] for array in order.arrays for keys in array.elements for key in keys]
        show(console, planned, set(order.done), left, options)
        queueing.preview(console, order, profile, name=planned.grid.name, root=options.root)
        for line in missing_data(left, options.data):
            console.print(f"note: {line}", highlight=False, markup=False)
        return 0
    profile = profiles.with_gpus(profile, controller.gpus())
    note = queueing.noted(console)
    done = local.prepare(planned, store, note)
    left = to_run(planned, done)
    show(console, planned, done, left, options)
    if not left:
        console.print(f"Everything is done. Next: {analysis(options)}", highlight=False)
        return 0
    check_data(left, options, console)
    if not options.yes and sys.stdin.isatty() and not agreed(console, "Queue this on SLURM?"):
        return 0
    with campaign.exclusively(options.root, f"submit of {options.grid}", note) as held:
        submission = campaign.begin(
            options.root, planned, profile, grid_file=options.grid, overrides=options.overrides, only=options.only,
            data=options.data,
        )  # fmt: skip
        go_on = Continue(str(submission.folder))
        found = campaign.advance(
            submission, planned, profile, store, person=True, go_on=go_on, note=note, held=held
        )  # fmt: skip
        if not found.arrays and not found.continuation:
            records.forget(submission)
    queueing.report(console, found, options)
    return 0


def check_data(left: Sequence[Stage], options: argparse.Namespace, console: Console) -> None:
    """Write what embedded sets lack; raise Refused where other sets or weights are missing."""
    try:
        write_embedded(left, options.data, queueing.noted(console))
    except DataError as error:
        raise Refused(str(error)) from None
    if missing := missing_data(left, options.data):
        raise Refused("\n".join(missing))


def analysis(options: argparse.Namespace) -> str:
    """The command that analyses what this one computes."""
    return shlex.join(["python", "-m", "analysis", str(options.grid), *options.overrides])


def to_run(planned: Plan, done: set[str]) -> list[Stage]:
    """The stages that are not there and that a missing evaluation needs, inputs first."""
    return [planned.stages[key] for key in needed(planned.stages, planned.targets, done)]


def run_local(planned: Plan, done: set[str], options: argparse.Namespace, console: Console) -> int:
    device = device_of(options.device)
    workers = options.workers or (len(cuda_devices()) if device == "cuda" else min(cores(), 8))
    question = f"Run this here with {workers} workers on {device}?"
    if not options.yes and sys.stdin.isatty() and not agreed(console, question):
        return 0
    settings = Settings(root=options.root, data_root=options.data, device=device)
    display = Display(console, planned, done)
    engine = local.make_engine(
        planned.stages,
        planned.targets,
        settings,
        workers,
        done=done,
        cores=cores(),
        on_change=display.update,
        on_note=display.note,
    )
    try:
        with display.shown():
            local.run(engine)
    except KeyboardInterrupt:
        display.note(f"Stopped; {display.done(engine)} stages are done. The same command goes on from here.")
        return 130
    if engine.fatal:
        raise Refused(engine.fatal)
    schedule = engine.schedule
    display.note(
        f"{sum(engine.finished.values())} stages computed, {len(schedule.failed)} failed, "
        f"{len(schedule.blocked)} blocked."
    )
    display.note(f"Next: {analysis(options)}")
    return 1 if schedule.failed or schedule.blocked else 0


def device_of(wanted: str) -> str:
    """cpu or cuda. Raises Refused where CUDA is asked for and not there."""
    found = bool(cuda_devices())
    if wanted == "cuda" and not found:
        raise Refused("--device cuda: nvidia-smi shows no GPU here; use --device cpu")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and found) else "cpu"


def agreed(console: Console, question: str) -> bool:
    console.print(f"{question} [y/N] ", end="", highlight=False, markup=False)
    return input().strip().lower() in ("y", "yes")


def show(console: Console, planned: Plan, done: set[str], left: Sequence[Stage], options: argparse.Namespace) -> None:
    """The plan as a table: stages per kind, what is left, what sharing saves, what it will cost."""
    console.print(f"{options.grid}: {len(planned.cells):,} cells, {len(planned.stages):,} stages", highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "unique", "done", "to run", "GPU-hours", "or core-hours", "disk"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in estimate.summarise(planned, done, left):
        counts = [f"{count:,}" for count in (row.unique, row.done, row.to_run)]
        table.add_row(row.kind, *counts, f"{row.gpu_hours:,.2f}", f"{row.core_hours:,.2f}", estimate.size(row.disk))
    console.print(table)
    alone, shared = estimate.sharing(planned)
    console.print(
        f"Sharing: {alone.upstream_epochs:,} upstream and {alone.downstream_epochs:,} downstream epochs if every cell "
        f"recomputed its ancestors, {shared.upstream_epochs:,} and {shared.downstream_epochs:,} in this plan"
        + (f" ({alone.tera / shared.tera:.1f}x less arithmetic)." if shared.tera < alone.tera else "."),
        highlight=False,
    )
    console.print(
        "Hours and disk are rough estimates, for a data-centre GPU or one CPU core.", highlight=False, style="dim"
    )


if __name__ == "__main__":
    sys.exit(main())
