"""Tickets beside their controls at one sparsity per data set: random masks, and other weights under the same mask.

The layout of Table 2 of Chen et al. 2020, arXiv:2007.12223.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import words
from analysis.frame import DECIMALS, DENSE_REFERENCE, ENTRY, draws_masks
from analysis.published import FOLDER, reported
from analysis.statistics.equivalence import ALPHA
from analysis.statistics.intervals import CONFIDENCE, Floats
from analysis.statistics.paired import paired_t
from analysis.statistics.ranks import holm
from analysis.tasks import are_first_scores, in_order
from analysis.wording import base
from bench.catalog import PRUNERS

DENSE, TICKET, CONTROL, VARIANT = "dense", "ticket", "control", "variant"
KEYS = tuple(name for name in DENSE_REFERENCE if name not in ("dataset", "metric"))
SETTING = (*KEYS, "granularity")
CONTROLS_COLUMNS = {
    **dict.fromkeys(SETTING, ""),
    "dataset": "",
    "metric": "what the data set is judged by first",
    "sparsity": "at which the data set has most controls, then most tickets, then the sparsest; of dense too",
    "role": f"{DENSE}, {TICKET}, {CONTROL} (a random mask, or a ticket with other weights or the opposite mask), "
    f"{VARIANT} (a ticket's mask on weights from another moment, or standard pruning)",
    "pruner": "on=downstream where the mask was found on the data set, whichever way the grid says so",
    "higher_is_better": "direction of the metric",
    "n": "seeds with a value",
    "complete": "whether these are all that were planned",
    "mean": "mean over seeds, in the metric's unit",
    "sd": "standard deviation over seeds (ddof 1)",
    "diff_mean": "mean - that of the dense network",
    "label": "superior, matching, inferior or inconclusive against dense; blank where nothing can be inferred",
    "within_sd": "papers' rule: at most one standard deviation, the larger of the two, worse than dense",
    "ticket": "what a control or a variant is compared with: the same word without its control or rewinding; of random "
    "masks the ticket with most controls, else the first",
    "gain_mean": "ticket - this, paired by seed, positive where the ticket is better",
    "gain_low": f"lower limit of its {CONFIDENCE:.0%} t interval",
    "gain_high": "upper limit",
    "n_pairs": "seeds with values of both",
    "p": "two-sided p of the paired t test; blank until every planned seed is a pair",
    "p_holm": "the same after Holm's correction over the comparisons of the setting",
    "ticket_is": f"better or worse where p_holm is below {ALPHA:.2g}, else inconclusive; blank where p is",
    "study": "whose published numbers are beside it",
    "published": "mean, as published",
    "published_sd": "standard deviation over runs, as published",
    "published_n": "runs",
    "difference": "mean - published",
    "note": "why numbers are blank",
}
_AT = (*SETTING, "dataset")
_MEASURED = ("higher_is_better", "n", "complete", "mean", "sd", "diff_mean", "label")
ROLES = (DENSE, TICKET, CONTROL, VARIANT)


def controls(table: pd.DataFrame, board: pd.DataFrame, tested: pd.DataFrame, *, folder: Path = FOLDER) -> pd.DataFrame:
    """The table of CONTROLS_COLUMNS, of every data set and setting of a `frame` that planned a control.

    board, tested: its `leaderboard` and `matching`. folder: of published numbers. Masks that were found on other data
    sets than target and source are left to the transfer matrix.
    """
    rows = _chosen(_entries(board))
    rows = rows.merge(tested[[*ENTRY, "by_sd_larger"]], on=list(ENTRY), how="left", validate="one_to_one")
    rows = rows.rename(columns={"by_sd_larger": "within_sd"})
    rows["ticket"] = _tickets(rows)
    rows = rows.join(_gains(rows, table))
    rows = rows.join(_published(rows, folder))
    rows["sparsity"] = rows["sparsity_of_set"]
    dense = rows["role"] == DENSE
    note = pd.Series("", index=rows.index, dtype="str")
    note = note.mask(~rows["complete"].astype(bool), "a planned seed is missing")
    undone = rows["complete"].astype(bool) & rows["diff_mean"].isna()
    note = note.mask(undone, "the dense network lacks a planned seed, or is not planned")
    lacking = "its ticket was not planned at this sparsity"
    rows["note"] = note.mask((note == "") & (rows["ticket"] == "") & rows["role"].isin((CONTROL, VARIANT)), lacking)
    rows.loc[dense, ["label", "note"]] = rows.loc[dense, ["label", "note"]].fillna("")
    return rows.drop(columns="pruner").rename(columns={"word": "pruner"})[list(CONTROLS_COLUMNS)]


def by_setting(controls: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows by setting, of settings with a value: those with most controls first, then all labels before few."""
    groups = controls.groupby(list(SETTING), sort=True, dropna=False)
    found = [(dict(zip(SETTING, keys, strict=True)), part) for keys, part in groups if part["n"].sum() > 0]

    def place(group: tuple[dict[str, Any], pd.DataFrame]) -> tuple[int, float]:
        setting, part = group
        return -part.loc[part["role"] == CONTROL, "pruner"].nunique(), -setting["fraction"]

    return sorted(found, key=place)


def _entries(board: pd.DataFrame) -> pd.DataFrame:
    """First scores of dense networks and of masks found on target or source, with their words and roles."""
    rows = board.loc[are_first_scores(board), [*ENTRY, *_MEASURED]].reset_index(drop=True)
    rows["word"] = words.pruners_by_target(rows)
    searched = {word: words.searched(word, "upstream", "downstream") for word in rows["word"].unique()}
    rows = rows[rows["word"].map(lambda word: searched[word] in (None, "upstream", "downstream")).astype(bool)]
    # Of two words for one mask the one that has all its seeds.
    rows = rows.sort_values("complete", ascending=False, kind="stable")
    rows = rows.drop_duplicates([*_AT, "sparsity", "word"]).sort_index()
    return rows.assign(role=_roles(rows))


def _roles(rows: pd.DataFrame) -> pd.Series[str]:
    role = pd.Series(TICKET, index=rows.index, dtype="str")
    role = role.mask(rows["word"].map(words.ticket) != rows["word"], VARIANT)
    role = role.mask(draws_masks(rows["word"]) | (rows["word"].map(words.control) != ""), CONTROL)
    return role.mask(rows["pruner"] == "dense", DENSE)


def _chosen(entries: pd.DataFrame) -> pd.DataFrame:
    """All entries at the one sparsity of every data set, with its dense network, in the order of the table."""
    pruned = entries[entries["role"] != DENSE]
    levels = pruned.assign(controls=pruned["role"] == CONTROL).groupby([*_AT, "sparsity"], dropna=False)["controls"]
    counts = levels.agg(["sum", "size"]).reset_index()
    counts = counts[counts["sum"] > 0].sort_values(["sum", "size", "sparsity"], ascending=False, kind="stable")
    level = counts.drop_duplicates(list(_AT))[[*_AT, "sparsity"]]
    tickets = pruned.merge(level, on=[*_AT, "sparsity"]).assign(sparsity_of_set=lambda rows: rows["sparsity"])
    dense = entries[entries["role"] == DENSE].rename(columns={"granularity": "of_dense"})
    level = level.rename(columns={"sparsity": "sparsity_of_set"})
    dense = dense.merge(level, on=[name for name in _AT if name != "granularity"])
    rows = pd.concat([dense, tickets], ignore_index=True)
    sets, pruners = in_order(rows["dataset"]), list(PRUNERS)
    rows["set"] = rows["dataset"].map({name: place for place, name in enumerate(sets)})
    rows["place"] = [_place(role, word, pruners) for role, word in zip(rows["role"], rows["word"], strict=True)]
    # Dense networks are planned once for all granularities; ENTRY finds them by their own.
    return rows.sort_values([*SETTING, "set", "place"], kind="stable", ignore_index=True)


def _place(role: str, word: str, pruners: list[str]) -> tuple[int, int, int, int, str]:
    """Tickets found on the target first; random masks before other controls, and these as the catalog lists them."""
    name = base(word)
    known = pruners.index(name) if name in pruners else len(pruners)
    entry = PRUNERS.get(name)
    choices = entry.options["control"].choices if entry is not None and "control" in entry.options else ()
    control, iterative = words.control(word), entry is not None and entry.iterative
    on_target = words.searched(word, "upstream", "downstream") == "downstream"
    step = choices.index(control) + 1 if control in choices else 0
    return ROLES.index(role), step, 0 if iterative else 1 + known, int(not on_target), word


def _tickets(rows: pd.DataFrame) -> pd.Series[str]:
    """The ticket that each control and variant is compared with; blank of others, and where it is absent."""
    found = pd.Series("", index=rows.index, dtype="str")
    for _, part in rows.groupby(list(_AT), sort=False, dropna=False):
        own = part["word"].map(words.ticket)
        tickets = part.loc[part["role"] == TICKET, "word"].tolist()
        controlled = own[part["role"] == CONTROL].value_counts()
        main = max(tickets, key=lambda word: int(controlled.get(word, 0)), default="")
        random = draws_masks(part["word"]) & (part["word"] == own)
        named = own.where(own.isin(tickets) & (own != part["word"]), "").mask(random, main)
        found[part.index] = named.where(part["role"].isin((CONTROL, VARIANT)), "")
    return found


def _gains(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Differences of each row's ticket to it, by seed: columns gain_*, n_pairs, p, p_holm, ticket_is."""
    values, planned = _by_seed(rows, table)
    at = {tuple(key): row for row, key in enumerate(rows[[*_AT, "word"]].to_numpy())}
    keys = rows[[*_AT, "ticket"]].to_numpy()
    other = np.array([at.get(tuple(key), -1) if key[-1] else -1 for key in keys], dtype=np.int64)
    sign = np.where(rows["higher_is_better"].astype(bool), 1.0, -1.0)[:, None]
    difference = np.where((other >= 0)[:, None], sign * (values[other] - values), np.nan)
    found = paired_t(np.asarray(np.round(difference, DECIMALS), np.float64))
    whole = (other >= 0) & (found.n == (planned & planned[other]).sum(axis=1))
    p = np.where(whole, found.p, np.nan)
    corrected, _ = holm(p, rows.groupby(list(SETTING), sort=False, dropna=False).ngroup().to_numpy())
    verdict = np.where(corrected >= ALPHA, "inconclusive", np.where(found.mean > 0, "better", "worse"))
    return pd.DataFrame(
        {
            "gain_mean": found.mean,
            "gain_low": found.low,
            "gain_high": found.high,
            "n_pairs": found.n,
            "p": p,
            "p_holm": corrected,
            "ticket_is": pd.Series(np.where(np.isnan(corrected), "", verdict), dtype="str"),
        }
    )


def _by_seed(rows: pd.DataFrame, table: pd.DataFrame) -> tuple[Floats, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Values (rows, seeds), NaN where there is none, and which were planned."""
    pairs = rows[list(ENTRY)].assign(row=np.arange(len(rows))).merge(table[[*ENTRY, "seed", "value"]], on=list(ENTRY))
    seeds, column = np.unique(pairs["seed"].to_numpy(), return_inverse=True)
    shape = (len(rows), max(len(seeds), 1))
    values, planned = np.full(shape, np.nan), np.zeros(shape, np.bool_)
    at = (pairs["row"].to_numpy(), column)
    values[at], planned[at] = pairs["value"], True
    return values, planned


def _published(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    found = reported(rows, folder=folder)
    found = found.rename(columns={"value": "published", "sd": "published_sd", "n_runs": "published_n"})
    return found.assign(difference=rows["mean"] - found["published"])
