"""What a function that builds an architecture returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A network without its normaliser.

    head: name of the last linear layer, the only one that depends on the number of classes.
    linear: makes a fresh one from its width and the number of classes.
    stem: names whose shape differs from the published architecture, because its `stem` option changed them;
        published weights have none that fit, so they keep their random initialisation.
    optional: names that published weights may lack; they keep their random initialisation then, and what a published
        mask lacks of them is kept whole.
    stages: names of the modules whose outputs are feature maps, from fine to coarse; empty: it has none.
    blocks: begins the names of the blocks, all of one form, that the body repeats, a number after it; empty: none.
    reads: images, normalised, or texts.
    smallest, largest: side in pixels of the square images, or number of tokens of the texts, that it can read;
        `largest=None`: no limit.
    """

    module: nn.Module
    head: str
    linear: Callable[[int, int], nn.Linear] = nn.Linear
    stem: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    blocks: str = ""
    reads: str = "images"
    smallest: int = 1
    largest: int | None = None
