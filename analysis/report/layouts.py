"""Tables in the layout of papers: a row per kind of network, a column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.controls import CONTROL, DENSE, ROLES, VARIANT, by_setting
from analysis.statistics.equivalence import MATCHES
from analysis.wording import sparsity, transfer
from analysis.words import control, options

# More than these are left to the CSV file.
MAX_LAYOUTS = 6
WITHIN, MATCHING, LESS = "*", "†", "°"
_CONTROLS = {
    "reinitialised": "its mask, weights drawn anew",
    "shuffled": "its mask, weights shuffled within layers",
    "permuted_layers": "its mask, whole layers permuted",
    "reversed": "the opposite mask",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Texts only. rows: (label, a cell per head); a row of published numbers follows the one that it stands beside."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    note: str


def controls_layouts(controls: pd.DataFrame) -> list[Layout]:
    """One for each of `by_setting`: dense network, tickets, controls and variants by data set."""
    return [_layout(part) for _, part in by_setting(controls)]


def kind(role: str, pruner: str) -> str:
    """What a network of `controls` is, in words, with its word."""
    if role == DENSE:
        return "dense network"
    shown = options(pruner)
    if role == CONTROL:
        return f"{_CONTROLS.get(control(pruner), 'random masks')}: {pruner}"
    if role == VARIANT and shown.get("rewind") == "never":
        return f"not rewound (standard pruning): {pruner}"
    if role == VARIANT and "rewind_epoch" in shown:
        return f"rewound to epoch {shown['rewind_epoch']}: {pruner}"
    return f"{'rewound otherwise' if role == VARIANT else 'ticket'}: {pruner}"


def _layout(part: pd.DataFrame) -> Layout:
    sets = part.drop_duplicates("dataset")
    names = sets["dataset"].tolist()
    heads = [f"{row['dataset']}: {row['metric']} at {sparsity(row['sparsity'])}" for row in sets.to_dict("records")]
    rows: list[tuple[str, Sequence[str]]] = []
    kinds = part.groupby(["role", "pruner"], sort=False)
    for (role, pruner), found in sorted(kinds, key=lambda group: ROLES.index(group[0][0])):
        by_set = {row["dataset"]: row for row in found.to_dict("records")}
        cells = [by_set.get(name) for name in names]
        rows.append((kind(str(role), str(pruner)), [_measured(row) for row in cells]))
        if found["published"].notna().any():
            study = ", ".join(sorted(set(found["study"]) - {""}))
            rows.append((f"published, {study}", [_published(row) for row in cells]))
    first = part.iloc[0]
    title = f"{first['architecture']} from {first['pretraining']}, {first['granularity']}, {transfer(first)}"
    more = [f"{name.replace('_', ' ')} {first[name]}" for name in ("source", "pretraining_seed", "selection", "grid")]
    return Layout(title=f"{title}; {', '.join(more)}", heads=heads, rows=rows, note=_note(part))


def _measured(row: dict[Any, Any] | None) -> str:
    if row is None:
        return ""
    if row["mean"] != row["mean"]:
        return "missing"
    spread = f" ± {row['sd']:.3f}" if row["sd"] == row["sd"] else ""
    within = WITHIN if pd.notna(row["within_sd"]) and row["within_sd"] else ""
    marks = within + (MATCHING if row["label"] in MATCHES else "") + ("" if row["complete"] else LESS)
    return f"{row['mean']:.3f}{spread}{f' {marks}' if marks else ''}"


def _published(row: dict[Any, Any] | None) -> str:
    if row is None or row["published"] != row["published"]:
        return ""
    spread = f" ± {row['published_sd']:.3f}" if row["published_sd"] == row["published_sd"] else ""
    change = f" ({row['difference']:+.3f})" if row["difference"] == row["difference"] else ""
    return f"{row['published']:.3f}{spread}{change}"


def _note(part: pd.DataFrame) -> str:
    known = part.loc[part["n"] > 0, "n"]
    low, high = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    seeds = f"{low} seeds" if low == high else f"{low} to {high} seeds"
    texts = [
        f"Mean ± standard deviation of {seeds if high != 1 else '1 seed'}, in the metric's unit, every data set at one "
        "sparsity.",
        f"{WITHIN}: within one standard deviation, the larger of the two, of the dense network (the papers' rule).",
        f"{MATCHING}: not inferior to it by the margin, or superior (tested at 5 %).",
    ]
    if not part["complete"].all():
        texts.append(f"{LESS}: a planned seed is missing.")
    if part["published"].notna().any():
        texts.append("In brackets: measured - published.")
    return " ".join(texts)
