"""The same method looks the same in every figure: the colour is the pre-training, marker and dashes are the pruner."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import pandas as pd

from analysis.pretrainings import method as trained
from analysis.wording import base

Style = TypeVar("Style")
Dashes = Literal["-"] | tuple[int, tuple[int, ...]]


class PrunerStyle(NamedTuple):
    """Marker and dash pattern of a pruner's lines."""

    marker: str
    dashes: Dashes


class Look(NamedTuple):
    """Colour, marker and dash pattern of a method."""

    colour: str
    marker: str
    dashes: Dashes


# Colours of Okabe and Ito: distinct for colour-blind readers.
COLOURS = {
    "supervised": "#0072B2",
    "pgd_adversarial": "#D55E00",
    "fast_adversarial": "#E69F00",
    "smoothing": "#56B4E9",
    "random": "#6E6E6E",
    "torchvision": "#009E73",
    "checkpoint": "#CC79A7",
    "simclr": "#AA4499",
    "moco": "#7A5C00",
}
PRUNER_STYLES = {
    "dense": PrunerStyle("h", "-"),
    "omp": PrunerStyle("o", "-"),
    "imp": PrunerStyle("s", (0, (6, 2))),
    "imp(on=downstream)": PrunerStyle("D", (0, (6, 2, 1, 2))),
    "random": PrunerStyle("v", (0, (1, 2))),
    "lmp": PrunerStyle("^", (0, (4, 1))),
    "snip": PrunerStyle("P", (0, (2, 1))),
    "grasp": PrunerStyle("X", (0, (8, 2, 1, 2, 1, 2))),
    "synflow": PrunerStyle("p", (0, (3, 1, 1, 1))),
    "ticket": PrunerStyle("d", (0, (9, 3))),
}
# Of classes in a scene, by number: the palettes of Okabe and Ito and of Tol. Of 20 colours some are near each other for
# everyone, so that names stand beside them.
CLASS_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#332288", "#882255", "#44AA99",
    "#999933", "#AA4499", "#117733", "#661100", "#6699CC", "#DDCC77", "#CC6677", "#88CCEE", "#8A8A8A", "#000000",
)  # fmt: skip
# Words without a place above take these in alphabetical order.
SPARE_COLOURS = ("#000000", "#8C6BB1", "#117733", "#882255")
SPARE_STYLES = tuple(
    PrunerStyle(marker, dashes) for dashes in ((0, (3, 2)), (0, (8, 2, 1, 2)), (0, (1, 1))) for marker in "<>8H"
)


def assign(labels: Iterable[str], known: Mapping[str, Style], spare: Sequence[Style]) -> dict[str, Style]:
    """The known looks and, for other labels, that of the word without options if it is free, else a spare one.

    Both in alphabetical order. A file of weights looks like the method that trained it.
    """
    given = set(labels)
    found = dict(known)
    others = iter(range(len(given)))
    free = {name for name in known if name not in given}
    for label in sorted(given - set(known)):
        name = trained(label)
        if name in free:
            free.remove(name)
            found[label] = known[name]
        else:
            found[label] = spare[next(others) % len(spare)]
    return found


def looks_of(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method ("supervised, imp"): the colour of its pre-training, the marker and dashes of its pruner.

    A second method with the look of a first one takes the next free marker and dashes.
    """
    chosen: dict[str, Look] = {}
    for method in sorted(set(methods)):
        words = re.split(r", (?![^(]*\))", method)
        colour = next((COLOURS[trained(word)] for word in words if trained(word) in COLOURS), SPARE_COLOURS[0])
        known = (PRUNER_STYLES.get(word, PRUNER_STYLES.get(base(word))) for word in reversed(words))
        style = next(filter(None, known), SPARE_STYLES[0])
        # Of 22 styles a colour none may be left; two methods then share one.
        free = (Look(colour, *style) for style in (style, *SPARE_STYLES, *PRUNER_STYLES.values()))
        chosen[method] = next((look for look in free if look not in chosen.values()), Look(colour, *style))
    return chosen


def methods(table: pd.DataFrame) -> pd.Series[str]:
    """What a point is called: pre-training and pruner, and the granularity where it is not single weights."""
    named = table["pretraining"] + ", " + table["pruner"]
    plain = (table["granularity"] == "unstructured") | (table["pruner"] == "dense")
    return named.where(plain, named + ", " + table["granularity"])
