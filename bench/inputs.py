"""What stages read from outside the plan: data sets as a protocol wants them, checkpoint files. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from bench.catalog import TASKS, described
from bench.grid import GridError
from bench.recipes.protocol import Protocol
from bench.spec import Data, Word


def describe_data(protocol: Protocol, architecture: Word, dataset: Word, *, fraction: float, seed: int) -> Data:
    """Resolution and loader by task, protocol and stem; the published statistics of the set for the first layer."""
    entry = described(dataset)
    task = TASKS[entry.task]
    imagenet_stem = dict(architecture.options).get("stem") == "imagenet"
    resolution = (
        protocol.imagenet_stem_resolution if imagenet_stem else min(entry.resolution, protocol.small_resolution)
    )
    if task.limit:
        resolution = min(entry.resolution, getattr(protocol, task.limit))
    small = entry.storage == "raw" and resolution == entry.resolution
    loader = task.loader or protocol.loader or ("resident" if small else "stream")
    options = dict(dataset.options)
    return Data(
        dataset=dataset,
        classes=int(options.get("classes") or entry.classes),
        resolution=resolution,
        loader=loader,
        mean=entry.mean,
        std=entry.std,
        validation=0 if protocol.validation_rule == "none" else int(options.get("validation") or entry.validation),
        validation_rule=protocol.validation_rule,
        fraction=fraction,
        fraction_rule=protocol.fraction_rule,
        subset_seed=seed,
        task=entry.task,
    )


@functools.cache
def file_digest(path: Path, what: str) -> str:
    """sha256 of a file that a word of the grid names. Raises GridError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise GridError(f"{what}: {path} cannot be read ({error.strerror}); give the path of a file") from None
