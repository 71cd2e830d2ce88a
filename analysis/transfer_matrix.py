"""Masks found on one data set, transferred to others: is a mask as good as the one found on the target itself?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frame import DECIMALS, DENSE_REFERENCE
from analysis.statistics.intervals import CONFIDENCE
from analysis.statistics.paired import paired_t
from analysis.tasks import are_first_scores
from analysis.wording import base
from analysis.words import searched, without
from bench.store import Store, StoreError

_NETWORK = ("architecture", "pretraining", "source", "pretraining_seed", "granularity", "sparsity", "round")
_SETTING = ("grid", *_NETWORK, "transfer", "objective", "fraction", "metric", "selection")
KEYS = (*_SETTING, "family")
# The metric of counts over all targets, where targets are judged by different ones.
FIRST_SCORES = "first score of each target"
_MEANING = {
    **dict.fromkeys(_SETTING, ""),
    "source": "data set of the pre-training; a mask may have been found on another",
    "family": "pruner without the set that it searched; masks found without data are in every family of the setting",
    "mask_source": "data set that the mask was found on; `weights of <source> (<pruner>)` where none was read",
}
TRANSFER_MATRIX_COLUMNS = {
    **_MEANING,
    "target": "data set that the ticket was transferred to",
    "first_score": "whether the metric is what the target is judged by first",
    "higher_is_better": "direction of the metric",
    "n": "seeds with ticket and dense network",
    "mean": "of the tickets over seeds",
    "diff_mean": "ticket - dense, paired by seed, in the metric's unit",
    "diff_low": f"lower limit of its {CONFIDENCE:.0%} t interval",
    "diff_high": "upper limit",
    "same_task": "whether the mask was found on the target",
    "at_or_above_same_task": "whether diff_mean is at least as good as that of the family's mask found on the target",
    "note": "why cells are blank",
}
TRANSFER_COUNTS_COLUMNS = {
    **_MEANING,
    "metric": f"`{FIRST_SCORES}`: over all targets, where these are judged by different metrics",
    "n_targets": "other targets on which the comparison can be made",
    "n_at_or_above": "targets among them on which the mask is at least as good as the target's own",
    "note": "why numbers are blank",
}
# Of pruners that search no data: what they read instead of the weights.
_NOT_WEIGHTS = {"random": "chance", "ticket": "a file"}
_WEIGHTS = "weights of "


def transfer_matrix(table: pd.DataFrame, store: Store | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `transfer_matrix` and `transfer_counts` of a `frame`.

    Where the mask was found is read from the ticket's artifact if a store has it, else from the pruner's word. Cells
    with a missing seed keep their mean, and are compared with nothing.
    """
    tickets = table[table["pruner"] != "dense"].reset_index(drop=True)
    labels = _labelled(tickets, store)
    pair = [*DENSE_REFERENCE, "seed"]
    dense = table.loc[table["pruner"] == "dense", [*pair, "value"]].rename(columns={"value": "dense"})
    rows = tickets.join(labels).assign(target=tickets["dataset"]).merge(dense, on=pair, how="left")
    rows = _in_every_family(rows)
    by = [*KEYS, "mask_source", "target"]
    seeds = rows.assign(diff=rows["value"] - rows["dense"]).groupby([*by, "seed"], dropna=False, sort=True)
    # Two words may name one mask, such as a search upstream and a search on a target that is the source itself.
    runs = seeds.agg(value=("value", "mean"), diff=("diff", "mean"), higher_is_better=("higher_is_better", "first"))
    runs = runs.reset_index()
    groups = runs.groupby(by, dropna=False, sort=True)
    matrix = groups.agg(
        higher_is_better=("higher_is_better", "first"), mean=("value", "mean"), planned=("diff", "size")
    ).reset_index()
    differences = np.full((len(matrix), int(matrix["planned"].max()) if len(matrix) else 1), np.nan)
    differences[groups.ngroup(), groups.cumcount()] = runs["diff"]
    found = paired_t(differences)
    matrix = matrix.assign(n=found.n, diff_mean=found.mean, diff_low=found.low, diff_high=found.high)
    complete = pd.Series(found.n == matrix["planned"].to_numpy(), index=matrix.index)
    pairs = matrix["n"].astype("str") + " of " + matrix["planned"].astype("str") + " pairs have values"
    matrix["note"] = pairs.mask(complete, "")
    matrix = against_same_task(matrix, known=complete)
    matrix["first_score"] = are_first_scores(matrix.rename(columns={"target": "dataset"}))
    counts, pooled = transfer_counts(matrix), over_first_scores(matrix)
    if len(pooled):
        counts = pd.concat([counts, transfer_counts(pooled)], ignore_index=True)
    return matrix[list(TRANSFER_MATRIX_COLUMNS)], counts


def over_first_scores(matrix: pd.DataFrame) -> pd.DataFrame:
    """The rows whose metric is their target's first score, in settings with several such metrics.

    Their metric is FIRST_SCORES; `measured_by` holds what it was.
    """
    first = matrix[matrix["first_score"]]
    setting = [first[name] for name in KEYS if name != "metric"]
    several = first["metric"].groupby(setting, dropna=False).transform("nunique") > 1
    found = first[several]
    return found.assign(measured_by=found["metric"], metric=FIRST_SCORES)


def found_on_data(mask_source: str) -> bool:
    """Whether a mask was found on a data set: neither on weights alone, nor by chance, nor read from a file."""
    name, bracket, _ = mask_source.partition(" (")
    return not bracket or not (name.startswith(_WEIGHTS) or name in _NOT_WEIGHTS.values())


def against_same_task(matrix: pd.DataFrame, *, known: pd.Series[bool]) -> pd.DataFrame:
    """The matrix with `same_task` and `at_or_above_same_task` filled in from diff_mean.

    The latter is blank where the cell or the target's own is not `known`; `note` then says so.
    """
    same = matrix["mask_source"] == matrix["target"]
    better = matrix["diff_mean"].where(matrix["higher_is_better"], -matrix["diff_mean"]).where(known).round(DECIMALS)
    at = [*KEYS, "target"]
    diagonal = matrix.loc[same, at].assign(own=better[same])
    own = matrix[at].merge(diagonal, on=at, how="left", validate="many_to_one")["own"].set_axis(matrix.index)
    above = (better >= own).astype("boolean").mask((better.isna() | own.isna()).to_numpy())
    lacking = "no complete mask of the family was found on the target"
    note = matrix["note"].mask((own.isna() & (matrix["note"] == "")).to_numpy(), lacking)
    return matrix.assign(same_task=same, at_or_above_same_task=above, note=note)


def transfer_counts(matrix: pd.DataFrame) -> pd.DataFrame:
    """On how many other targets each mask is at least as good as the target's own: TRANSFER_COUNTS_COLUMNS.

    The diagonal counts nothing, as in the counts beside Figure 2 of Chen et al. 2020, arXiv:2007.12223.
    """
    others = matrix.assign(
        compared=matrix["at_or_above_same_task"].notna() & ~matrix["same_task"],
        above=matrix["at_or_above_same_task"].fillna(False) & ~matrix["same_task"],
    )
    groups = others.groupby([*KEYS, "mask_source"], dropna=False, sort=True)
    counts = groups.agg(n_targets=("compared", "sum"), n_at_or_above=("above", "sum")).reset_index()
    counts["n_targets"] = counts["n_targets"].astype("int64")
    counts["n_at_or_above"] = counts["n_at_or_above"].astype("Int64").mask(counts["n_targets"] == 0)
    note = pd.Series("", index=counts.index, dtype="str")
    counts["note"] = note.mask(
        counts["n_targets"] == 0, "no other target has a complete mask of its own to compare with"
    )
    return counts[list(TRANSFER_COUNTS_COLUMNS)]


def _labelled(tickets: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """family, mask_source and whether the pruner searches data, by row."""
    asked = tickets[["ticket", "pruner", "source", "dataset"]]
    distinct = asked.drop_duplicates()
    found = [_found_on(store, *row) for row in distinct.itertuples(index=False, name=None)]
    columns = ["family", "mask_source", "searches"]
    labels = distinct.assign(**dict(zip(columns, zip(*found, strict=True), strict=True))) if found else distinct
    joined = asked.merge(labels.reindex(columns=[*asked.columns, *columns]), on=list(asked.columns), how="left")
    return joined[columns].astype({"family": "str", "mask_source": "str", "searches": "bool"}).set_index(tickets.index)


def _found_on(store: Store | None, ticket: str, label: str, source: str, target: str) -> tuple[str, str, bool]:
    family, on = without(label, "on"), searched(label, source, target)
    if on is None:
        return family, mask_without_data(label, source), False
    read = _read_set(store, ticket) if store is not None else None
    if read is not None:
        on = read or mask_without_data(family, source)
    return family, on, True


def mask_without_data(label: str, source: str) -> str:
    """What a pruner that searches no data reads instead, and its word."""
    return f"{_NOT_WEIGHTS.get(base(label), f'{_WEIGHTS}{source}')} ({label})"


def _read_set(store: Store, ticket: str) -> str | None:
    """The data set that a mask was found on, blank if none was read; None where the artifact cannot say."""
    try:
        stage = store.open(ticket).manifest["stage"]
        parameters = stage["parameters"]
        # A control is made of the mask that another stage found.
        if parameters["control"]:
            return _read_set(store, stage["inputs"]["ticket"])
        return str(parameters["data"]["dataset"]["label"]) if parameters["data"] else ""
    except (StoreError, KeyError, TypeError):
        return None


def _in_every_family(rows: pd.DataFrame) -> pd.DataFrame:
    """Masks found without data, once for every family that searched in their setting; alone where none did."""
    searched = rows[rows["searches"]]
    free = rows[~rows["searches"]]
    families = searched[list(KEYS)].drop_duplicates().rename(columns={"family": "beside"})
    free = free.merge(families, on=list(_SETTING), how="left")
    free["family"] = free["beside"].fillna(free["family"])
    return pd.concat([searched, free.drop(columns="beside")], ignore_index=True)
