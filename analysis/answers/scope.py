"""What a sentence is about: which metric and way to transfer, and how many of its planned results there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.frame import DONE
from analysis.wording import Row, Sentence, count

MAX_POINTS = 4
_NETWORK = ("architecture", "source", "granularity", "pretraining_seed")
_NAMED = ("grid", "selection", *_NETWORK)
SETTING = ("grid", "metric", "transfer", "objective", "fraction", "selection")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """planned: results planned and done per setting. varying: the axes with several levels."""

    planned: pd.DataFrame
    varying: Sequence[str]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Scope:
        """The scope of a `frame`."""
        done = rows.assign(done=rows["status"] == DONE)
        planned = done.groupby(list(SETTING), sort=True)["done"].agg(["size", "sum"]).reset_index()
        return cls(planned=planned, varying=[name for name in _NAMED if rows[name].nunique() > 1])

    def settings(self, table: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """The table's rows by setting: the task's metric first, then all labels before few.

        Second views of a metric are left to the tables, unless there is nothing else.
        """
        second = table["metric"].map(wording.is_secondary).astype(bool)
        table = table if second.all() else table[~second]
        order = {metric: i for i, metric in enumerate(wording.primary_first(table["metric"]))}
        groups = [
            (dict(zip(SETTING, map(_number, SETTING, keys), strict=True)), part)
            for keys, part in table.groupby(list(SETTING), sort=True)
        ]
        return sorted(groups, key=lambda group: (order[group[0]["metric"]], -group[0]["fraction"]))

    def told(self, keys: Mapping[str, Any]) -> str:
        """The setting at the head of a sentence."""
        names = "".join(f", {name} {keys[name]}" for name in ("grid", "selection") if name in self.varying)
        return f"By {keys['metric']} with {wording.transfer(keys)}{names}"

    def network(self, row: Row) -> str:
        """A ticket by its pruner, where it comes from, and what else of it varies."""
        return wording.network(row, names=[name for name in _NETWORK if name in self.varying])

    def rests(self, **keys: Any) -> str:
        """How many of the planned results of these levels are done, unless all are."""
        same = self.planned
        for name, level in keys.items():
            same = same[same[name] == level]
        done, size = int(same["sum"].sum()), int(same["size"].sum())
        return "" if done == size else f"Rests on {done:,} of {count(size, 'planned result')}."

    @staticmethod
    def few(points: Sequence[str], noun: str, table: str) -> tuple[str, ...]:
        """The first points, and a pointer to those that are left out."""
        left = len(points) - MAX_POINTS
        return (*points[:MAX_POINTS], *([f"{count(left, f'more {noun}')} in {table}"] if left > 0 else []))

    @staticmethod
    def cut(found: list[Sentence], left: int, noun: str, table: str) -> list[Sentence]:
        """The sentences, the last with a pointer to those that are left out."""
        if left <= 0:
            return found
        more = f"{count(left, f'more {noun}')} {'is' if left == 1 else 'are'} in tables/{table}.csv."
        last = dataclasses.replace(found[-1], end=f"{found[-1].end} {more}".strip())
        return [*found[:-1], last]


def _number(name: str, level: Any) -> Any:
    """Tables that average over axes write them as text."""
    return float(level) if name == "fraction" else level
