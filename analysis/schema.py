"""What every column of every written table means, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from pandas.api import types

from analysis.aggregate import AGGREGATES_COLUMNS, PROFILES_COLUMNS
from analysis.compare import COMPARISONS_COLUMNS
from analysis.controls import CONTROLS_COLUMNS
from analysis.domain_gap import GAP_POINTS_COLUMNS, GAP_REGRESSION_COLUMNS
from analysis.layers import LAYERS_COLUMNS
from analysis.leaderboard import LEADERBOARD_COLUMNS, OVERALL_COLUMNS
from analysis.matching import MATCHING_COLUMNS
from analysis.maxima import MAXIMA_COLUMNS
from analysis.overlap import OVERLAP_COLUMNS, OVERLAP_LAYERS_COLUMNS
from analysis.per_example import PER_EXAMPLE_COLUMNS
from analysis.published import PUBLISHED_COLUMNS
from analysis.ranking import OMNIBUS_COLUMNS, RANK_PAIRS_COLUMNS, RANKS_COLUMNS
from analysis.sensitivity import SENSITIVITY_COLUMNS
from analysis.similarity import SIMILARITY_COLUMNS
from analysis.transfer_matrix import TRANSFER_COUNTS_COLUMNS, TRANSFER_MATRIX_COLUMNS
from analysis.wins import DOUBLE_WIN_COLUMNS, UNIVERSAL_COLUMNS

# What a column means wherever its table says nothing of it.
SHARED = {
    "grid": "name of the grid that planned the cell",
    "architecture": "the network",
    "pretraining": "where the weights come from",
    "source": "data set of the pre-training",
    "pruner": "how the mask is found; dense: none",
    "granularity": "what is removed together",
    "sparsity": "fraction of prunable weights set to zero, as requested",
    "round": "round of the ladder that the sparsity is; blank for one that is on none",
    "dataset": "downstream data set",
    "transfer": "what is trained downstream: finetune or linear",
    "objective": "how it is trained downstream",
    "fraction": "share of the downstream training labels",
    "seed": "of pruning and transfer",
    "pretraining_seed": "of everything upstream",
    "metric": "what was measured, with the options that were asked for",
    "selection": "which of the transfer's networks",
    "value": "the metric's value; blank unless the status is done",
    "higher_is_better": "direction of the metric",
    "status": "done, missing, failed, blocked or corrupt",
    "reason": "why there is no value",
    "achieved_sparsity": "fraction of prunable weights at zero, counted",
    "kept": "prunable weights kept",
    "prunable": "prunable weights in all",
    "macs": "multiply-accumulates of one image with the kept weights of the prunable layers",
    "dense_macs": "the same with all weights",
    "n_examples": "images that were measured",
    "flags": "doubts that the evaluation noted",
    "key": "artifact of the evaluation",
    "ticket": "artifact of the mask, or of the pre-training where there is none",
    "commit": "of the code that evaluated",
    "seconds": "of the evaluation",
    "device": "what ran the transfer",
    "device_hours": "of the transfer there: GPU-hours, or core-hours on a CPU",
    "ticket_hours": "of pre-training and mask search, shared with other cells",
    "note": "why a number is not there",
}
TABLES: Mapping[str, Mapping[str, str]] = {
    "leaderboard": LEADERBOARD_COLUMNS,
    "overall": OVERALL_COLUMNS,
    "matching": MATCHING_COLUMNS,
    "maxima": MAXIMA_COLUMNS,
    "double_win": DOUBLE_WIN_COLUMNS,
    "universal": UNIVERSAL_COLUMNS,
    "comparisons": COMPARISONS_COLUMNS,
    "omnibus": OMNIBUS_COLUMNS,
    "ranks": RANKS_COLUMNS,
    "rank_pairs": RANK_PAIRS_COLUMNS,
    "aggregates": AGGREGATES_COLUMNS,
    "profiles": PROFILES_COLUMNS,
    "per_example": PER_EXAMPLE_COLUMNS,
    "gap_points": GAP_POINTS_COLUMNS,
    "gap_regression": GAP_REGRESSION_COLUMNS,
    "transfer_matrix": TRANSFER_MATRIX_COLUMNS,
    "transfer_counts": TRANSFER_COUNTS_COLUMNS,
    "similarity": SIMILARITY_COLUMNS,
    "overlap": OVERLAP_COLUMNS,
    "overlap_layers": OVERLAP_LAYERS_COLUMNS,
    "layers": LAYERS_COLUMNS,
    "sensitivity": SENSITIVITY_COLUMNS,
    "published": PUBLISHED_COLUMNS,
    "controls": CONTROLS_COLUMNS,
}


def data_package(name: str, resources: Iterable[tuple[str, str, pd.DataFrame]]) -> dict[str, Any]:
    """A description of CSV files in the Data Package format, https://specs.frictionlessdata.io.

    resources: (path, name of the table, content). A blank stands for what is missing, never for zero.
    """
    return {
        "profile": "tabular-data-package",
        "name": name.lower(),
        "resources": [
            {
                "profile": "tabular-data-resource",
                "name": path.removesuffix(".csv").replace("/", "-").lower(),
                "path": path,
                "schema": {"fields": list(_fields(table, content)), "missingValues": [""]},
            }
            for path, table, content in resources
        ],
    }


def _fields(table: str, content: pd.DataFrame) -> Iterable[dict[str, str]]:
    meanings = TABLES.get(table, {})
    for column in map(str, content):
        yield {
            "name": column,
            "type": _type(content[column]),
            "description": meanings.get(column) or SHARED[column],
        }


def _type(column: pd.Series[Any]) -> str:
    if types.is_bool_dtype(column):
        return "boolean"
    if types.is_integer_dtype(column):
        return "integer"
    return "number" if types.is_float_dtype(column) else "string"
