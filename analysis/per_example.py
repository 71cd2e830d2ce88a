"""Ticket against dense network, example by example: do they err on different images?"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from analysis.frame import DENSE_REFERENCE, DONE, ENTRY, IDENTITY
from analysis.statistics.mcnemar import mcnemar
from analysis.statistics.ranks import holm
from analysis.wording import is_accuracy
from bench.store import Store, StoreError

PER_EXAMPLE_COLUMNS = {
    **dict.fromkeys(ENTRY, ""),
    "seed": "of the transfer, of the ticket and of the dense network",
    "n_examples": "examples that both were evaluated on",
    "both_right": "examples that both get right",
    "only_dense": "examples that only the dense network gets right",
    "only_ticket": "examples that only the ticket gets right",
    "both_wrong": "examples that neither gets right",
    "diff": "(only_ticket - only_dense) / n_examples: accuracy of the ticket less that of the dense network",
    "p_mcnemar": "exact McNemar p, two-sided: of these two networks on new examples, not of new seeds",
    "p_holm": "corrected over all rows of the grid, metric and selection",
    "note": "why numbers are blank",
}
_COUNTS = ("n_examples", "both_right", "only_dense", "only_ticket", "both_wrong")
EXAMPLES = "examples.safetensors"
# Evaluations of tickets that are read at most: each is a file of up to a megabyte, read at every analysis.
MOST = 20_000


class Unreadable(Exception):
    """The values by example of an evaluation cannot be used; the message says why."""


def per_example(table: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """The table of PER_EXAMPLE_COLUMNS: a row per ticket, seed and accuracy of a `frame`; none without a store.

    Ticket and dense network of the same axes and seed are paired by example. An evaluation that is absent, corrupt or
    keeps no values by example gives a blank row whose note says so; so do all rows where there are more than MOST.
    """
    accuracies = [metric for metric in table["metric"].unique() if is_accuracy(metric)]
    rows = table[table["metric"].isin(accuracies)].sort_values(list(IDENTITY), kind="stable")
    pair = [*DENSE_REFERENCE, "seed"]
    dense = rows.loc[rows["pruner"] == "dense", [*pair, "key", "value", "status"]]
    tickets = rows[rows["pruner"] != "dense"].merge(dense, on=pair, how="left", suffixes=("", "_dense"))
    found: list[tuple[tuple[float, ...], str]] = []
    if store is None:
        tickets = tickets[:0]
    elif len(tickets) > MOST:
        found = [(_BLANK, f"not read: of {len(tickets):,} evaluations; select at most {MOST:,} with --only")] * len(
            tickets
        )
    else:
        # A dense network is read once for all its tickets, which lie together only in part.
        read = functools.lru_cache(maxsize=256)(functools.partial(_right, store))
        asked = tickets[[f"{name}{side}" for side in ("", "_dense") for name in ("key", "value", "status")]]
        found = [_compared(read, *row) for row in asked.itertuples(index=False, name=None)]
    table = tickets[[*ENTRY, "seed"]].copy()
    counts = np.array([numbers for numbers, _ in found], dtype=np.float64).reshape(-1, 4).T
    n, only_dense, only_ticket = counts.sum(axis=0), counts[1], counts[2]
    for name, values in zip(_COUNTS, (n, *counts), strict=True):
        table[name] = pd.array(values, dtype="Float64").astype("Int64")
    table["diff"] = (only_ticket - only_dense) / n
    table["p_mcnemar"] = mcnemar(only_dense, only_ticket)
    family = table.groupby(["grid", "metric", "selection"]).ngroup()
    table["p_holm"] = holm(table["p_mcnemar"].to_numpy(), family.to_numpy())[0]
    table["note"] = pd.Series([note for _, note in found], index=table.index, dtype="str")
    return table[list(PER_EXAMPLE_COLUMNS)]


Right = npt.NDArray[np.bool_]
_BLANK = (np.nan,) * 4


def _compared(
    read: Callable[[str, float], Right], key: str, value: float, status: str, dense: str, expected: float, known: str
) -> tuple[tuple[float, ...], str]:
    """Counts of both right, only dense, only ticket, neither; and why they are blank."""
    if status != DONE or known != DONE:
        return _BLANK, "the ticket is not evaluated" if status != DONE else "the dense network is not evaluated"
    try:
        ticket, reference = read(key, value), read(dense, expected)
    except (Unreadable, StoreError) as error:
        return _BLANK, str(error)
    if len(ticket) != len(reference):
        return _BLANK, f"the ticket was evaluated on {len(ticket)} examples, the dense network on {len(reference)}"
    both = int((ticket & reference).sum())
    only_dense, only_ticket = int(reference.sum()) - both, int(ticket.sum()) - both
    note = "" if only_dense or only_ticket else "no example tells the two networks apart"
    return (both, only_dense, only_ticket, len(ticket) - both - only_dense - only_ticket), note


def _right(store: Store, key: str, value: float) -> Right:
    """Which examples are right, if their share is the reported value. Raises Unreadable, StoreError."""
    path = store.open(key).file(EXAMPLES)
    try:
        right = load_file(path).get("correct")
    except (SafetensorError, OSError) as error:
        raise Unreadable(f"evaluation {key}: {EXAMPLES} is unreadable ({error})") from None
    # Some metrics keep one value per example and draw, or the worst over several attacks.
    if right is None or right.ndim != 1 or not len(right) or abs(right.mean() - value) > 1e-6:
        raise Unreadable(f"evaluation {key} does not keep which examples this metric counts as right")
    return right.astype(np.bool_)
