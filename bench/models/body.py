"""What a function that builds an architecture returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A network without its normaliser.

    head: name of the last linear layer, the only one that depends on the number of classes.
    stem: names whose shape differs from the published architecture, because its `stem` option changed them;
        published weights have none that fit, so they keep their random initialisation.
    stages: names of the modules whose outputs are feature maps, from fine to coarse; empty: it has none.
    smallest, largest: side in pixels of the square images it can read; `largest=None`: no limit.
    """

    module: nn.Module
    head: str
    stem: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    smallest: int = 1
    largest: int | None = None
