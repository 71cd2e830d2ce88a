"""Are the data sets of a plan there? Asked before anything runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.data import DataError, beton
from bench.spec import Data, Stage


def missing_data(stages: Iterable[Stage], data_root: Path) -> list[str]:
    """One sentence per data set that is missing or damaged, naming the command that writes it."""
    wanted: dict[tuple[str, str, int], Data] = {}
    for stage in stages:
        data = getattr(stage.parameters, "data", None)
        if data is None or (stage.kind == "pretrain" and stage.parameters.recipe is None):  # type: ignore[union-attr]
            continue
        resolution = beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader)
        wanted.setdefault((str(data.dataset), "test" if stage.kind == "evaluate" else "train", resolution), data)
    problems: dict[tuple[str, int], str] = {}
    for (name, split, resolution), data in wanted.items():
        try:
            beton.read(data.dataset, split, data_root=data_root, resolution=resolution)
        except DataError as error:
            problems.setdefault((name, resolution), str(error))
    return list(problems.values())
