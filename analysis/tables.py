"""Everything that one analysis computes, one table per question."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """`rows` is the frame; the others are named as their CSV files and may be empty, with their columns.

    protocol: recipes by stage, as nested mappings; empty where only result rows are at hand. provenance: commits,
    devices, counts by status, margins, confidence.
    """

    name: str
    rows: pd.DataFrame
    leaderboard: pd.DataFrame
    overall: pd.DataFrame
    matching: pd.DataFrame
    maxima: pd.DataFrame
    double_win: pd.DataFrame
    universal: pd.DataFrame
    comparisons: pd.DataFrame
    omnibus: pd.DataFrame
    ranks: pd.DataFrame
    rank_pairs: pd.DataFrame
    aggregates: pd.DataFrame
    profiles: pd.DataFrame
    per_example: pd.DataFrame
    gap_points: pd.DataFrame
    gap_regression: pd.DataFrame
    transfer_matrix: pd.DataFrame
    transfer_counts: pd.DataFrame
    similarity: pd.DataFrame
    overlap: pd.DataFrame
    overlap_layers: pd.DataFrame
    layers: pd.DataFrame
    sensitivity: pd.DataFrame
    published: pd.DataFrame
    controls: pd.DataFrame
    protocol: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def frames(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Name and content of every table."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, pd.DataFrame):
                yield item.name, value
