"""From result rows to every table of an analysis, in the order in which they read each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import frame
from analysis.aggregate import aggregates
from analysis.compare import comparisons
from analysis.controls import controls
from analysis.domain_gap import gap_points, gap_regression
from analysis.layers import layers
from analysis.leaderboard import leaderboard, overall
from analysis.margins import NONE_STATED
from analysis.matching import matching
from analysis.maxima import maxima
from analysis.overlap import overlap
from analysis.per_example import per_example
from analysis.published import published
from analysis.ranking import ranking
from analysis.sensitivity import sensitivity
from analysis.similarity import similarity
from analysis.statistics.intervals import CONFIDENCE
from analysis.tables import Tables
from analysis.transfer_matrix import transfer_matrix
from analysis.wins import double_win, universal
from bench.results import STATUSES
from bench.store import Store


def compiled(
    rows: pd.DataFrame,
    *,
    name: str,
    store: Store | None = None,
    protocols: Mapping[str, Any] | None = None,
    stated: Mapping[str, float] = NONE_STATED,
    tasks: Sequence[str] | None = None,
    interval: str = "t",
) -> Tables:
    """Every table of a `frame`.

    store: where tickets and per-example results are read, if they are at hand. stated: margins by metric, where not the
    table's. tasks: the data sets that a universal ticket must match on. interval: of the leaderboards' means.
    """
    tickets = frame.of_tickets(rows)
    tested = matching(tickets, margins=stated)
    wins = double_win(tested)
    board = leaderboard(tickets, tested, interval=interval)
    omnibus, ranks, rank_pairs = ranking(tickets, margins=stated)
    scores, profiles = aggregates(tickets)
    points = gap_points(rows)
    matrix, counts = transfer_matrix(tickets, store)
    shared, shared_layers = overlap(tickets, store)
    return Tables(
        name=name,
        rows=rows,
        leaderboard=board,
        overall=overall(board),
        matching=tested,
        maxima=maxima(tickets, tested),
        double_win=wins,
        universal=universal(tested, tasks, rows=tickets),
        comparisons=comparisons(tickets, margins=stated),
        omnibus=omnibus,
        ranks=ranks,
        rank_pairs=rank_pairs,
        aggregates=scores,
        profiles=profiles,
        per_example=per_example(tickets, store),
        gap_points=points,
        gap_regression=gap_regression(points),
        transfer_matrix=matrix,
        transfer_counts=counts,
        similarity=similarity(tickets, store),
        overlap=shared,
        overlap_layers=shared_layers,
        layers=layers(tickets, store),
        sensitivity=sensitivity(board),
        published=published(board, wins),
        controls=controls(tickets, board, tested),
        protocol=dict(protocols or {}),
        provenance=_provenance(rows, stated, interval),
    )


def _provenance(rows: pd.DataFrame, stated: Mapping[str, float], interval: str) -> dict[str, Any]:
    counts = rows["status"].value_counts()
    return {
        "grids": sorted(set(rows["grid"])),
        "commits": sorted(set(rows["commit"]) - {""}),
        "devices": sorted(set(rows["device"]) - {""}),
        "counts": {status: int(counts[status]) for status in STATUSES if status in counts},
        "confidence": CONFIDENCE,
        "interval": interval,
        "stated_margins": dict(stated),
        "flags": sorted(set(rows["flags"]) - {""}),
    }
