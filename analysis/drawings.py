"""Every figure of an analysis, in the order of the report, with the table that it shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import pandas as pd

from analysis.aggregate import KEYS
from analysis.domain_gap import KEYS as GAP_KEYS
from analysis.frame import of_tickets
from analysis.gallery import scenes
from analysis.layers import kernel_map
from analysis.plots import (
    aggregates,
    comparisons,
    cost,
    critical_difference,
    curves,
    gap,
    heatmaps,
    kernels,
    measured,
    plane,
    sensitivity,
    similarity,
    transfers,
)  # fmt: skip
from analysis.plots import scenes as galleries
from analysis.plots.curves import Curves
from analysis.plots.style import Drawing
from analysis.tables import Tables
from analysis.wording import is_secondary
from bench.store import Store

# Data set and metric of a leaderboard.
Board = tuple[str, str]
# Kernels of this many tickets are drawn.
_MAX_KERNELS = 4


class Shown(NamedTuple):
    """A figure to draw. csv: the file, below the folder of the analysis, with its numbers."""

    drawing: Drawing
    csv: str


class Chosen(NamedTuple):
    """The figures to draw, and the largest number of a kind that there is."""

    shown: list[Shown]
    available: int


def drawings(tables: Tables, boards: Mapping[Board, str], store: Store | None = None, *, most: int) -> Chosen:
    """At most `most` figures of a kind: of the curves those with the most sparsities and entries, of others the first.

    boards: the file of each leaderboard, by data set and metric.
    """
    found = curves.curves(of_tickets(tables.rows), tables.leaderboard, tables.maxima)
    named = [
        Drawing(kind="curve", setting=chosen.setting, draw=partial(curves.figure, chosen))
        for chosen in most_telling(found, most)
    ]
    # What is about one data set, or about dense networks alone, has better figures.
    scores = tables.aggregates[(tables.aggregates["n_tasks"] > 1) & (tables.aggregates["sparsity"] > 0)]
    costs = cost.fronts(tables.leaderboard)
    shown = [Shown(drawing, boards[_board(drawing, curves.FIGURE)]) for drawing in named]
    others: list[tuple[str, Sequence[Drawing]]] = [
        ("double_win", plane.planes(tables.leaderboard)),
        *(("comparisons", comparisons.forests(tables.comparisons, axis)) for axis in _axes(tables.comparisons)),
        ("rank_pairs", critical_difference.matrices(tables.rank_pairs[tables.rank_pairs["n"] > 1], tables.ranks)),
        ("ranks", critical_difference.diagrams(tables.ranks, tables.omnibus)),
        ("gap_points", gap.gaps(_of_several(tables.gap_points, GAP_KEYS), tables.gap_regression)),
        ("aggregates", aggregates.dots(scores)),
        ("profiles", aggregates.curves(tables.profiles.merge(scores[[*KEYS, "method"]]))),
        ("transfer_matrix", transfers.transfers(tables.transfer_matrix, tables.transfer_counts)),
        ("published", transfers.beside(tables.published)),
        ("published", measured.measured(tables.published)),
        ("sensitivity", sensitivity.sensitivities(tables.sensitivity)),
        ("similarity", similarity.similarities(tables.similarity)),
        ("overlap", heatmaps.overlaps(tables.overlap)),
        ("layers", heatmaps.profiles(tables.layers)),
        ("layers", kernels.emptied(tables.layers, tables.rows)),
        ("layers", list(_kernels(tables.layers, store))),
    ]
    for name, drawn in others:
        shown += [Shown(drawing, f"tables/{name}.csv") for drawing in drawn[:most]]
    shown += [Shown(drawing, boards[_board(drawing, cost.FIGURE)]) for drawing in costs[:most]]
    seen = galleries.galleries(scenes(tables.rows, store), store) if store is not None else []
    shown += [Shown(drawing, boards[_board(drawing, galleries.NAME)]) for drawing in seen[:most]]
    return Chosen(shown, max(len(found), len(costs), len(seen), *(len(drawn) for _, drawn in others)))


def _of_several(points: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of comparisons that have more than one data set."""
    return points[points.groupby(list(keys), dropna=False)["dataset"].transform("size") > 1]


def _board(drawing: Drawing, setting: Sequence[str]) -> Board:
    found = dict(zip(setting, drawing.setting, strict=False))
    return str(found["dataset"]), str(found["metric"])


def most_telling(found: Sequence[Curves], count: int) -> list[Curves]:
    """At most `count` of them in their order: not what another metric says first, the most sparsities and entries."""

    def place(shown: Curves) -> tuple[bool, int, int]:
        second = is_secondary(str(shown.entries["metric"].iloc[0]))
        return second, -shown.entries["sparsity"].nunique(), -len(shown.entries)

    order = sorted(found, key=place)[:count]
    chosen = {shown.setting for shown in order}
    return [shown for shown in found if shown.setting in chosen]


def _axes(table: pd.DataFrame) -> list[str]:
    """Pre-training and pruner first: what the tickets are of comes before how they are used."""
    return sorted(set(table["axis"]), key=lambda axis: (axis not in ("pretraining", "pruner"), axis))


def _kernels(layers: pd.DataFrame, store: Store | None) -> Iterator[Drawing]:
    """Of the tickets with the most empty kernels the layer that has the most."""
    if store is None:
        return
    found = layers[layers["zero_kernels"] > 0].sort_values(["zero_kernels", "ticket"], ascending=[False, True])
    for row in found.drop_duplicates(["grid", "architecture", "name"]).head(_MAX_KERNELS).to_dict("records"):
        title = f"{row['name']}, sparsity {row['sparsity']:.4g}: {row['layer']}"
        kept = kernel_map(store, row["ticket"], row["layer"])
        yield Drawing(kind="kernels", setting=(row["name"], row["ticket"]), draw=partial(heatmaps.kernels, kept, title))
