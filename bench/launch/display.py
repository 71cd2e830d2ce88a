"""What a person sees of a run while it goes on."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.launch.local import Engine
from bench.launch.states import measured
from bench.plan import Plan
from bench.spec import KINDS

# Without a terminal a line is printed this often.
LINE_S = 15.0


def duration(seconds: float) -> str:
    """'1 h 05 min', '2 min 03 s', '4 s'."""
    seconds = max(0, round(seconds))
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


class Display:
    """Draws an engine; keeps what is needed for the estimate of the time left."""

    def __init__(self, console: Console, plan: Plan, done: set[str]) -> None:
        self.console, self.started, self.printed = console, time.monotonic(), 0.0
        self.total = Counter(stage.kind for stage in plan.stages.values())
        self.before = Counter(plan.stages[key].kind for key in done)
        self.live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display for the block: live on a terminal, a line now and then elsewhere."""
        if self.console.is_terminal:
            with Live(console=self.console, refresh_per_second=4, transient=True) as self.live:
                yield
            self.live = None
        else:
            yield

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def update(self, engine: Engine) -> None:
        if self.live is not None:
            self.live.update(self.render(engine))
        elif time.monotonic() - self.printed > LINE_S:
            self.printed = time.monotonic()
            counts = f"{self.done(engine)}/{sum(self.total.values())} stages done, {len(engine.schedule.failed)} failed"
            self.note(f"[{duration(time.monotonic() - self.started)}] {counts}, {self.eta(engine)}")
            sys.stdout.flush()

    def done(self, engine: Engine) -> int:
        return sum(self.before.values()) + sum(engine.finished.values())

    def eta(self, engine: Engine) -> str:
        """Time left: mean seconds per kind of stage so far, over the workers."""
        everything = [value for values in engine.seconds.values() for value in values]
        if not everything:
            return "time left unknown"
        mean = sum(everything) / len(everything)
        left: Counter[str] = Counter(engine.schedule.stages[key].kind for key in engine.schedule.waiting)
        left.update(engine.schedule.stages[key].kind for _, key in engine.schedule.ready)
        seconds = 0.0
        for kind, count in left.items():
            taken = engine.seconds.get(kind, [])
            seconds += count * (sum(taken) / len(taken) if taken else mean)
        return f"about {duration(seconds / max(len(engine.workers), 1))} left"

    def render(self, engine: Engine) -> Any:
        table = Table(box=None, pad_edge=False)
        for name in ("stage", "done", "running", "failed", "blocked", "total", ""):
            table.add_column(name, justify="left" if name in ("stage", "") else "right")
        kinds = engine.schedule.stages
        running = Counter(worker.stage.kind for worker in engine.workers if worker.stage)
        failed = Counter(kinds[key].kind for key in engine.schedule.failed)
        blocked = Counter(kinds[key].kind for key in engine.schedule.blocked)
        for kind in KINDS:
            finished = self.before[kind] + engine.finished[kind]
            row = [
                kind,
                *(str(count) for count in (finished, running[kind], failed[kind], blocked[kind], self.total[kind])),
            ]
            table.add_row(*row, ProgressBar(total=max(self.total[kind], 1), completed=finished, width=30))
        lines = [Text(f"{duration(time.monotonic() - self.started)}, {self.eta(engine)}")]
        for worker in engine.workers:
            if worker.stage is not None:
                lines.append(
                    Text(f"  {worker.stage.kind} {worker.stage.key} {_progress(worker.progress)}", style="dim")
                )
        return Group(table, *lines)


def _progress(record: Any) -> str:
    if not record:
        return ""
    numbers = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in measured(record).items()]
    return ", ".join([f"epoch {record['epoch']}/{record['epochs']}, loss {record['loss']:.3f}", *numbers])
