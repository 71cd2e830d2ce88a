"""How the weights of a pre-training were trained, as its word says."""

from __future__ import annotations

import re

import pandas as pd

from analysis.wording import base
from bench.catalog import PRETRAININGS

SELF_SUPERVISED = ("simclr", "moco")
_METHOD = re.compile(r"[(,]\s*method\s*=\s*(\w+)")
_ROBUST = ("adversarial", "smoothing")


def method(label: str) -> str:
    """The word without its options; of a file of weights the method that trained them: checkpoint(method=moco): moco.

    A file whose word says nothing of its method is a `checkpoint`.
    """
    name = base(label)
    found = _METHOD.search(label) if name == "checkpoint" else None
    return found[1] if found else name


def methods(labels: pd.Series[str]) -> pd.Series[str]:
    """`method` of every label."""
    return labels.map({label: method(label) for label in labels.unique()}).astype("str")


def is_self_supervised(label: str) -> bool:
    """Whether the weights were trained without labels."""
    return method(label) in SELF_SUPERVISED


def is_robust(label: str) -> bool:
    """Whether the weights were trained to withstand attacks or noise."""
    entry = PRETRAININGS.get(method(label))
    return entry is not None and entry.objective in _ROBUST
