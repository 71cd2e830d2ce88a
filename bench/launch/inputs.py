"""Are the data sets of a plan there? Asked before anything runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.data import DataError, beton
from bench.spec import Data, PretrainParameters, Stage


def missing_data(stages: Iterable[Stage], data_root: Path) -> list[str]:
    """One sentence per data set that is missing or damaged, naming the command that writes it."""
    wanted: dict[tuple[str, str, int], Data] = {}
    weights = set()
    for stage in stages:
        parameters, data = stage.parameters, stage.parameters.data
        if isinstance(parameters, PretrainParameters) and parameters.recipe is None:
            if parameters.pretraining.name == "torchvision":
                weights.add(parameters.architecture.name)
            continue
        if data is None:
            continue
        resolution = beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader)
        wanted.setdefault((str(data.dataset), "test" if stage.kind == "evaluate" else "train", resolution), data)
    problems: dict[tuple[str, int], str] = {}
    for (name, split, resolution), data in wanted.items():
        try:
            beton.read(data.dataset, split, data_root=data_root, resolution=resolution)
        except DataError as error:
            problems.setdefault((name, resolution), str(error))
    return [*problems.values(), *missing_weights(weights, data_root / "weights")]


def missing_weights(architectures: Iterable[str], folder: Path) -> list[str]:
    """One sentence per network without a published file; the stage itself checks which file it is."""
    return [
        f"{name}: no published weights ({folder}/{name}-*.pth). "
        f"Run `python -m bench.prepare torchvision:{name} --data {folder.parent}`"
        for name in sorted(architectures)
        if not any(folder.glob(f"{name}-*.pth"))
    ]
