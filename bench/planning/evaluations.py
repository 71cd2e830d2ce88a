"""The stages that measure a cell: every metric, on every selection of its transfer where it reads that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.catalog import METRICS, described, split_of
from bench.entries import Metric
from bench.grid import GridError
from bench.inputs import file_digest
from bench.planning.builder import Builder
from bench.planning.pretraining import pretrain
from bench.spec import Cell, Data, EvaluateParameters, Stage, TransferParameters, Word

# Options that the other parameters of the stage hold once they are resolved.
RESOLVED = ("epsilon", "norm", "steps", "restarts", "examples", "against", "features", "inception")


def evaluations(builder: Builder, cell: Cell, transfer: Stage) -> Iterator[tuple[Word, str | None, str]]:
    """(word of the grid, selection, key) of every evaluation of the cell, in the grid's order.

    A metric measures the sets of its tasks that have the split it reads. Raises GridError where none of the grid's
    measures the cell's set.
    """
    assert isinstance(transfer.parameters, TransferParameters)
    task = transfer.parameters.data.task
    splits = ("train", "test", *described(cell.dataset).splits)
    words = [word for word in builder.grid.evaluate if task in METRICS[word.name].tasks and split_of(word) in splits]
    if not words:
        known = ", ".join(name for name, entry in METRICS.items() if task in entry.tasks)
        raise GridError(
            f"{builder.grid.path}: evaluate names nothing that measures {cell.dataset} ({task}): add {known}"
        )
    for word in words:
        reads_transfer = "transfer" in METRICS[word.name].reads
        for selection in transfer.parameters.recipe.select if reads_transfer else (None,):
            yield word, selection, _evaluate(builder, cell, word, selection, transfer).key


def _evaluate(builder: Builder, cell: Cell, word: Word, selection: str | None, transfer: Stage) -> Stage:
    entry, options = METRICS[word.name], dict(word.options)
    memo: tuple[object, ...] = ("evaluate", transfer.key, id(word), selection)
    if selection is None:
        networks = (id(builder.upstream(cell)), id(cell.pretraining), id(cell.source), cell.pretraining_seed)
        memo = ("evaluate", id(word), *networks, id(cell.dataset))

    def make() -> Stage:
        path = options.get("inception")
        if path and options.get("features"):
            raise GridError(f"{builder.grid.path}: evaluate {word}: give features or inception, not both")
        # Features of Inception depend on no network of the grid.
        reads = () if path else entry.reads
        keys = {"transfer": transfer.key}
        if "pretrain" in reads:
            keys["pretrain"] = pretrain(builder, _feature_cell(builder, cell, word)).key
            # What a ticket was cut from, where that is not the pre-trained network.
            if "transfer" in reads and (start := dict(transfer.inputs).get("start")):
                keys["start"], reads = start, (*reads, "start")
        data, examples = builder.whole(cell), options.get("examples")
        if examples is None and entry.attacks:
            examples = builder.protocol.attack_examples
        parameters = EvaluateParameters(
            architecture=cell.architecture if "transfer" in reads else builder.upstream(cell),
            metric=Word(word.name, tuple((k, v) for k, v in word.options if k not in RESOLVED), word.label),
            data=data,
            attack=builder.adjusted(builder.protocol.attack, word) if entry.attacks else None,
            seed=cell.seed if selection is not None else 0,
            selection=selection,
            examples=builder.examples(examples, f"evaluate {word}"),
            other=_other(builder, cell, entry, options, data),
            source_classes=builder.source(cell).classes if "pretrain" in reads else None,
            digest=file_digest(Path(str(path)), f"evaluate {word}") if path else None,
            path=str(path) if path else None,
        )
        return builder.add("evaluate", parameters, {role: keys[role] for role in reads})

    return builder.once(memo, make)


def _feature_cell(builder: Builder, cell: Cell, word: Word) -> Cell:
    """The cell with the pre-training whose features the metric is to use: its own unless the word names one."""
    named = dict(word.options).get("features")
    return dataclasses.replace(cell, pretraining=builder.word("pretraining", str(named))) if named else cell


def _other(builder: Builder, cell: Cell, entry: Metric, options: dict[str, Any], data: Data) -> Data | None:
    """The second set, at the resolution of the first."""
    if entry.other is None:
        return None
    dataset = cell.source if entry.other == "source" else builder.word("dataset", str(options[entry.other]))
    other = builder.data(cell.architecture, dataset, 1.0, 0)
    return (
        other
        if other.resolution == data.resolution
        else dataclasses.replace(other, resolution=data.resolution, loader="stream")
    )
