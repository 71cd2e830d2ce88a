"""Sentences about what makes a ticket: whether it beats its controls, and which masks are good elsewhere."""

from __future__ import annotations

import pandas as pd

from analysis import wording
from analysis.answers.scope import Scope
from analysis.controls import CONTROL, by_setting
from analysis.report.layouts import kind
from analysis.transfer_matrix import FIRST_SCORES, KEYS, found_on_data
from analysis.wording import Row, Sentence, count, listed

_CONTROLS = "Do tickets beat their controls"
_TRANSFER = "Which masks are good elsewhere"
_MOST = 3


def against_controls(controls: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """Per setting, against each control, on how many data sets the ticket is shown to be better, with the extremes."""
    groups = by_setting(controls[(controls["role"] == CONTROL) & (controls["n_pairs"] > 0)])
    found = []
    for setting, part in groups[:_MOST]:
        pairs = part.groupby(["ticket", "pruner"], sort=False)
        told = [_against(str(ticket), str(pruner), rows) for (ticket, pruner), rows in pairs]
        rests = {name: setting[name] for name in ("grid", "transfer", "objective", "fraction", "selection")}
        found.append(
            Sentence(
                topic=_CONTROLS,
                lead=f"{setting['architecture']} from {setting['pretraining']} with {wording.transfer(setting)}, each "
                "data set by its first score at one sparsity (paired by seed; p after Holm's correction):",
                points=scope.few(told, "control", "tables/controls.csv"),
                end=scope.rests(**rests),
                table="controls",
                n=int(part["n_pairs"].min()),
                p=None if part["p_holm"].isna().all() else float(part["p_holm"].min()),
            )
        )
    return scope.cut(found, len(groups) - len(found), "setting", "controls")


def _against(ticket: str, pruner: str, rows: pd.DataFrame) -> str:
    counts = rows["ticket_is"].value_counts()
    states = [f"{state} on {counts[state]}" for state in ("better", "worse", "inconclusive") if state in counts]
    states += [f"not tested on {counts['']}"] if "" in counts else []
    known = rows.sort_values("gain_mean", kind="stable")
    ends = (
        [_gain(known.iloc[0])]
        if len(known) == 1
        else [f"least {_gain(known.iloc[0])}", f"most {_gain(known.iloc[-1])}"]
    )
    name = kind(CONTROL, pruner).partition(":")[0]
    return f"{ticket} against {name} ({pruner}): {listed(states)} of {count(len(rows), 'data set')}; {'; '.join(ends)}"


def _gain(row: Row) -> str:
    metric = str(row["metric"])
    limits = wording.interval(metric, row["gain_low"], row["gain_high"])
    interval = limits if limits == "no interval" else f"95 % interval {limits}"
    return f"{row['dataset']} {wording.difference(metric, row['gain_mean'])} {metric} ({interval})"


def elsewhere(matrix: pd.DataFrame, counts: pd.DataFrame, scope: Scope) -> list[Sentence]:
    """Per setting with masks of several data sets, whose masks are at or above the targets' own on most targets.

    Where targets are judged by different metrics by the first score of each, else by the metrics of the tasks.
    """
    known = counts[counts["n_at_or_above"].notna() & counts["mask_source"].map(found_on_data).astype(bool)]
    known = known[known.groupby(list(KEYS), dropna=False)["mask_source"].transform("nunique") > 1]
    several = [name for name in KEYS if name != "metric"]
    pooled = known[known["metric"] == FIRST_SCORES]
    first = matrix.loc[matrix["first_score"], [*several, "metric"]].drop_duplicates()
    alone = known.merge(first, on=[*several, "metric"]) if len(known) else known
    covered = pd.MultiIndex.from_frame(alone[several]).isin(pd.MultiIndex.from_frame(pooled[several]))
    groups = list(pd.concat([pooled, alone[~covered]]).groupby(list(KEYS), sort=True, dropna=False))
    found = [_most(dict(zip(KEYS, keys, strict=True)), part, scope) for keys, part in groups[:_MOST]]
    return scope.cut(found, len(groups) - len(found), "setting", "transfer_counts")


def _most(setting: Row, part: pd.DataFrame, scope: Scope) -> Sentence:
    share = part["n_at_or_above"].astype("float64") / part["n_targets"]
    order = part.assign(share=share).sort_values(["share", "mask_source"], ascending=[False, True], kind="stable")
    best = order[order["share"] == order["share"].iloc[0]]
    row, others = best.iloc[0], order.iloc[len(best) :]
    where = f"{row['n_at_or_above']} of {count(int(row['n_targets']), 'other target')}"
    masks = f"masks found on {listed(best['mask_source'].tolist())} by {setting['family']}"
    at = wording.sparsity(float(setting["sparsity"]))
    text = f"At {at} with {wording.transfer(setting)}, {masks} are at or above the targets' own on {where}"
    text += f", the most of {count(len(part), 'source')}"
    if len(others):
        second = others.iloc[0]
        text += f"; next {second['mask_source']}, on {second['n_at_or_above']} of {second['n_targets']}"
    text += f" (by {setting['metric']}; means alone, no test)."
    rests = {name: setting[name] for name in ("grid", "transfer", "objective", "fraction", "selection")}
    return Sentence(topic=_TRANSFER, lead=text, end=scope.rests(**rests), table="transfer_counts")
