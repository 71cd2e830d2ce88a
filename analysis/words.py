"""What the words of pruners say: their options, the data set that a mask is found on, the ticket that a control is of.

Options may hold words with options: imp(on=toy(of=mnli)).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from analysis.wording import base
from bench.catalog import PRUNERS

_OPTION = re.compile(r"(\w+)\s*=\s*((?:[^,()]|\([^()]*\))+)")
# Options of a ticket's word that leave its mask, and change what it is trained from.
_STARTS = ("rewind", "rewind_epoch")


def options(label: str) -> dict[str, str]:
    """The options that a word shows, by name, in their order."""
    inside = label.partition("(")[2].removesuffix(")")
    return {name: value.strip() for name, value in _OPTION.findall(inside)}


def without(label: str, *names: str) -> str:
    """The word without these options; the same where it shows none of them."""
    shown = options(label)
    if not shown.keys() & set(names):
        return label
    return _written(base(label), {name: value for name, value in shown.items() if name not in names})


def searched(label: str, source: str, dataset: str) -> str | None:
    """The data set that the pruner's word searches; None where it searches none."""
    option = getattr(PRUNERS.get(base(label)), "options", {}).get("on")
    on = options(label).get("on", str(option.default) if option else None)
    return {"downstream": dataset, "upstream": source}.get(on, on) if on else None


def by_target(label: str, source: str, dataset: str) -> str:
    """The same pruner with on=downstream where it searches the target, whichever way its word says so.

    imp(on=mnli) on mnli, and imp on the data set of the pre-training, are imp(on=downstream).
    """
    if searched(label, source, dataset) != dataset:
        return label
    known = PRUNERS[base(label)].options if base(label) in PRUNERS else {}
    left = {name: value for name, value in options(label).items() if name != "on"}
    default = known["on"].default if "on" in known else None
    return _written(base(label), left if default == "downstream" else {"on": "downstream", **left})


def pruners_by_target(table: pd.DataFrame) -> pd.Series[str]:
    """`by_target` of every row; columns pruner, source and dataset."""
    asked = table[["pruner", "source", "dataset"]]
    distinct = asked.drop_duplicates()
    found = [by_target(*row) for row in distinct.itertuples(index=False, name=None)]
    named = asked.merge(distinct.assign(found=found), on=list(asked), how="left", validate="many_to_one")
    return named["found"].astype("str").set_axis(table.index)


def control(label: str) -> str:
    """What is done to the ticket that the word without it finds; blank if nothing is."""
    found = options(label).get("control", "")
    return "" if found == "none" else found


def ticket(label: str) -> str:
    """The ticket that a control, or the same mask on other weights, is made of; the word itself if it is neither."""
    return without(label, "control", *_STARTS)


def _written(name: str, shown: Mapping[str, str]) -> str:
    inside = ", ".join(f"{option}={value}" for option, value in shown.items())
    return f"{name}({inside})" if inside else name
