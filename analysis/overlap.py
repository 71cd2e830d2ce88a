"""How alike are the masks of two tickets of one sparsity? Intersection over union, beside that of independent masks."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.layers import SETTING, Packed, read, tickets
from bench.store import Store, StoreError

_PAIR = {
    **dict.fromkeys(SETTING, ""),
    "ticket_a": "key of the artifact",
    "ticket_b": "key of the artifact",
    "name_a": "what sets the ticket apart from the others of the setting",
    "name_b": "the same of the other one",
}
_OVERLAP = {
    "iou": "weights that both keep, as a share of those that one of them keeps, in [0, 1]",
    "expected_iou": "the same, expected of independent masks of the same densities by layer (ratio of expectations)",
    "note": "why numbers are blank; how many tickets of the setting are compared where it is not all",
}
OVERLAP_COLUMNS = {**_PAIR, **_OVERLAP}
OVERLAP_LAYERS_COLUMNS = {**_PAIR, "layer": "name of the weight", "position": "of the layer, from 0", **_OVERLAP}
# 276 pairs a setting: as many as a heat-map can name.
MAX_TICKETS = 24


class Overlap(NamedTuple):
    """Weights of both, of at least one, and the expected numbers of the two for independent masks."""

    both: float
    either: float
    expected_both: float
    expected_either: float

    def ratios(self) -> tuple[float, float]:
        """Observed and expected; NaN where neither mask keeps anything."""
        if not self.either:
            return float("nan"), float("nan")
        return self.both / self.either, self.expected_both / self.expected_either


def overlap(
    table: pd.DataFrame, store: Store | None, *, max_tickets: int = MAX_TICKETS
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `overlap` and `overlap_layers`: pairs of tickets of a grid, architecture, granularity and sparsity.

    Of a setting with more than `max_tickets` tickets those of the lowest seeds are compared, masks that serve several
    data sets before those of a single one, and every row of it says of how many. A pair that cannot be compared has a
    row without numbers, whose note says why. Both are empty without a store. Raises ValueError if max_tickets is below
    2.
    """
    if max_tickets < 2:
        raise ValueError(f"max_tickets is {max_tickets}: a pair needs 2")
    pairs: list[tuple[object, ...]] = []
    by_layer: list[tuple[object, ...]] = []
    if store is not None:
        found = _lowest_seeds_first(table)
        starts = np.flatnonzero(~found.duplicated(list(SETTING)))
        for start, stop in itertools.pairwise([*starts.tolist(), len(found)]):
            chosen = found[start : min(stop, start + max_tickets)].sort_values(["name", "ticket"])
            cut = f"{max_tickets} of {stop - start} tickets are compared: the lowest seeds"
            _compare(store, chosen, cut if len(chosen) < stop - start else "", pairs, by_layer)
    return _table(pairs, OVERLAP_COLUMNS), _table(by_layer, OVERLAP_LAYERS_COLUMNS)


def _table(rows: list[tuple[object, ...]], columns: dict[str, str]) -> pd.DataFrame:
    numbers = {
        "sparsity": "float64",
        "round": "Int64",
        "position": "int64",
        "iou": "float64",
        "expected_iou": "float64",
    }
    return pd.DataFrame(rows, columns=list(columns)).astype({name: numbers.get(name, "str") for name in columns})


def _compare(
    store: Store, chosen: pd.DataFrame, cut: str, pairs: list[tuple[object, ...]], by_layer: list[tuple[object, ...]]
) -> None:
    """Append the rows of every pair of the chosen tickets of one setting."""
    setting = tuple(chosen.iloc[0][list(SETTING)])
    named = list(chosen[["ticket", "name"]].itertuples(index=False, name=None))
    masks = {ticket: _read(store, ticket) for ticket, _ in named}
    for (a, name_a), (b, name_b) in itertools.combinations(named, 2):
        key = (*setting, a, b, name_a, name_b)
        counts, problem = compared(masks[a], masks[b])
        whole = Overlap(*map(sum, zip(*counts.values(), strict=True))) if counts else Overlap(0, 0, 0, 0)
        pairs.append((*key, *whole.ratios(), "; ".join(filter(None, (problem, cut)))))
        for position, (layer, one) in enumerate(counts.items()):
            empty = "" if one.either else "neither mask keeps anything"
            by_layer.append((*key, layer, position, *one.ratios(), "; ".join(filter(None, (empty, cut)))))


def _lowest_seeds_first(table: pd.DataFrame) -> pd.DataFrame:
    groups = table.groupby("ticket")
    seeds = groups[["seed", "pretraining_seed"]].min()
    found = tickets(table).join(seeds.assign(own=groups["dataset"].nunique() == 1), on="ticket")
    order = [*SETTING, "seed", "pretraining_seed", "own", "name", "ticket"]
    return found.sort_values(order, kind="stable", ignore_index=True)


def _read(store: Store, ticket: str) -> dict[str, Packed] | str:
    """The masks, or why they cannot be read."""
    try:
        return read(store, ticket)
    except StoreError as error:
        return str(error)


def compared(a: dict[str, Packed] | str, b: dict[str, Packed] | str) -> tuple[dict[str, Overlap], str]:
    """Counts by layer, or none and why: masks that could not be read (a text says so), or that do not fit."""
    if isinstance(a, str) or isinstance(b, str):
        return {}, "; ".join(dict.fromkeys(problem for problem in (a, b) if isinstance(problem, str)))
    if {name: mask.shape for name, mask in a.items()} != {name: mask.shape for name, mask in b.items()}:
        return {}, "the masks are of different layers or shapes"
    counts = {name: layer_overlap(mask, b[name]) for name, mask in a.items()}
    return counts, "" if any(one.either for one in counts.values()) else "neither mask keeps anything"


def layer_overlap(a: Packed, b: Packed) -> Overlap:
    """Counts of two masks of one shape; independent masks share kept_a kept_b / total weights on average."""
    both = int(np.bitwise_count(a.bits & b.bits).sum(dtype=np.int64))
    kept_a, kept_b = a.kept, b.kept
    expected = kept_a * kept_b / a.total
    return Overlap(both, kept_a + kept_b - both, expected, kept_a + kept_b - expected)
