"""What the tables of an analysis answer, in sentences: made from labels and tests alone, with n, interval and p."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis import wording
from analysis.answers import effects, tickets
from analysis.answers.scope import Scope
from analysis.frame import DONE, of_tickets
from analysis.report.coverage import statuses
from analysis.statistics.equivalence import ALPHA
from analysis.statistics.ranks import holm
from analysis.tables import Tables
from analysis.wording import Sentence, count, listed, unsettled

RUN, TICKETS, MISSING = "What this rests on", "Which tickets match the dense network", "What is missing or failed"
LABELS = {
    "superior": "superior",
    "matching": "matching",
    "inconclusive": "inconclusive (neither shown to match nor to be inferior)",
    "inferior": "inferior",
}
MAX_METRICS = 2
_WINS = "Double-win and universal tickets"
_DOUBLE_WIN = "double-win tickets (standard and robust accuracy, under standard and adversarial transfer)"
_MAX_SETTINGS = 6
_MAX_NAMED = 3


def sentences(tables: Tables) -> list[Sentence]:
    """At most 31 sentences, by topic, the primary ones first; the remainder is in the tables.

    Four more for every metric of tasks beyond two. Only from labels and tests: what is inconclusive is called so. Where
    planned results are missing, a sentence names how many of those that it rests on are there. With nothing evaluated
    one sentence says that.
    """
    rows = tables.rows
    done = int((rows["status"] == DONE).sum())
    if not done:
        return [Sentence(topic=RUN, lead=_nothing(rows), table="rows")]
    scope = Scope.of(of_tickets(rows))
    return [
        Sentence(topic=RUN, lead=_rests_on(rows, done), table="rows"),
        *_tickets(tables.matching, scope),
        *_maxima(tables, scope),
        *effects.pretraining(tables.comparisons, scope),
        *effects.regressions(tables.gap_regression, scope),
        *_wins(tables.double_win, scope),
        *_universal(tables.universal, scope),
        *tickets.against_controls(tables.controls, scope),
        *tickets.elsewhere(tables.transfer_matrix, tables.transfer_counts, scope),
        *effects.leaders(tables.leaderboard, scope),
        *effects.omnibus(tables.omnibus, scope),
        *effects.power(tables, scope),
        *_missing(rows),
    ]


def _nothing(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "Nothing is planned: the grid or its selection holds no result."
    return f"Nothing is evaluated yet: of {count(len(rows), 'planned result')} none is done ({_told(rows)})."


def _told(rows: pd.DataFrame) -> str:
    counts = statuses(rows)
    counts.pop(DONE, None)
    return listed([f"{number:,} {'not run' if status == 'missing' else status}" for status, number in counts.items()])


def _rests_on(rows: pd.DataFrame, done: int) -> str:
    seeds = rows.groupby("grid")["seed"].nunique()
    per = count(int(seeds.iloc[0]), "seed") if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()} seeds"
    if done == len(rows):
        return f"All of the {count(done, 'planned result')} are done, with {per} per entry."
    return (
        f"The grid is not finished: {done:,} of {count(len(rows), 'planned result')} are done ({_told(rows)}), with "
        f"{per} planned per entry. Entries without all their seeds are neither ranked nor tested."
    )


def _tickets(matching: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """Per metric how many tickets have each label; the metrics of the tasks, or the two foremost."""
    found = []
    metrics = matching["metric"].unique()
    shown = wording.foremost(metrics, MAX_METRICS)
    for metric in shown:
        part = matching[matching["metric"] == metric]
        counts = part["label"].value_counts()
        told = listed([f"{counts.get(label, 0):,} {said}" for label, said in LABELS.items()])
        tested = part[part["label"] != ""]
        end = scope.rests(metric=metric)
        if tested.empty:
            lead = f"By {metric}, none of {count(len(part), 'ticket')} could be tested against its dense network."
            found.append(Sentence(topic=TICKETS, lead=lead, end=end, table="matching"))
            continue
        blank = len(part) - len(tested)
        untested = f"; {count(blank, 'ticket')} could not be tested" if blank else ""
        text = (
            f"By {metric}, of {count(len(tested), 'ticket')} tested against their dense networks {told} "
            f"({_margins(part)}, {_n(tested['n_pairs'])}; tests at {ALPHA:.2g}, not corrected over tickets){untested}."
        )
        n = int(tested["n_pairs"].min())
        found.append(Sentence(topic=TICKETS, lead=text, end=end, table="matching", n=n))
    return scope.cut(found, len(metrics) - len(shown), "metric", "matching")


def _margins(part: pd.DataFrame) -> str:
    metric, found = str(part["metric"].iloc[0]), part["margin"].dropna()
    if found.empty:
        return "no margin is known"
    return f"margin {wording.between(wording.size(metric, found.min()), wording.size(metric, found.max()))}"


def _n(counts: pd.Series[Any]) -> str:
    known = counts[counts > 0]
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    return f"n = {count(low, 'seed')}" if low == high else f"n = {low} to {high} seeds"


def _maxima(tables: Tables, scope: Scope) -> list[Sentence]:
    """Per metric and way to transfer where any ticket could be tested, up to which sparsity they match on each set."""
    tested = tables.maxima["sd_pooled"].notna() & tables.maxima["margin"].notna()
    planned, settings = scope.settings(tables.maxima), scope.settings(tables.maxima[tested])
    told = {tuple(keys.items()) for keys, _ in settings}
    # Curves of a setting that could not be tested are counted with the others.
    settings = [(keys, part) for keys, part in planned if tuple(keys.items()) in told]
    found = []
    for keys, part in settings[:_MAX_SETTINGS]:
        sets = part.groupby("dataset", sort=True)
        parts = [_of_dataset(str(name), curves, tables.matching, scope) for name, curves in sets]
        sentence = Sentence(
            topic=TICKETS,
            lead=f"{scope.told(keys)} ({_margins(part)}, {_n(part['n_seeds'])}):",
            points=scope.few(parts, "data set", "tables/maxima.csv"),
            end=scope.rests(**keys),
            table="maxima",
            n=int(part["n_seeds"].min()),
        )
        found.append(sentence)
    return scope.cut(found, len(planned) - len(found), "setting", "maxima") if found else []


def _of_dataset(dataset: str, curves: pd.DataFrame, matching: pd.DataFrame, scope: Scope) -> str:
    """The sparsest bound of the data set's curves, or why there is none."""
    shown = curves[curves["bound"].notna()].sort_values("bound", ascending=False, kind="stable")
    of = count(len(curves), "curve")
    if shown.empty:
        nearest = _nearest(curves, matching, scope)
        return f"{dataset}: no ticket of {of} is shown to match; {nearest}"
    best = shown.iloc[0]
    end = "" if best["bound_censoring"] == "none" else f" ({best['bound_censoring']})"
    interval = ""
    if pd.notna(best["estimate_low"]) and pd.notna(best["estimate_high"]):
        limits = wording.between(wording.sparsity(best["estimate_low"]), wording.sparsity(best["estimate_high"]))
        interval = f"; crossing estimated at {wording.sparsity(best['estimate'])}, 95 % interval {limits}"
    return (
        f"{dataset}: tickets match up to {wording.sparsity(best['bound'])} sparsity{end} ({scope.network(best)}"
        f"{interval}; {len(shown)} of {of} with a matching ticket)"
    )


def _nearest(curves: pd.DataFrame, matching: pd.DataFrame, scope: Scope) -> str:
    """The ticket of these curves that would match at the smallest margin, and what its interval says."""
    first = curves.iloc[0]
    same = ("grid", "dataset", "metric", "transfer", "objective", "fraction", "selection")
    tickets = matching[(matching[list(same)] == first[list(same)]).all(axis=1) & (matching["label"] != "")]
    if tickets.empty:
        return "none could be tested"
    row = tickets.sort_values("smallest_margin", kind="stable").iloc[0]
    metric = str(row["metric"])
    name = f"the nearest, {scope.network(row)} at {wording.sparsity(row['sparsity'])}, is"
    if row["label"] == "inconclusive":
        low, high = row["diff_low"], row["diff_high"]
        state = unsettled(metric, low, high, row["margin"], higher_is_better=bool(first["higher_is_better"]))
    else:
        alone = "" if row["label"] == "inferior" else " when tested alone, not in the sequence from dense to sparse"
        state = f"{row['label']}{alone} ({wording.difference(metric, row['diff_mean'])}, 95 % interval "
        state += f"{wording.interval(metric, row['diff_low'], row['diff_high'])})"
    return f"{name} {state}"


def _wins(table: pd.DataFrame, scope: Scope) -> list[Sentence]:
    labels = table[["standard_sa", "standard_ra", "adversarial_sa", "adversarial_ra"]]
    tested = (labels != "").all(axis=1) & table["double_win"].notna()
    if table.empty:
        return []
    if not tested.any():
        text = f"None of {count(len(table), 'ticket')} could be tested as {_DOUBLE_WIN}."
        return [Sentence(topic=_WINS, lead=text, end=scope.rests(), table="double_win")]
    table, labels, untested = table[tested], labels[tested], int((~tested).sum())
    won = table["double_win"].astype(bool)
    lost = (labels == "inferior").any(axis=1) & ~won
    text = f"Of {count(len(table), 'ticket')} tested as {_DOUBLE_WIN}, "
    if won.any():
        text += f"{count(int(won.sum()), 'ticket')} passed all four tests: {_passed(table, won, scope)}; "
    text += f"{int(lost.sum())} fall short in at least one and {int((~won & ~lost).sum())} are inconclusive"
    text += f"; by the means alone {int(table['double_win_by_mean'].fillna(False).astype(bool).sum())} would pass"
    text += f"; {count(untested, 'ticket')} could not be tested." if untested else "."
    return [Sentence(topic=_WINS, lead=text, end=scope.rests(), table="double_win", p=_smallest(table["p"]))]


def _universal(table: pd.DataFrame, scope: Scope) -> list[Sentence]:
    tested = table[table["universal"].notna()]
    if tested.empty:
        return []
    won = tested["universal"].astype(bool)
    best = tested.sort_values(["n_matching", "sparsity"], ascending=False, kind="stable").iloc[0]
    tasks = count(int(best["n_tasks"]), "task")
    if won.any():
        text = f"Of {count(len(tested), 'ticket')} tested on all tasks, {int(won.sum())} matched on every one: "
        text += f"{_passed(tested, won, scope)}."
    else:
        name = f"{scope.network(best)} at {wording.sparsity(best['sparsity'])}"
        text = f"None of {count(len(tested), 'ticket')} tested is shown to match on every task; "
        text += f"the one that matches on most, {name}, does so on {best['n_matching']} of {tasks}; "
        text += f"tested were {best['tasks']}."
    return [Sentence(topic=_WINS, lead=text, end=scope.rests(), table="universal", p=_smallest(tested["p"]))]


def _smallest(p: pd.Series[float]) -> float | None:
    return None if p.isna().all() else float(p.min())


def _passed(table: pd.DataFrame, won: pd.Series[bool], scope: Scope) -> str:
    """The sparsest of those that passed, with their p and that corrected over all that were tested."""
    table = table.assign(corrected=holm(table["p"])[0])
    named = []
    for row in table[won].sort_values("sparsity", ascending=False, kind="stable").head(_MAX_NAMED).to_dict("records"):
        where = f" on {row['dataset']}" if "dataset" in row else f" with {wording.transfer(row)}"
        p = f"{wording.probability(row['p'])}, {wording.probability(row['corrected'], 'corrected p')}"
        named.append(f"{scope.network(row)} at {wording.sparsity(row['sparsity'])}{where} ({p})")
    more = int(won.sum()) - len(named)
    return listed([*named, *([f"{more:,} more"] if more else [])])


def _missing(rows: pd.DataFrame) -> list[Sentence]:
    absent = rows[rows["status"] != DONE]
    if absent.empty:
        return []
    found = [f"{_told(rows)} of {count(len(rows), 'planned result')}"]
    blocked = absent.loc[absent["status"] == "blocked", "reason"]
    if len(blocked):
        causes = blocked.str.extract(r"(\w+ \w+) failed", expand=False)
        found.append(f"what is blocked waits for {_foremost(causes)}")
    failed = absent.loc[absent["status"].isin(("failed", "corrupt")), "reason"]
    if len(failed):
        reasons = failed.str.replace(r" \(log: .*\)", "", regex=True)
        found.append(f"what failed: {_foremost(reasons)}")
    text = "; ".join(found)
    return [Sentence(topic=MISSING, lead=f"{text[0].upper()}{text[1:]}.", table="rows")]


def _foremost(reasons: Iterable[Any]) -> str:
    """The most frequent ones, with their numbers."""
    counts = Counter("another stage" if pd.isna(reason) else str(reason) for reason in reasons)
    ordered: Sequence[tuple[str, int]] = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{reason} ({count(number, 'result')})" for reason, number in ordered[:_MAX_NAMED]]
    more = len(ordered) - len(named)
    return listed([*named, *([count(more, "other reason")] if more else [])])
