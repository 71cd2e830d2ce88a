"""Sentences about effects: robust and self-supervised pre-training, domain gap, rankings, what could not be seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from analysis import wording
from analysis.answers.scope import SETTING, Scope
from analysis.pretrainings import is_robust, is_self_supervised
from analysis.statistics.equivalence import ALPHA
from analysis.tables import Tables
from analysis.wording import Row, Sentence, count, listed

_HELPS = "Does robust pre-training help"
# Pre-trainings that are set against a natural one with labels.
_KINDS: Mapping[str, Callable[[str], bool]] = {
    _HELPS: is_robust,
    "Does self-supervised pre-training help": is_self_supervised,
}
_MAX_SETTINGS = 8
_MAX_METRICS = 2
_CI = ("ci_low", "ci_high")
# Rows over all tickets of a data set have these blank: the others are of one setting, or one pruner.
_AVERAGED = ("architecture", "source", "pruner", "granularity", "pretraining_seed")


def pretraining(comparisons: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """Per metric and way to transfer: on which data sets a pre-training gives better tickets than the natural one.

    Robust pre-training first, then what was trained without labels; every difference with how sure it is.
    """
    compared = {topic: found for topic in _KINDS if len(found := _compared(comparisons, topic))}
    most = _MAX_SETTINGS // max(len(compared), 1)
    return [sentence for topic, found in compared.items() for sentence in _against_natural(found, scope, topic, most)]


def _against_natural(tickets: pd.DataFrame, scope: Scope, topic: str, most: int) -> list[Sentence]:
    overall, by_sparsity = tickets[tickets["sparsity"] == ""], tickets[tickets["sparsity"] != ""]
    settings = [
        (keys, pair, part)
        for keys, group in scope.settings(overall)
        for pair, part in group.groupby(["level_a", "level_b"], sort=True)
    ]
    found = []
    for keys, (a, b), part in settings[:most]:
        told = [_effect(row, by_sparsity) for row in part.sort_values("dataset").to_dict("records")]
        sentence = Sentence(
            topic=topic,
            lead=f"{scope.told(keys)}, tickets of {b} against {a} pre-training "
            "(averaged over pruners but random masks; p after Holm's correction):",
            points=scope.few(told, "data set", "tables/comparisons.csv"),
            end=scope.rests(**keys),
            table="comparisons",
            n=int(part["n"].min()),
            p=_smallest(part),
        )
        found.append(sentence)
    return scope.cut(found, len(settings) - most, "setting", "comparisons")


def _compared(comparisons: pd.DataFrame, topic: str) -> pd.DataFrame:
    """Rows over all tickets of a data set, and by sparsity, of the topic's pre-training against a natural one."""
    found = comparisons["level_b"].map(_KINDS[topic]).astype(bool)
    for kind in _KINDS.values():
        found &= ~comparisons["level_a"].map(kind).astype(bool)
    found &= (comparisons["axis"] == "pretraining") & (comparisons["level_a"] != "random")
    averaged = (comparisons[list(_AVERAGED)] == "").all(axis=1) & (comparisons["unit"] == "seed")
    return comparisons[found & averaged & (comparisons["n"] > 0)]


def _smallest(part: pd.DataFrame) -> float | None:
    return None if part["p_holm"].isna().all() else float(part["p_holm"].min())


def verdict(row: Row) -> str:
    """better, worse, inconclusive, or unknown: of the second level, after correction."""
    if pd.isna(row["p_holm"]):
        return "unknown"
    if row["p_holm"] >= ALPHA:
        return "inconclusive"
    return "better" if (row["diff_mean"] > 0) == bool(row["higher_is_better"]) else "worse"


def _effect(row: Row, by_sparsity: pd.DataFrame) -> str:
    metric, state, dataset = str(row["metric"]), verdict(row), row["dataset"]
    interval = wording.interval(metric, row["diff_low"], row["diff_high"])
    n, change = f"n = {count(int(row['n']), 'seed')}", wording.difference(metric, row["diff_mean"])
    if state == "unknown":
        return f"{dataset}: nothing can be inferred from a difference of {change} ({n})"
    sure = f"{n}, {wording.probability(row['p_holm'])}"
    if state != "inconclusive":
        said = f"{dataset}: {state} by {change} (95 % interval {interval}, {sure})"
    elif row["diff_low"] < 0 < row["diff_high"]:
        said = f"{dataset}: inconclusive, the interval {interval} holds both a loss and a gain ({sure})"
    else:
        said = f"{dataset}: inconclusive after correction, {change} (95 % interval {interval}, {sure})"
    same = (*SETTING, "dataset", "level_a", "level_b")
    levels = by_sparsity[(by_sparsity[list(same)] == pd.Series({name: row[name] for name in same})).all(axis=1)]
    levels = levels.assign(sparsity=levels["sparsity"].astype(float)).sort_values("sparsity")
    return said + _by_level(levels)


def _by_level(levels: pd.DataFrame) -> str:
    """At which sparsities the effect is shown, each tested by itself."""
    if len(levels) < 2:
        return ""
    states: dict[str, list[str]] = {}
    for row in levels.to_dict("records"):
        states.setdefault(verdict(row), []).append(wording.sparsity(row["sparsity"]))
    if list(states) == ["inconclusive"]:
        return "; each sparsity by itself: inconclusive"
    return f"; each sparsity by itself: {', '.join(f'{state} at {listed(found)}' for state, found in states.items())}"


def regressions(table: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """Whether the gain of robust pre-training goes with the domain gap: the foremost metric, over all tickets."""
    part = table[table["p"].notna()]
    if part.empty:
        return []
    metric = wording.primary_first(part["metric"])[0]
    part = part[part["metric"] == metric]
    overall = part[part["sparsity"].isna() & (part["pruner"] == "")]
    row = (overall if len(overall) else part).sort_values("p", kind="stable").iloc[0]
    interval = f"[{row['slope_low']:+.3g}, {row['slope_high']:+.3g}]"
    told = "rises" if row["slope_low"] > 0 else "falls" if row["slope_high"] < 0 else "is not shown to change"
    text = (
        f"The gain in {metric} of {row['robust']} over {row['natural']} pre-training {told} with the domain gap "
        f"{row['gap_metric']} ({wording.transfer(row)}, slope {row['slope']:+.3g}, 95 % interval {interval}, "
        f"n = {count(int(row['n_datasets']), 'data set')}, {wording.probability(row['p'])}; the strongest of "
        f"{count(len(overall) or len(part), 'regression')}, not corrected; observational, not causal)."
    )
    return [
        Sentence(
            topic=_HELPS,
            lead=text,
            end=scope.rests(),
            table="gap_regression",
            n=int(row["n_datasets"]),
            p=float(row["p"]),
        )
    ]


def leaders(board: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """The best ticket of every data set by the metric of its task, with its rank among all complete entries."""
    ranked = board[board["rank"].notna()]
    tickets = ranked[ranked["pruner"] != "dense"].drop_duplicates(["grid", "dataset", "metric"])
    if tickets.empty:
        return []
    return [_leaders(metric, tickets, ranked, scope) for metric in wording.foremost(tickets["metric"], 1)]


def _leaders(metric: str, tickets: pd.DataFrame, ranked: pd.DataFrame, scope: Scope) -> Sentence:
    told = []
    for row in tickets[tickets["metric"] == metric].to_dict("records"):
        same = ranked[(ranked["dataset"] == row["dataset"]) & (ranked["metric"] == metric)]
        grid = f" of {row['grid']}" if "grid" in scope.varying else ""
        limits = "no interval"
        if row["ci_low"] == row["ci_low"]:
            limits = f"95 % interval {wording.between(*(wording.value(metric, row[end]) for end in _CI))}"
        told.append(
            f"{row['dataset']}{grid}: {scope.network(row)} at {wording.sparsity(row['sparsity'])} with "
            f"{wording.transfer(row)} ({wording.value(metric, row['mean'])}, {limits}, n = "
            f"{count(int(row['n']), 'seed')}, rank {int(row['rank'])} of {count(len(same), 'entry')})"
        )
    return Sentence(
        topic="Leaderboard",
        lead=f"Highest-ranked tickets by {metric}, among tickets and dense networks (being first of many is no test):",
        points=scope.few(told, "data set", "leaderboards/"),
        end=scope.rests(metric=metric),
        table="leaderboard",
    )


def omnibus(table: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """In how many settings the methods' ranks differ at all."""
    tested = table[table["p"].notna()]
    if tested.empty:
        return []
    rejected = int((tested["p"] < ALPHA).sum())
    sets = f"n = {tested['n_datasets'].min()} to {tested['n_datasets'].max()} data sets"
    if tested["n_datasets"].nunique() == 1:
        sets = f"n = {count(int(tested['n_datasets'].iloc[0]), 'data set')}"
    text = (
        f"Over data sets, methods' ranks are shown to differ in {rejected} of {count(len(tested), 'setting')} "
        f"(Friedman test of Iman and Davenport at {ALPHA:.2g}, {sets}, smallest "
        f"{wording.probability(tested['p'].min())}, not corrected over settings)"
    )
    text += "; the others are inconclusive." if rejected < len(tested) else "."
    n, p = int(tested["n_datasets"].min()), float(tested["p"].min())
    return [Sentence(topic="Leaderboard", lead=text, end=scope.rests(), table="omnibus", n=n, p=p)]


def power(tables: Tables, scope: Scope) -> list[Sentence]:
    """Per metric what tests of this size could not have seen, in its unit; of the tasks, or the two foremost."""
    found = []
    compared = pd.concat([_compared(tables.comparisons, topic) for topic in _KINDS])
    compared = compared[(compared["pruner"] == "") & (compared["sparsity"] == "") & compared["mde"].notna()]
    for metric in wording.foremost(tables.matching["metric"], _MAX_METRICS):
        parts = []
        mde = compared.loc[compared["metric"] == metric, "mde"]
        if len(mde):
            limits = wording.between(wording.size(metric, mde.min()), wording.size(metric, mde.max()))
            parts.append(
                "with 80 % probability and after correction the comparisons of pre-trainings find a difference only "
                f"from {limits} on (median {wording.size(metric, mde.median())}, {count(len(mde), 'comparison')})"
            )
        unsettled = tables.matching[
            (tables.matching["metric"] == metric) & (tables.matching["label"] == "inconclusive")
        ]
        if len(unsettled):
            needed = wording.size(metric, unsettled["smallest_margin"].median())
            told = count(len(unsettled), "inconclusive ticket")
            parts.append(f"half of the {told} would match only at a margin of {needed} or more")
        if parts:
            found.append(
                Sentence(
                    topic="What could not have been detected",
                    lead=f"By {metric}, {'; '.join(parts)}.",
                    end=scope.rests(metric=metric),
                    table="comparisons",
                )
            )
    return found
