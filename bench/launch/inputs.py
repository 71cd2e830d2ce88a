"""Are the data sets of a plan there? Asked before anything runs. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from bench.catalog import described, split_of
from bench.data import DataError, beton
from bench.data.corrupted import present
from bench.spec import Data, EvaluateParameters, PretrainParameters, Stage, Word


def sets_read(stage: Stage) -> list[tuple[Data, str]]:
    """The sets that a stage reads, each with its official split (train, or one that tests)."""
    parameters = stage.parameters
    if isinstance(parameters, EvaluateParameters):
        split = split_of(parameters.metric)
        return [(data, split) for data in (parameters.data, parameters.other) if data is not None]
    return [(parameters.data, "train")] if parameters.data is not None else []


def missing_data(stages: Iterable[Stage], data_root: Path) -> list[str]:
    """One sentence per data set that is missing or damaged, naming the command that writes it.

    Embedded sets are never missing: `write_embedded` writes them.
    """
    wanted: dict[tuple[str, str, int], Data] = {}
    weights, folders, corrupted = set(), set(), set()
    for stage in stages:
        parameters = stage.parameters
        if isinstance(parameters, EvaluateParameters) and dict(parameters.metric.options).get("origin") == "files":
            corrupted.add(parameters.data.dataset)
        if isinstance(parameters, PretrainParameters) and parameters.recipe is None:
            if parameters.pretraining.name == "torchvision":
                weights.add(parameters.architecture.name)
            elif parameters.pretraining.name == "huggingface":
                folders.add(str(parameters.pretraining["model"]))
            continue
        for data, split in sets_read(stage):
            if described(data.dataset).embedded:
                continue
            resolution = beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader)
            wanted.setdefault((str(data.dataset), split, resolution), data)
    problems: dict[tuple[str, int], str] = {}
    for (name, split, resolution), data in wanted.items():
        try:
            beton.read(data.dataset, split, data_root=data_root, resolution=resolution)
        except DataError as error:
            problems.setdefault((name, resolution), str(error))
    found = [
        *problems.values(),
        *missing_weights(weights, data_root / "weights"),
        *missing_models(folders, data_root / "weights"),
    ]
    return found + [
        problem for dataset in sorted(corrupted, key=str) for problem in missing_corruptions(dataset, data_root)
    ]


def missing_corruptions(dataset: Word, data_root: Path) -> list[str]:
    """What keeps the published corruptions of a set from being read, in a sentence; nothing if they are there."""
    if present(dataset, data_root):
        return []
    return [
        f"corruption(origin=files): {dataset} has no published corruptions under {data_root}/raw (CIFAR-10-C/ and "
        "CIFAR-100-C/ with a .npy file per corruption and labels.npy); put them there, or leave the option out to "
        "generate them"
    ]


def write_embedded(stages: Iterable[Stage], data_root: Path, note: Callable[[str], None]) -> None:
    """Write the files of embedded sets that stages read and that are not there: they need no source but us.

    Raises DataError where they cannot be written.
    """
    wanted = {
        (data.dataset, split, beton.file_resolution(data.dataset, resolution=data.resolution, loader=data.loader))
        for stage in stages
        for data, split in sets_read(stage)
        if described(data.dataset).embedded
    }
    for dataset, split, resolution in sorted(wanted, key=str):
        try:
            beton.read(dataset, split, data_root=data_root, resolution=resolution)
        except DataError:
            note(f"Writing {dataset} ({split}, {resolution} px) to {data_root}.")
            beton.write(dataset, split, data_root=data_root, resolution=resolution)


def missing_models(names: Iterable[str], folder: Path) -> list[str]:
    """One sentence per Hugging Face model without its folder; the stage itself checks what is in it."""
    return [
        f"{name}: no folder {folder / name}. Run `python -m bench.prepare huggingface:{name} --data {folder.parent}`"
        for name in sorted(names)
        if not (folder / name).is_dir()
    ]


def missing_weights(architectures: Iterable[str], folder: Path) -> list[str]:
    """One sentence per network without a published file; the stage itself checks which file it is."""
    return [
        f"{name}: no published weights ({folder}/{name}-*.pth). "
        f"Run `python -m bench.prepare torchvision:{name} --data {folder.parent}`"
        for name in sorted(architectures)
        if not any(folder.glob(f"{name}-*.pth"))
    ]
