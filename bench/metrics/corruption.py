"""Accuracy under the 15 common corruptions at 5 severities."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from bench.corruptions import CORRUPTIONS, SEVERITIES
from bench.corruptions.generate import corrupt
from bench.metrics.evaluation import Batch, Conditions, Evaluation
from bench.metrics.outputs import correct, per_example

GENERATED, FILES = "generated", "files"


class Corrupted(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`corruption_accuracy` in [0, 1]: the mean over corruptions, severities and examples.

    Option `origin`: "generated" corrupts the test images here, as functions of (seed, index); "files" reads the
    published images from the further sets "<corruption>/<severity>". Per example `correct` (n, 75), corruption by
    corruption. Details: `accuracy` by corruption and severity, `mean` by corruption. With a scratch folder what was
    measured is not measured again. Raises ValueError for no examples, for outputs that are not finite, and for a set
    that is not given. Hendrycks and Dietterich 2019, arXiv:1903.12261.
    """
    columns = [_column(network, conditions, corruption, severity) for corruption, severity in _conditions()]
    sizes = sorted({len(column) for column in columns})
    if len(sizes) > 1:
        raise ValueError(f"the corrupted sets have different sizes: {', '.join(map(str, sizes))} images")
    right = np.stack(columns, axis=1)
    table = right.mean(axis=0).reshape(len(CORRUPTIONS), len(SEVERITIES))
    details: dict[str, Any] = {
        "severities": list(SEVERITIES),
        "accuracy": {name: row.tolist() for name, row in zip(CORRUPTIONS, table, strict=True)},
        "mean": {name: float(row.mean()) for name, row in zip(CORRUPTIONS, table, strict=True)},
    }
    metrics = {"corruption_accuracy": float(right.mean())}
    return Evaluation(metrics=metrics, examples={"correct": right}, details=details)


def _conditions() -> list[tuple[str, int]]:
    return [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]


def _column(network: nn.Module, conditions: Conditions, corruption: str, severity: int) -> npt.NDArray[np.bool_]:
    """Right or wrong, (n,), on one corrupted set; read from the scratch folder if it is there."""
    kept = conditions.scratch and conditions.scratch / f"{corruption}-{severity}.npy"
    if kept and kept.exists():
        found: npt.NDArray[np.bool_] = np.load(kept)
        return found
    batches = _batches(conditions, corruption, severity)
    found = per_example(network, batches, correct, pause=conditions.pause)["correct"]
    if kept:
        _save(kept, found)
    return found


def _batches(conditions: Conditions, corruption: str, severity: int) -> Iterator[Batch]:
    if conditions.options.get("origin", GENERATED) == FILES:
        role = f"{corruption}/{severity}"
        if role not in conditions.others:
            raise ValueError(f'corruption(origin={FILES}) needs a further set "{role}"')
        yield from conditions.others[role]()
        return
    for batch in conditions.batches():
        images = corrupt(batch.inputs, corruption, severity, seed=conditions.seed, indices=batch.indices)
        yield Corrupted(images, batch.labels, batch.indices)


def _save(path: Path, values: npt.NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, values)
    # Whole or not at all: what is there is taken as measured.
    os.replace(part, path)
