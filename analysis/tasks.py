"""What a data set is judged by first, and its place among all sets, as the catalog says."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.wording import base, primary_first
from analysis.words import options
from bench.catalog import DATASETS, METRICS, TASKS

_PLACES = {name: place for place, name in enumerate(DATASETS)}


def catalogued(label: str) -> str:
    """The set's name in the catalog; of a stand-in that of the set that it stands for; blank if it is not known."""
    name = options(label).get("of", "") if base(label) == "toy" else base(label)
    return name if name in DATASETS else ""


def first_score(label: str) -> str:
    """The number that the data set is judged by first; blank where it is not known."""
    name = catalogued(label)
    if not name:
        return ""
    entry = DATASETS[name]
    return entry.scores[0] if entry.scores else next(iter(METRICS[TASKS[entry.task].metric].reports))


def are_first_scores(table: pd.DataFrame) -> pd.Series[bool]:
    """Whether a row's metric is what its data set is judged by first, among those that the table has of it.

    Columns dataset and metric. A metric without options comes first; of a set that is not known the foremost is taken.
    """
    chosen = {}
    for dataset, metrics in table.groupby("dataset", sort=False)["metric"].unique().items():
        score = first_score(str(dataset))
        same = sorted((metric for metric in metrics if base(metric) == score), key=lambda name: (len(name), name))
        chosen[dataset] = (same or primary_first(metrics))[0]
    return (table["metric"] == table["dataset"].map(chosen)).astype(bool)


def in_order(labels: Iterable[str]) -> list[str]:
    """The distinct data sets in the order of the catalog, stand-ins where theirs are; last those that are not known."""
    return sorted(set(labels), key=_place)


def _place(label: str) -> tuple[int, str]:
    return _PLACES.get(catalogued(label), len(_PLACES)), label
