"""Relative mask similarity: how much of their masks do tickets of one pruner share that start from other weights?

|a and b| / |a or b| of the weights that two masks keep, as Chen et al. 2021, arXiv:2012.06908, compare pre-trainings.
"""

from __future__ import annotations

import functools

import pandas as pd

from analysis.layers import Packed, read
from analysis.overlap import Overlap, compared
from analysis.pretrainings import methods
from bench.store import Store, StoreError

# What two tickets share, besides the seed.
SETTING = ("grid", "architecture", "granularity", "source", "pruner", "dataset", "fraction", "sparsity", "round")
SIMILARITY_COLUMNS = {
    **dict.fromkeys(SETTING, ""),
    "dataset": "data set that the masks were found on downstream; blank where they serve several",
    "fraction": "share of its labels; blank where they serve several",
    "pretraining_seed": "of everything upstream",
    "seed": "of the masks; the lowest where one mask serves several seeds",
    "pretraining_a": "where the weights of the one ticket come from",
    "pretraining_b": "the same of the other one",
    "ticket_a": "key of the artifact",
    "ticket_b": "key of the artifact",
    "iou": "weights that both keep, as a share of those that one of them keeps, in [0, 1]",
    "expected_iou": "the same, expected of independent masks of the same densities by layer (ratio of expectations)",
    "note": "why numbers are blank",
}
# A pair takes a few milliseconds and two files of some megabytes; the lowest seeds come first.
MOST = 4_000
_RUN = ("grid", "architecture", "granularity", "source", "pruner", "sparsity", "round", "pretraining_seed")
_PAIR = ("ticket_a", "ticket_b")


def similarity(table: pd.DataFrame, store: Store | None, *, most: int = MOST) -> pd.DataFrame:
    """The table of SIMILARITY_COLUMNS: every pair of tickets of a `frame` that differ in their pre-training alone.

    None without a store. A pair that cannot be compared, and those beyond `most`, have no numbers, and a note.
    """
    pairs = _pairs(table) if store is not None else _pairs(table[:0])
    found: list[tuple[float, float, str]] = []
    if store is not None:
        # Pairs of one setting and seed lie together and share their masks.
        read_once = functools.lru_cache(maxsize=16)(functools.partial(_read, store))
        order = pairs.sort_values(["seed", *SETTING, *_PAIR], kind="stable").index
        chosen = set(order[:most])
        found = [
            _similar(read_once(a), read_once(b)) if row in chosen else (*_BLANK, f"not read: of {len(pairs):,} pairs")
            for row, a, b in pairs[list(_PAIR)].itertuples(name=None)
        ]
    numbers = pd.DataFrame(found, columns=["iou", "expected_iou", "note"], index=pairs.index)
    return pairs.join(numbers.astype({"iou": "float64", "expected_iou": "float64", "note": "str"}))[
        list(SIMILARITY_COLUMNS)
    ]


_BLANK = (float("nan"),) * 2


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Distinct pairs of tickets with everything but their numbers, sorted."""
    rows = table[(table["pruner"] != "dense") & (table["ticket"] != "")]
    rows = rows[[*_RUN, "dataset", "fraction", "seed", "pretraining", "ticket"]].drop_duplicates()
    at = [*_RUN, "dataset", "fraction", "seed"]
    pairs = rows.merge(rows, on=at, suffixes=("_a", "_b"))
    # By the method first: a file of weights stands where the method that trained it would.
    rank = [methods(pairs[name]) + " " + pairs[name] for name in ("pretraining_a", "pretraining_b")]
    pairs = pairs[(rank[0] < rank[1]) & (pairs["ticket_a"] != pairs["ticket_b"])]
    groups = pairs.groupby([*_RUN, "pretraining_a", "pretraining_b", *_PAIR], sort=True, dropna=False)
    found = groups[["dataset", "fraction", "seed"]].min()
    counts = groups[["dataset", "fraction"]].nunique()
    found["dataset"] = found["dataset"].where(counts["dataset"] == 1, "").astype("str")
    found["fraction"] = found["fraction"].where(counts["fraction"] == 1)
    keys = [*SETTING, "pretraining_seed", "seed", "pretraining_a", "pretraining_b", *_PAIR]
    return found.reset_index().sort_values(keys, ignore_index=True)[keys]


def _read(store: Store, ticket: str) -> dict[str, Packed] | str:
    """The masks, or why they cannot be read."""
    try:
        return read(store, ticket)
    except StoreError as error:
        return str(error)


def _similar(a: dict[str, Packed] | str, b: dict[str, Packed] | str) -> tuple[float, float, str]:
    counts, problem = compared(a, b)
    whole = Overlap(*map(sum, zip(*counts.values(), strict=True))) if counts else Overlap(0, 0, 0, 0)
    return (*whole.ratios(), problem)
