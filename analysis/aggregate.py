"""One number per method over all data sets, with performance profiles: scores relative to the dense network."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from analysis.frame import DENSE_REFERENCE, methods, of_tickets
from analysis.statistics.bootstrap import STATISTICS, aggregate_intervals
from analysis.statistics.intervals import CONFIDENCE, Floats
from analysis.statistics.profiles import profile
from analysis.tasks import catalogued
from analysis.wording import bases
from analysis.words import options
from bench.catalog import DATASETS, METRICS

# Tasks whose accuracy is that of a choice among the set's classes.
_GUESSED = ("classification", "sentence_classification")

KEYS = ("grid", "metric", "selection", "transfer", "objective", "fraction", "sparsity")
_INTERVAL = f"limit of its {CONFIDENCE:.0%} stratified bootstrap interval over seeds, widened by sqrt(n / (n - 1))"
_MEANING = {
    "mean": "mean over data sets",
    "iqm": "interquartile mean of all runs of all data sets",
    "median": "median over data sets",
    "worst_quartile": "mean of the worst quarter of the data sets (rounded up)",
}
AGGREGATES_COLUMNS = {
    **dict.fromkeys(KEYS, ""),
    "method": "what varies of architecture, pre-training, source, pruner and granularity",
    "n_tasks": "data sets with a value",
    "n_runs": "seeds with a value, over all data sets",
    **{
        f"{name}{limit}": (f"{_MEANING[name]}, relative to dense = 1" if not limit else f"{limit[1:]} {_INTERVAL}")
        for name in STATISTICS
        for limit in ("", "_low", "_high")
    },
    "note": "what is missing, and why a number is blank",
}
PROFILES_COLUMNS = {
    **dict.fromkeys(KEYS, ""),
    "method": AGGREGATES_COLUMNS["method"],
    "tau": "relative score",
    "share": "share of all runs with a larger relative score, in [0, 1]",
    "low": f"pointwise lower {_INTERVAL}",
    "high": f"pointwise upper {_INTERVAL}",
}
TAUS = np.round(np.arange(0, 1.2001, 0.05), 10)
# Of many methods: the limits then err by a few hundredths of their distance from the estimate.
RESAMPLES = 2000


def aggregates(table: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables `aggregates` and `profiles` of a `frame`: every method of every setting, over its data sets.

    Scores are those of `relative`, means over pre-training seeds. Data sets without a score are named in `note` and
    count nothing: methods of different n_tasks are not comparable. The intervals speak of these data sets and new
    seeds, and take the dense networks' means as known.
    """
    runs = _runs(table)
    value, taken = runs["score"].to_numpy(), runs["reason"].to_numpy(dtype=object)
    task, run = runs["task"].to_numpy(), runs["run"].to_numpy()
    starts = np.flatnonzero(np.diff(runs["group"].to_numpy(), prepend=-1))
    found, shares = [], []
    for start, stop in itertools.pairwise([*starts.tolist(), len(runs)]):
        part = slice(start, stop)
        values = np.full((task[part].max() + 1, run[part].max() + 1), np.nan)
        values[task[part], run[part]] = value[part]
        limits = aggregate_intervals(values, STATISTICS, resamples=resamples, seed=seed)
        n_tasks, n_runs = int(np.isfinite(values).any(axis=1).sum()), int(np.isfinite(values).sum())
        note = _note(len(values), stop - start - n_runs, taken[part], limits["mean"])
        found.append((n_tasks, n_runs, *sum(limits.values(), ()), note))
        if n_tasks:
            shares.append(profile(values, TAUS))
    keys = runs.iloc[starts][[*KEYS, "method"]].reset_index(drop=True)
    numbers = pd.DataFrame(found, columns=list(AGGREGATES_COLUMNS)[len(KEYS) + 1 :])
    types = dict.fromkeys(numbers, "float64") | {"n_tasks": "int64", "n_runs": "int64", "note": "str"}
    scores = keys.join(numbers.astype(types))
    profiles = _profiles(keys[scores["n_tasks"] > 0], shares)
    return scores, profiles


def _profiles(keys: pd.DataFrame, shares: list[tuple[Floats, Floats, Floats]]) -> pd.DataFrame:
    profiles = keys.loc[np.repeat(keys.index, len(TAUS))].reset_index(drop=True)
    columns = np.array(shares, dtype=np.float64).reshape(-1, 3, len(TAUS)).transpose(1, 0, 2).reshape(3, -1)
    return profiles.assign(tau=np.tile(TAUS, len(keys)), **dict(zip(("share", "low", "high"), columns, strict=True)))


def _note(n_datasets: int, missing: int, reasons: np.ndarray, limits: tuple[float, float, float]) -> str:
    notes = sorted({reason for reason in reasons.tolist() if reason})
    if missing:
        notes.insert(0, f"{missing} of {len(reasons)} runs have no score")
    if n_datasets == 1:
        notes.append("one data set: all aggregates are about it")
    if limits[0] == limits[0] and limits[1] != limits[1]:
        notes.append("no interval: no data set has two runs that differ")
    return "; ".join(notes)


def _runs(table: pd.DataFrame) -> pd.DataFrame:
    """A row per planned run, in order; pre-training seeds averaged where all of them have a score."""
    table = of_tickets(table)
    table = table.assign(method=methods(table), **relative(table))
    by = [*KEYS, "method", "dataset", "seed"]
    groups = table.groupby(by, sort=True)
    runs = groups.agg(
        score=("score", "mean"), n=("score", "count"), planned=("score", "size"), reason=("reason", "max")
    )
    runs["score"] = runs["score"].where(runs["n"] == runs["planned"])
    runs = runs.reset_index()
    runs["group"] = runs.groupby([*KEYS, "method"], sort=False).ngroup()
    first = ~runs.duplicated(["group", "dataset"])
    runs["task"] = first.groupby(runs["group"]).cumsum().astype("int64") - 1
    runs["run"] = runs.groupby(["group", "task"]).cumcount()
    return runs


def relative(table: pd.DataFrame) -> dict[str, pd.Series]:
    """`score`: 1 is the mean of the row's own dense network, 0 is chance; `reason` where that cannot be said.

    Accuracies: (value - chance) / (dense - chance), with chance 1 / classes, or 0 under an attack, which knows no
    chance. Other metrics, as mIoU and average precision: value / dense, and dense / value where lower is better.
    """
    dense = table[table["pruner"] == "dense"].groupby(list(DENSE_REFERENCE))["value"]
    moments = dense.agg(["mean", "count", "size"])
    complete = moments["mean"].where(moments["count"] == moments["size"]).rename("reference")
    reference = table[list(DENSE_REFERENCE)].join(complete, on=list(DENSE_REFERENCE))["reference"]
    chance = _chance(table)
    top, bottom = table["value"] - chance, reference - chance
    top, bottom = top.where(table["higher_is_better"], bottom), bottom.where(table["higher_is_better"], top)
    reason = pd.Series("", index=table.index, dtype="str")
    reason[bottom <= 0] = "a value of 0 or below chance has no ratio on " + table["dataset"]
    reason[chance.isna()] = "the number of classes is not known of " + table["dataset"]
    reason[reference.isna()] = "no complete dense network on " + table["dataset"]
    reason[table["value"].isna()] = ""
    return {"score": (top / bottom).where((bottom > 0) & (reason == "")), "reason": reason}


def _chance(table: pd.DataFrame) -> pd.Series[float]:
    """Accuracy of a guess by row: NaN where the number of classes is not known, 0 where a guess among them is none."""
    known = [entry for entry in METRICS.values() if not entry.attacks and set(entry.tasks) & set(_GUESSED)]
    guessed = {name for entry in known for name in entry.reports if "accuracy" in name}
    classes = {label: _classes(label) for label in table["dataset"].unique()}
    return (1 / table["dataset"].map(classes).astype("float64")).where(bases(table["metric"]).isin(guessed), 0.0)


def _classes(label: str) -> float:
    """How many classes a guess is among: NaN where that is not known, infinite where the task has no such guess."""
    name = catalogued(label)
    if not name:
        return float("nan")
    entry = DATASETS[name]
    if entry.task not in _GUESSED:
        return float("inf")
    return float(options(label).get("classes") or entry.classes or "nan")
