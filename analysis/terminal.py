"""The short account of an analysis that is printed at its end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from analysis.frame import DONE, ENTRY
from bench.results import STATUSES

TOP = 3
# Columns cut short say nothing: a narrower terminal wraps the lines of the table instead.
WIDTH = 160
MAX_LEADERBOARDS = 8
_SHOWN = tuple(name for name in ENTRY if name not in ("dataset", "metric", "round", "sparsity"))


def show(table: pd.DataFrame, board: pd.DataFrame, files: Sequence[Path], console: Console) -> None:
    """Print what was read, the best entries of each leaderboard, and where the files are."""
    name = table["grid"].iloc[0]
    counts = table["status"].value_counts()
    found = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES if status in counts)
    console.print(f"[bold]{name}[/bold]: {len(table):,} results planned: {found}", highlight=False)
    if (table["status"] == DONE).any():
        console.print(best(board))
    else:
        console.print("Nothing is evaluated yet, so there is nothing to rank.")
    folder = files[0].parent
    figures = sum(path.suffix == ".png" for path in files)
    boards = sum(path.name.startswith("leaderboard_") for path in files)
    found = f"{boards} leaderboard_*.csv, {figures} curve_*.png, rows.csv, missing.csv"
    console.print(f"Written to {folder}/: {found}", highlight=False, soft_wrap=True)


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
