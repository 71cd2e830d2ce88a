"""The short account of an analysis that is printed at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from analysis.frame import DONE, ENTRY
from analysis.tables import Tables
from analysis.wording import Sentence
from bench.results import STATUSES

TOP = 3
# Columns cut short say nothing: a narrower terminal wraps the lines of the table instead.
WIDTH = 160
MAX_LEADERBOARDS = 8
_SHOWN = tuple(name for name in ENTRY if name not in ("dataset", "metric", "round", "sparsity"))


def show(tables: Tables, answers: Sequence[Sentence], files: Sequence[Path], console: Console) -> None:
    """Print what was read, the best entries of each leaderboard, the answers, and where the files are."""
    counts = tables.rows["status"].value_counts()
    found = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if status in counts)
    console.print(f"[bold]{tables.name}[/bold]: {len(tables.rows):,} results planned: {found}", highlight=False)
    if (tables.rows["status"] == DONE).any():
        console.print(best(tables.leaderboard))
    for topic, said in groupby(answers, key=lambda sentence: sentence.topic):
        console.print(f"\n[bold]{escape(topic)}[/bold]")
        for indent, line in (line for sentence in said for line in _lines(sentence)):
            console.print(Padding(escape(line), (0, 0, 0, indent)), highlight=False)
    kinds = Counter(path.suffix for path in files)
    console.print(
        f"\nWritten to {files[0].parent}/: {kinds['.csv']} tables, {kinds['.png']} figures"
        + "".join(f", {path.name}" for path in files if path.suffix in (".html", ".md")),
        highlight=False,
        soft_wrap=True,
    )


def _lines(sentence: Sentence) -> Iterator[tuple[int, str]]:
    """Each part of a sentence with its indentation."""
    yield 2, sentence.lead
    for point in sentence.points:
        yield 4, point
    if sentence.end:
        yield 4 if sentence.points else 2, sentence.end


def best(board: pd.DataFrame) -> Table:
    """The first complete tickets of each leaderboard; axes that do not vary in the grid are left out.

    Ranks count the dense networks too: the difference to the dense reference is the last column.
    """
    varying = [name for name in _SHOWN if board[name].nunique() > 1]
    ranked = board[board["rank"].notna() & (board["pruner"] != "dense")]
    groups = list(ranked.groupby(["dataset", "metric"], sort=True))
    more = len(groups) - MAX_LEADERBOARDS
    table = Table(
        title=f"Best {TOP} tickets of each leaderboard (mean over seeds, 95 % interval)",
        caption=f"{more} more leaderboards are in the files" if more > 0 else None,
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    for heading in ("dataset", "metric", "rank"):
        table.add_column(heading)
    for heading in (*varying, "sparsity", "mean", "interval", "n", "to dense"):
        table.add_column(heading, justify="left" if heading in varying else "right")
    for (dataset, metric), entries in groups[:MAX_LEADERBOARDS]:
        for i, row in enumerate(entries.head(TOP).to_dict("records")):
            table.add_row(
                *((str(dataset), str(metric)) if i == 0 else ("", "")),
                str(row["rank"]),
                *(str(row[name]) for name in varying),
                f"{row['sparsity']:.4g}",
                f"{row['mean']:.4f}",
                "" if pd.isna(row["ci_low"]) else f"{row['ci_low']:.4f} .. {row['ci_high']:.4f}",
                str(row["n"]),
                "" if pd.isna(row["diff_mean"]) else f"{row['diff_mean']:+.4f}",
            )
    return table
