"""Numbers and names as a reader expects them in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pandas as pd

# Clean measures of the task itself come before robust ones, and those before calibration and the rest.
_CLEAN = ("accuracy", "mean_iou", "ap", "matthews", "pearson", "f1")
# Shares that are read in percent as an accuracy is.
_SHARES = ("mean_iou", "ap", "ap50", "coco_ap", "coco_ap50", "f1", "exact_match")
PERTURBED = ("accuracy_weight_noise", "accuracy_mask_swap")
# Second views of what another metric of the task says.
_SECONDARY = ("pixel_accuracy", "ap50", "coco_ap", "coco_ap50", "spearman", "exact_match", "perplexity")
BLANK = "not known"
Row: TypeAlias = "Mapping[Any, Any] | pd.Series[Any]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A statement and what it rests on: rows of a table, with the smallest n and the smallest p of them.

    points: parts of the statement, for example one of each data set; end: what holds for all of them.
    """

    topic: str
    lead: str
    points: tuple[str, ...] = ()
    end: str = ""
    table: str
    n: int | None = None
    p: float | None = None

    @property
    def text(self) -> str:
        """All of it in one line."""
        return " ".join(
            part for part in (self.lead, "; ".join(self.points) + "." * bool(self.points), self.end) if part
        )


def base(word: str) -> str:
    """The word without its options: pgd_accuracy of pgd_accuracy(steps=50)."""
    return word.partition("(")[0]


def bases(words: pd.Series[str]) -> pd.Series[str]:
    """Every word without its options."""
    return words.map({word: base(word) for word in words.unique()}).astype("str")


def is_accuracy(metric: str) -> bool:
    """Whether the metric is the share of examples that a network gets right, perhaps attacked ones."""
    name = base(metric)
    return name == "accuracy" or (name.endswith("_accuracy") and name != "pixel_accuracy")


def is_share(metric: str) -> bool:
    """Whether the metric is written in percent, and its differences in points: accuracies, mIoU, precision, F1."""
    name = base(metric)
    return name.endswith("accuracy") or name in _SHARES or name.startswith(PERTURBED)


def is_secondary(metric: str) -> bool:
    """Whether another metric of the task comes first: mIoU before pixels, accuracy before that of another split."""
    return base(metric) in _SECONDARY or base(metric).startswith(PERTURBED) or "split=" in metric


def is_primary(metric: str) -> bool:
    """Whether the metric may be what a task is judged by first."""
    return base(metric) in _CLEAN and not is_secondary(metric)


def primary_first(metrics: Iterable[str]) -> list[str]:
    """The distinct metrics: those of the tasks, then other accuracies, then the rest, each in alphabetical order."""
    return sorted(set(metrics), key=lambda name: (not is_primary(name), not is_accuracy(name), name))


def foremost(metrics: Iterable[str], least: int) -> list[str]:
    """The metrics that sentences are about, in the order of `primary_first`: those of the tasks, `least` at least."""
    found = primary_first(metrics)
    return found[: max(least, sum(map(is_primary, found)))]


def sparsity(share: float) -> str:
    """Percent of the weights removed; a second decimal where the first would hide how many are left."""
    return f"{100 * share:.2f} %" if 0.99 <= share < 1 else f"{100 * share:.1f} %"


def value(metric: str, number: float) -> str:
    """A value of the metric: percent with one decimal for shares."""
    if number != number:
        return BLANK
    return f"{100 * number:.1f} %" if is_share(metric) else f"{number:.4g}"


def size(metric: str, number: float) -> str:
    """A margin or another distance without a sign: percentage points for shares."""
    if number != number:
        return BLANK
    return f"{100 * number:.1f} points" if is_share(metric) else f"{number:.3g}"


def difference(metric: str, number: float) -> str:
    """A difference with its sign."""
    if number != number:
        return BLANK
    return f"{100 * number:+.1f} points" if is_share(metric) else f"{number:+.3g}"


def interval(metric: str, low: float, high: float) -> str:
    """Both limits of a difference, in the unit of `difference`."""
    if low != low or high != high:
        return "no interval"
    return f"[{100 * low:+.1f}, {100 * high:+.1f}]" if is_share(metric) else f"[{low:+.3g}, {high:+.3g}]"


def between(low: str, high: str) -> str:
    """Two quantities of one unit as a range: 1.0 to 2.5 points; a single one where they are equal."""
    return low if low == high else f"{low.removesuffix(' points').removesuffix(' %')} to {high}"


def probability(p: float, name: str = "p") -> str:
    """p = 0.012, or p < 0.001."""
    if p != p:
        return f"{name} {BLANK}"
    return f"{name} < 0.001" if p < 0.001 else f"{name} = {p:.3f}" if p < 0.1 else f"{name} = {p:.2f}"


def count(number: int, noun: str) -> str:
    """1 ticket, 2 tickets, 1,000 entries."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def axis(name: str) -> str:
    """An axis as a reader writes it."""
    return {"dataset": "data set", "pretraining": "pre-training"}.get(name, name.replace("_", " "))


def listed(items: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([*([", ".join(items[:-1])] if len(items) > 1 else []), *items[-1:]])


def transfer(row: Row) -> str:
    """How the network was transferred; without what was averaged over."""
    parts = [f"{row['transfer']} transfer"] if row.get("transfer") else []
    if row.get("objective"):
        parts.append(f"{row['objective']} objective")
    if row.get("fraction") not in (None, ""):
        share = float(row["fraction"])
        parts.append("all labels" if share == 1 else f"{100 * share:.4g} % of the labels")
    return ", ".join(parts)


def network(row: Row, *, names: Iterable[str] = ()) -> str:
    """A ticket by its pruner and where it comes from; of `names`, other axes, the values too."""
    others = [f"{name.replace('_', ' ')} {row[name]}" for name in names]
    return ", ".join([f"{row['pruner']} from {row['pretraining']}", *others])


def unsettled(metric: str, low: float, high: float, margin: float, *, higher_is_better: bool) -> str:
    """Why a ticket is neither matching nor inferior: what its interval of differences to dense leaves open."""
    best = high if higher_is_better else -low
    other = "none" if best >= 0 else "a smaller one"
    where = f"{interval(metric, low, high)}{' points' if is_share(metric) else ''}"
    return f"inconclusive: the interval {where} holds both a loss of the margin and {other}"
