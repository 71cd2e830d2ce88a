"""Cells to stages, merged by key. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.grid import Grid
from bench.planning.builder import Builder
from bench.planning.evaluations import evaluations
from bench.planning.pretraining import pretrain
from bench.planning.tickets import Ticket, ticket
from bench.recipes.protocol import recipe_of
from bench.spec import Cell, Stage, TransferParameters, Word


class Asked(NamedTuple):
    """What an evaluation was planned for: the grid's word, and which of the transfer's networks (None: neither)."""

    metric: Word
    selection: str | None


class CellStages(NamedTuple):
    """Keys of a cell's stages. `ticket` is the prune stage, or the pretrain stage of a dense cell.

    `evaluate` and `asked` lie beside each other.
    """

    ticket: str
    transfer: str
    evaluate: tuple[str, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`stages` by key in an order that has every input before its reader; `cells` beside `grid.cells`."""

    grid: Grid
    stages: Mapping[str, Stage]
    cells: tuple[CellStages, ...]

    @property
    def targets(self) -> list[str]:
        """Keys of the evaluations that the cells ask for."""
        return [key for cell in self.cells for key in cell.evaluate]


def plan(grid: Grid) -> Plan:
    """Every stage of the grid once. Raises GridError where the protocol has no recipe for a cell."""
    builder = Builder(grid)
    cells = tuple(_cell(builder, cell) for cell in grid.cells)
    return Plan(grid=grid, stages=builder.stages, cells=cells)


def children(stages: Mapping[str, Stage]) -> dict[str, list[str]]:
    """Key -> keys of the stages that read it; inputs from outside of `stages` have no entry."""
    readers: dict[str, list[str]] = {key: [] for key in stages}
    for stage in stages.values():
        for _, source in stage.inputs:
            if source in readers:
                readers[source].append(stage.key)
    return readers


def _cell(builder: Builder, cell: Cell) -> CellStages:
    pretrained = pretrain(builder, cell)
    found = None if cell.pruner.name == "dense" else ticket(builder, cell, pretrained)
    transferred = _transfer(builder, cell, pretrained, found)
    planned = list(evaluations(builder, cell, transferred))
    return CellStages(
        (found.mask if found else pretrained).key,
        transferred.key,
        tuple(key for _, _, key in planned),
        tuple(Asked(word, selection) for word, selection, _ in planned),
    )


def _transfer(builder: Builder, cell: Cell, pretrained: Stage, found: Ticket | None) -> Stage:
    ticket_key = found.mask.key if found else pretrained.key
    start = found.start.key if found and found.start else None
    memo = (
        "transfer", ticket_key, start, id(cell.dataset), cell.transfer, id(cell.objective), cell.fraction, cell.seed,
    )  # fmt: skip

    def make() -> Stage:
        objective = cell.objective
        recipe = recipe_of(builder.protocol.transfer, f"{cell.transfer}/{objective.name}", cell.dataset)
        if recipe is None:
            what = f"transfer {cell.transfer}/{objective.name} to {cell.dataset}"
            raise builder.no_recipe(what, builder.protocol.transfer)
        if dict(objective.options).get("loss") == "trades":
            recipe = dataclasses.replace(recipe, trades_beta=float(objective["beta"] or 0))
        parameters = TransferParameters(
            architecture=cell.architecture,
            transfer=cell.transfer,
            data=builder.downstream(cell),
            source_classes=builder.source(cell).classes,
            recipe=recipe,
            seed=cell.seed,
        )
        inputs = {"pretrain": pretrained.key}
        if found is not None:
            inputs["ticket"] = found.mask.key
        if start is not None:
            inputs["start"] = start
        return builder.add("transfer", parameters, inputs)

    return builder.once(memo, make)
