"""Tickets that match in several respects at once: clean and robust under two objectives, or on every task.

All of them have to hold, so that each is tested at 5 % and the claim is wrong in at most 5 %: the p of the whole is the
largest (intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frame import CURVE
from analysis.matching import matches
from analysis.stems import networks
from analysis.wording import bases
from analysis.words import searched

Flags = npt.NDArray[np.bool_]
CLEAN = "accuracy"
ROBUST = ("pgd_accuracy", "autoattack_accuracy")
# The metric of a task, the first of these that it has.
PRIMARY = ("accuracy", "mean_iou", "ap", "matthews", "pearson", "f1")
_NETWORK = ("grid", "architecture", "pretraining", "source", "pruner", "granularity", "sparsity", "round")
_TICKET = (*_NETWORK, "dataset", "transfer", "fraction", "pretraining_seed")
# What a universal ticket is asked for under: the tasks that the grid has there.
_SETTING = ("grid", "transfer", "objective", "fraction")
_CORNERS = ("standard_sa", "standard_ra", "adversarial_sa", "adversarial_ra")
DOUBLE_WIN_COLUMNS = {
    **dict.fromkeys(_TICKET, "identity of the ticket, see the frame"),
    "objective": "the adversarial objective; the other is `standard`",
    "selection": "which network of the adversarial transfer",
    "robust_metric": "what RA is; SA is the accuracy",
    "standard_sa": "label of the accuracy after standard transfer",
    "standard_ra": "label of the robust metric after standard transfer",
    "adversarial_sa": "label of the accuracy after adversarial transfer",
    "adversarial_ra": "label of the robust metric after adversarial transfer",
    "p": "largest of the four p",
    "double_win": "all four labels are matching or superior",
    "double_win_by_mean": "papers' rule: all four means are at least those of dense",
    "note": "which of the four is missing",
}
_ACROSS = tuple(name for name in (*CURVE, "sparsity", "round") if name not in ("dataset", "metric"))
UNIVERSAL_COLUMNS = {
    **dict.fromkeys(_ACROSS, "identity of the ticket and of its transfers, see the frame"),
    "architecture": "the network; without its stem where tasks have stems of their own and share the mask",
    "selection": "which of the transfer's networks; on a task that lacks it the task's own first one counts",
    "tasks": "the data sets, in alphabetical order, with the metric that counts",
    "n_tasks": "how many they are",
    "n_matching": "on how many of them the ticket is matching or superior",
    "p": "largest p over the tasks",
    "universal": "matching or superior on all of them",
    "universal_by_mean": "papers' rule: on all of them the mean is at least that of dense",
    "note": "which task is missing",
}


class UnknownTask(ValueError):
    """A data set that tickets were to match on is none of the table."""


def double_win(matching_table: pd.DataFrame) -> pd.DataFrame:
    """Whether a ticket matches in accuracy and in robust accuracy, after standard and after adversarial transfer.

    A row of DOUBLE_WIN_COLUMNS, sorted, for every ticket of a `matching` table and every adversarial objective,
    selection and robust metric that its grid has for the data set, transfer and fraction; the standard transfer is that
    of its first selection. Where one of the four has no label nothing is claimed.
    Chen et al. 2022 (double-win tickets), arXiv:2206.04762.
    """
    entries = matching_table.assign(
        ticket=matching_table.groupby(list(_TICKET), sort=True, dropna=False).ngroup(),
        robust_metric=matching_table["metric"],
        base=bases(matching_table["metric"]),
    )
    standard = entries[entries["objective"] == "standard"]
    standard = standard[standard["selection"] == standard.groupby("ticket")["selection"].transform("min")]
    adversarial = entries[bases(entries["objective"]) == "adversarial"]
    setting = ["grid", "dataset", "transfer", "fraction"]
    asked = adversarial.loc[adversarial["base"].isin(ROBUST), [*setting, "objective", "selection", "robust_metric"]]
    rows = entries.drop_duplicates("ticket")[[*_TICKET, "ticket"]].merge(asked.drop_duplicates(), on=setting)
    sources = {
        "standard_sa": (standard["metric"] == CLEAN, ["ticket"]),
        "standard_ra": (standard["base"].isin(ROBUST), ["ticket", "robust_metric"]),
        "adversarial_sa": (adversarial["metric"] == CLEAN, ["ticket", "objective", "selection"]),
        "adversarial_ra": (adversarial["base"].isin(ROBUST), ["ticket", "objective", "selection", "robust_metric"]),
    }
    for corner, (chosen, keys) in sources.items():
        source = (standard if corner.startswith("standard") else adversarial)[chosen]
        renamed = {"label": corner, "p": f"p_{corner}", "by_mean": f"mean_{corner}"}
        rows = rows.merge(source[[*keys, *renamed]].rename(columns=renamed), on=keys, how="left", validate="m:1")
        rows[corner] = rows[corner].fillna("")
    rows["p"] = rows[[f"p_{corner}" for corner in _CORNERS]].max(axis=1, skipna=False)
    rows["double_win"] = _all([matches(rows[corner]) for corner in _CORNERS])
    rows["double_win_by_mean"] = _all([rows[f"mean_{corner}"] for corner in _CORNERS])
    rows["note"] = pd.Series(_missing((rows[list(_CORNERS)] == "").to_numpy(), _CORNERS), dtype="str")
    keys = [*_TICKET, "objective", "selection", "robust_metric"]
    return rows.sort_values(keys, ignore_index=True)[list(DOUBLE_WIN_COLUMNS)]


def universal(
    matching_table: pd.DataFrame,
    tasks: Collection[str] | Mapping[str, str] | None = None,
    *,
    rows: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Whether a ticket matches on every task: the metric that counts of each data set.

    A row of UNIVERSAL_COLUMNS, sorted, for every ticket of a `matching` table that has any of the tasks. tasks: data
    sets, by default all that the grid has at the ticket's transfer, objective and fraction, each with the first of
    PRIMARY that it has; or a metric by data set. A ticket is one mask, whatever the stems of the networks that it is
    transferred to: see `analysis.stems`; rows, the frame, has the masks' keys and keeps apart what differs in them.
    Nothing is claimed where a task has no label, where there is one task only, and where every task has a mask of its
    own. Raises UnknownTask for a data set that no ticket has.
    """
    wanted, names = _tasks(matching_table, tasks)
    entries = matching_table.assign(architecture=_across_stems(matching_table, rows))
    found = _selected(entries.merge(wanted, on=[*_SETTING, "dataset", "metric"]))
    groups = found.groupby(list(_ACROSS), sort=True, dropna=False)
    ticket, rows = groups.ngroup().to_numpy(), groups.size().reset_index()[list(_ACROSS)]
    shape = (len(rows), len(names))
    asked = np.zeros(shape, np.bool_)
    pairs = rows[list(_SETTING)].reset_index(names="row").merge(wanted, on=list(_SETTING))
    asked[pairs["row"], pairs["task"]] = True

    def by_task(flags: pd.Series[bool]) -> Flags:
        """Flags of the entries, by ticket and task; False where there is no entry or its flag is blank."""
        flags_of = np.zeros(shape, np.bool_)
        flags_of[ticket, found["task"]] = flags.fillna(False).astype(bool)
        return flags_of

    def everywhere(flags: Flags) -> pd.Series[bool]:
        return pd.Series((flags | ~asked).all(axis=1))

    labelled, means = by_task(found["label"] != ""), by_task(found["by_mean"].notna())
    matching, by_mean = by_task(matches(found["label"])), by_task(found["by_mean"])
    rows["tasks"] = _listed(asked, names)
    rows["n_tasks"], rows["n_matching"] = asked.sum(axis=1), matching.sum(axis=1)
    rows["p"] = found["p"].groupby(ticket).max().where(everywhere(labelled))
    own, single = _has_own_masks(rows["pruner"]), rows["n_tasks"] == 1
    for name, holds, known in (("universal", matching, labelled), ("universal_by_mean", by_mean, means)):
        rows[name] = everywhere(holds).astype("boolean").where(everywhere(known) & ~single & ~own)
    reasons = ["every task has a mask of its own", "one task: nothing to be universal over"]
    rows["note"] = pd.Series(np.select([own, single], reasons, _missing(asked & ~labelled, names)), dtype="str")
    return rows[list(UNIVERSAL_COLUMNS)]


def _across_stems(entries: pd.DataFrame, rows: pd.DataFrame | None) -> pd.Series[str]:
    """The network of every entry, without its stem where the mask is the same for all stems."""
    shared = networks(entries)
    if rows is None or not len(entries):
        return shared
    by = [name for name in (*_NETWORK, "pretraining_seed") if name != "architecture"]
    known = rows[(rows["pruner"] != "dense") & (rows["ticket"] != "")]
    known = known.assign(network=networks(known))[[*by, "network", "architecture", "ticket"]].drop_duplicates()
    masks = known.groupby([*by, "network", "ticket"], dropna=False)["architecture"].nunique().rename("sharing")
    stems = known.groupby([*by, "network"], dropna=False)["architecture"].nunique().rename("stems")
    widest = masks.groupby([*by, "network"], dropna=False).max().to_frame().join(stems).reset_index()
    apart = widest.loc[widest["sharing"] < widest["stems"], [*by, "network"]].assign(apart=True)
    found = entries[by].assign(network=shared).merge(apart, on=[*by, "network"], how="left")
    return shared.mask(found["apart"].notna().to_numpy(), entries["architecture"])


def _selected(found: pd.DataFrame) -> pd.DataFrame:
    """The entries by the selections of the task that has most of them; a task that lacks one gives its first instead.

    Recipes differ by task, and with them the networks that a transfer keeps.
    """
    kept = found[[*_SETTING, "task", "selection"]].drop_duplicates()
    count = kept.groupby([*_SETTING, "task"])["selection"].transform("size")
    lead = kept.assign(count=-count).sort_values([*_SETTING, "count", "task"]).drop_duplicates([*_SETTING])
    asked = kept.merge(lead[[*_SETTING, "task"]], on=[*_SETTING, "task"])
    asked = asked[[*_SETTING, "selection"]].rename(columns={"selection": "asked"})
    first = kept.groupby([*_SETTING, "task"], as_index=False)["selection"].min()
    pairs = first.merge(asked, on=list(_SETTING)).merge(
        kept.rename(columns={"selection": "asked"}), on=[*_SETTING, "task", "asked"], how="left", indicator=True
    )
    pairs["selection"] = pairs["asked"].where(pairs["_merge"] == "both", pairs["selection"])
    chosen = found.merge(pairs[[*_SETTING, "task", "selection", "asked"]], on=[*_SETTING, "task", "selection"])
    return chosen.assign(selection=chosen["asked"]).drop(columns="asked")


def _tasks(
    matching_table: pd.DataFrame, tasks: Collection[str] | Mapping[str, str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Setting, dataset, metric and the number `task` of every task that counts, and the tasks' names by that number."""
    wanted = matching_table[[*_SETTING, "dataset", "metric"]].drop_duplicates()
    place = bases(wanted["metric"]).map({name: i for i, name in enumerate(PRIMARY)})
    wanted = wanted.assign(place=place).dropna(subset="place")
    wanted = wanted.sort_values([*_SETTING, "dataset", "place", "metric"]).drop_duplicates([*_SETTING, "dataset"])
    if tasks is not None:
        # What is named counts in every setting, planned there or not.
        primary = dict(zip(wanted["dataset"], wanted["metric"], strict=True))
        metrics = tasks if isinstance(tasks, Mapping) else {name: _of(primary, name) for name in tasks}
        named = pd.DataFrame({"dataset": list(metrics), "metric": list(metrics.values())}, dtype="str")
        wanted = matching_table[list(_SETTING)].drop_duplicates().merge(named, how="cross")
    distinct = wanted[["dataset", "metric"]].drop_duplicates().sort_values(["dataset", "metric"])
    names = (distinct["dataset"] + " (" + distinct["metric"] + ")").tolist()
    wanted = wanted.assign(task=wanted.groupby(["dataset", "metric"], sort=True).ngroup())
    return wanted[[*_SETTING, "dataset", "metric", "task"]], names


def _of(primary: Mapping[str, str], dataset: str) -> str:
    if dataset not in primary:
        raise UnknownTask(
            f'tasks: no ticket is planned for "{dataset}" (known: {", ".join(sorted(primary)) or "none"})'
        )
    return primary[dataset]


def _has_own_masks(pruner: pd.Series[str]) -> pd.Series[bool]:
    """Whether the mask is found on the data of the task, so that a ticket is never the same on two tasks."""
    own = {label: searched(label, "source", "target") == "target" for label in pruner.unique()}
    return pruner.map(own).astype(bool)


def _all(parts: Sequence[pd.Series[bool]]) -> pd.Series[bool]:
    """Whether all hold; blank where one is blank, even where another does not hold."""
    flags = pd.concat(parts, axis=1, keys=range(len(parts))).astype("boolean")
    return flags.all(axis=1).astype("boolean").where(flags.notna().all(axis=1))


def _missing(missing: Flags, names: Sequence[str]) -> npt.NDArray[np.object_]:
    listed = _listed(missing, names)
    return np.where(listed == "", "", "no label for " + listed)


def _listed(chosen: Flags, names: Sequence[str]) -> npt.NDArray[np.object_]:
    """The names that each row (rows, names) chooses, with commas between."""
    patterns, row = np.unique(chosen, axis=0, return_inverse=True)
    texts = [", ".join(name for name, yes in zip(names, pattern, strict=True) if yes) for pattern in patterns]
    return np.array(texts, np.object_)[row]
