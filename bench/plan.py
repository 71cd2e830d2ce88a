"""Cells to stages, merged by key; what is done, to run and missing; what the work costs. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.catalog import ARCHITECTURES, LOADERS, METRICS, PRETRAININGS, PRUNERS
from bench.grid import Grid, GridError
from bench.inputs import checkpoint_digest, describe_data
from bench.recipes.protocol import transfer_recipe
from bench.spec import (
    Attack,
    Cell,
    Data,
    EvaluateParameters,
    Parameters,
    PretrainParameters,
    PruneParameters,
    Recipe,
    Stage,
    TransferParameters,
    Word,
    make_stage,
)


class CellStages(NamedTuple):
    """Keys of a cell's stages. `ticket` is the prune stage, or the pretrain stage of a dense cell."""

    ticket: str
    transfer: str
    evaluate: tuple[str, ...]


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
    planner = _Planner(grid)
    cells = tuple(planner.cell(cell) for cell in grid.cells)
    return Plan(grid=grid, stages=planner.stages, cells=cells)


def children(stages: Mapping[str, Stage]) -> dict[str, list[str]]:
    """Key -> keys of the stages that read it; inputs from outside of `stages` have no entry."""
    readers: dict[str, list[str]] = {key: [] for key in stages}
    for stage in stages.values():
        for _, source in stage.inputs:
            if source in readers:
                readers[source].append(stage.key)
    return readers


class _Planner:
    """Builds stages with one memo per kind, so that planning costs per distinct stage, not per cell."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.protocol = grid, grid.protocol
        self.stages: dict[str, Stage] = {}
        self._memo: dict[tuple[object, ...], Stage] = {}
        self._data: dict[tuple[object, ...], Data] = {}

    def add(self, kind: str, parameters: Parameters, inputs: dict[str, str]) -> Stage:
        self.check(parameters)
        stage = make_stage(kind, parameters, inputs)
        return self.stages.setdefault(stage.key, stage)

    def cell(self, cell: Cell) -> CellStages:
        pretrain = self.pretrain(cell)
        ticket = pretrain if cell.pruner.name == "dense" else self.prune(cell, pretrain)
        transfer = self.transfer(cell, pretrain, ticket)
        return CellStages(
            ticket.key, transfer.key, tuple(self.evaluate(cell, word, transfer) for word in self.grid.evaluate)
        )

    def pretrain(self, cell: Cell) -> Stage:
        memo = ("pretrain", id(cell.architecture), id(cell.pretraining), id(cell.source), cell.pretraining_seed)
        if memo not in self._memo:
            pretraining, recipe, digest, path = cell.pretraining, None, None, None
            if PRETRAININGS[pretraining.name].trains:
                # Options of the word (epsilon) are in the recipe's attack.
                pretraining, recipe = Word(pretraining.name, (), pretraining.label), self.pretrain_recipe(cell)
            elif pretraining.name == "checkpoint":
                path = str(pretraining["path"])
                pretraining, digest = Word("checkpoint"), checkpoint_digest(Path(path))
            parameters = PretrainParameters(
                architecture=cell.architecture,
                pretraining=pretraining,
                classes=self.source(cell).classes,
                data=self.source(cell) if recipe is not None else None,
                recipe=recipe,
                digest=digest,
                seed=cell.pretraining_seed,
                path=path,
            )
            self._memo[memo] = self.add("pretrain", parameters, {})
        return self._memo[memo]

    def pretrain_recipe(self, cell: Cell) -> Recipe:
        recipe = self.protocol.pretrain.get(cell.pretraining.name)
        if recipe is None:
            raise self.no_recipe(f"pretraining {cell.pretraining}", self.protocol.pretrain)
        return self.with_epsilon(recipe, cell)

    def with_epsilon(self, recipe: Recipe, cell: Cell) -> Recipe:
        """The recipe attacking as strongly as the cell's pre-training says."""
        epsilon = dict(cell.pretraining.options).get("epsilon")
        if epsilon is None or recipe.attack is None:
            return recipe
        return dataclasses.replace(recipe, attack=self.adjusted(recipe.attack, cell.pretraining))

    def adjusted(self, attack: Attack, word: Word) -> Attack:
        """The attack with the word's options; with another epsilon the step keeps its share of it."""
        options: dict[str, Any] = {name: value for name, value in word.options if value is not None}
        try:
            if "epsilon" in options:
                epsilon = options["epsilon"]
                share = attack.step_255 / attack.epsilon_255 if attack.epsilon_255 else 2.5 / attack.steps
                attack = dataclasses.replace(attack, epsilon_255=epsilon, step_255=epsilon * share)
            return dataclasses.replace(attack, **{k: v for k, v in options.items() if k in ("steps", "restarts")})
        except ValueError as error:
            raise GridError(f"{self.grid.path}: {word}: {error}") from None

    def prune(self, cell: Cell, pretrain: Stage) -> Stage:
        entry = PRUNERS[cell.pruner.name]
        if entry.iterative:
            if cell.round is None:
                raise AssertionError("an iterative pruner off the ladder passed validation")
            return self.imp_round(cell, pretrain, cell.round)
        seed = cell.seed if entry.random else None
        memo = ("prune", pretrain.key, id(cell.pruner), cell.granularity, cell.sparsity, seed)
        if memo not in self._memo:
            parameters = self.ticket(cell, cell.round, cell.sparsity, seed=seed)
            self._memo[memo] = self.add("prune", parameters, {"pretrain": pretrain.key})
        return self._memo[memo]

    def imp_round(self, cell: Cell, pretrain: Stage, round: int) -> Stage:
        """Round k's input is round k - 1: ladders share their prefixes. A first prune before training reads no data."""
        on = str(cell.pruner["on"])
        downstream = on == "downstream"
        reads = (id(cell.dataset), cell.fraction, cell.seed) if downstream else ()
        memo = ("imp", pretrain.key, id(cell.pruner), cell.granularity, round, *reads)
        if memo not in self._memo:
            train_first = self.protocol.train_first[on]
            trains = round > 1 or train_first
            inputs = {"pretrain": pretrain.key}
            if round > 1:
                inputs["previous"] = self.imp_round(cell, pretrain, round - 1).key
            parameters = self.ticket(
                cell,
                round,
                self.grid.ladder.sparsity(round),
                data=(self.downstream(cell) if downstream else self.source(cell)) if trains else None,
                recipe=self.imp_recipe(cell, on) if trains else None,
                train_first=train_first,
                rewind=self.protocol.rewind,
                seed=(cell.seed if downstream else cell.pretraining_seed) if trains else None,
            )
            self._memo[memo] = self.add("prune", parameters, inputs)
        return self._memo[memo]

    def imp_recipe(self, cell: Cell, on: str) -> Recipe:
        objective = self.protocol.imp_objective
        if objective == "pretraining":
            objective = (PRETRAININGS[cell.pretraining.name].objective if on == "upstream" else None) or "standard"
        name = f"{on}/{objective}"
        if name not in self.protocol.prune:
            raise self.no_recipe(f"IMP {name}", self.protocol.prune)
        recipe = self.protocol.prune[name]
        return self.with_epsilon(recipe, cell) if on == "upstream" else recipe

    def ticket(
        self,
        cell: Cell,
        round: int | None,
        sparsity: float,
        *,
        data: Data | None = None,
        recipe: Recipe | None = None,
        train_first: bool | None = None,
        rewind: tuple[str, ...] = (),
        seed: int | None = None,
    ) -> PruneParameters:
        """The parameters of a prune stage; those of training are None where nothing trains."""
        return PruneParameters(
            architecture=cell.architecture,
            pruner=cell.pruner,
            granularity=cell.granularity,
            sparsity=sparsity,
            ladder=self.grid.ladder if round is not None else None,
            round=round,
            prunable=self.protocol.prunable,
            data=data,
            source_classes=self.source(cell).classes,
            recipe=recipe,
            train_first=train_first,
            rewind=rewind,
            seed=seed,
        )

    def transfer(self, cell: Cell, pretrain: Stage, ticket: Stage) -> Stage:
        memo = (
            "transfer", ticket.key, id(cell.dataset), cell.transfer, cell.objective, cell.fraction, cell.seed,
        )  # fmt: skip
        if memo not in self._memo:
            recipe = transfer_recipe(self.protocol, cell.transfer, cell.objective, cell.dataset.name)
            if recipe is None:
                raise self.no_recipe(f"transfer {cell.transfer}/{cell.objective}", self.protocol.transfer)
            parameters = TransferParameters(
                architecture=cell.architecture,
                transfer=cell.transfer,
                data=self.downstream(cell),
                source_classes=self.source(cell).classes,
                recipe=recipe,
                seed=cell.seed,
            )
            inputs = {"pretrain": pretrain.key}
            if ticket.kind == "prune":
                inputs["ticket"] = ticket.key
            self._memo[memo] = self.add("transfer", parameters, inputs)
        return self._memo[memo]

    def evaluate(self, cell: Cell, metric: Word, transfer: Stage) -> str:
        memo = ("evaluate", transfer.key, id(metric))
        if memo not in self._memo:
            parameters = EvaluateParameters(
                architecture=cell.architecture,
                # Options of the word (epsilon, steps) are in the attack.
                metric=Word(metric.name, (), metric.label) if METRICS[metric.name].attacks else metric,
                data=dataclasses.replace(self.downstream(cell), fraction=1.0, subset_seed=0),
                attack=self.attack(metric),
                seed=cell.seed if METRICS[metric.name].attacks else 0,
            )
            self._memo[memo] = self.add("evaluate", parameters, {"transfer": transfer.key})
        return self._memo[memo].key

    def attack(self, metric: Word) -> Attack | None:
        return self.adjusted(self.protocol.attack, metric) if METRICS[metric.name].attacks else None

    def source(self, cell: Cell) -> Data:
        return self.data(cell.architecture, cell.source, 1.0, 0)

    def downstream(self, cell: Cell) -> Data:
        return self.data(cell.architecture, cell.dataset, cell.fraction, cell.seed)

    def data(self, architecture: Word, dataset: Word, fraction: float, seed: int) -> Data:
        """What a stage reads. The whole set does not depend on the seed of its subset."""
        memo = (id(architecture), id(dataset), fraction, seed if fraction < 1 else 0)
        if memo not in self._data:
            self._data[memo] = describe_data(
                self.protocol, architecture, dataset, fraction=fraction, seed=seed if fraction < 1 else 0
            )
        return self._data[memo]

    def check(self, parameters: Parameters) -> None:
        """Raises GridError where the loader or the network could not do what the stage asks for."""
        data, recipe = parameters.data, getattr(parameters, "recipe", None)
        if data is None:
            return
        known = LOADERS[data.loader].augmentations
        for word in recipe.augmentation if recipe is not None else ():
            if word not in known:
                raise GridError(
                    f"{self.grid.path}: {data.dataset} is read by the {data.loader} loader, which has no augmentation "
                    f"{word} (known: {', '.join(known)}); add override: {{data: {{loader: stream}}}}, or another "
                    "augmentation for the recipe"
                )
        architecture = parameters.architecture
        sides = ARCHITECTURES[architecture.name].sides.get(str(dict(architecture.options).get("stem")), (1, None))
        if data.resolution < sides[0] or (sides[1] is not None and data.resolution > sides[1]):
            wanted = f"exactly {sides[0]}" if sides[1] == sides[0] else f"at least {sides[0]}"
            raise GridError(
                f"{self.grid.path}: {architecture} reads images of {wanted} pixels, {data.dataset} has "
                f"{data.resolution} here; choose another stem or data set, or override data.imagenet_stem_resolution"
            )

    def no_recipe(self, what: str, table: Mapping[str, Recipe]) -> GridError:
        return GridError(
            f"{self.grid.path}: protocol {self.protocol.name} has no recipe for {what} "
            f"(known: {', '.join(sorted(table))}). Choose another word, or add the recipe to "
            f"bench/recipes/{self.protocol.name}.py"
        )
