"""The stages that find a cell's ticket: one shot, a chain of rounds, trained scores, a file; and its controls."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

from bench import words
from bench.catalog import ARCHITECTURES, DATASETS, PRETRAININGS, PRUNERS
from bench.grid import GridError
from bench.inputs import file_digest
from bench.planning.builder import Builder
from bench.recipes.protocol import recipe_of
from bench.spec import Cell, Data, PruneParameters, Recipe, Stage, Word

# Options that recipe, rewind, inputs and digest hold once they are resolved; a control is a stage of its own.
RESOLVED = ("objective", "rewind", "rewind_epoch", "control", "path")
# What returns to its earlier value before a round, where it is not what the protocol says.
REWINDS: dict[str, tuple[str, ...]] = {"never": (), "prunable": ("prunable",)}


class Ticket(NamedTuple):
    """A mask, and the stage whose weights the transfer starts from where they are not the pre-trained ones."""

    mask: Stage
    start: Stage | None = None


def ticket(builder: Builder, cell: Cell, pretrain: Stage) -> Ticket:
    """The cell's ticket; a control is made of the ticket that the same word without it finds."""
    control = dict(cell.pruner.options).get("control", "none")
    found = _found(builder, cell, pretrain)
    if control == "none":
        return found
    # One mask may have two starts: before any training, a round prunes the same weights whatever it rewinds to.
    memo = ("control", found.mask.key, found.start and found.start.key, control, cell.seed)
    return builder.once(memo, lambda: _control(builder, cell, pretrain, found, str(control)))


def _found(builder: Builder, cell: Cell, pretrain: Stage) -> Ticket:
    cell = _searched(builder, cell)
    entry = PRUNERS[cell.pruner.name]
    if not entry.iterative:
        return Ticket(_one_shot(builder, cell, pretrain))
    assert cell.round is not None, "an iterative pruner off the ladder passed validation"
    if int(cell.pruner["rewind_epoch"] or 0) < 0:
        raise GridError(f"{builder.grid.path}: pruner {cell.pruner}: rewind_epoch counts epochs from 0")
    rewind = cell.pruner["rewind"]
    if rewind != "pretrained" and cell.pruner["rewind_epoch"]:
        raise GridError(
            f"{builder.grid.path}: pruner {cell.pruner}: rewind={rewind} does not return to an early epoch: drop "
            f"rewind_epoch, or rewind={rewind}"
        )
    mask = _round(builder, cell, pretrain, cell.round)
    if rewind in REWINDS:
        # A first prune before any training leaves the pre-trained weights.
        trained = isinstance(mask.parameters, PruneParameters) and mask.parameters.recipe is not None
        return Ticket(mask, mask if trained else None)
    return Ticket(mask, _rewind_point(builder, cell, pretrain))


def _searched(builder: Builder, cell: Cell) -> Cell:
    """The cell whose ticket this one takes: that of the data set that the pruner's `on` names, or the cell itself."""
    on = str(dict(cell.pruner.options).get("on", ""))
    if on in ("", "upstream", "downstream"):
        return cell
    if dict(cell.pruner.options).get("rewind") == "prunable":
        raise GridError(
            f"{builder.grid.path}: pruner {cell.pruner}: rewind=prunable goes on with the head of the set that was "
            "searched: write on=downstream"
        )
    try:
        dataset = builder.word("dataset", on)
    except GridError as error:
        hint = words.suggestion(on, ["upstream", "downstream", *DATASETS])
        raise GridError(f"{builder.grid.path}: pruner {cell.pruner}: on={on} names no set {hint}") from error
    given = {**dict(cell.pruner.options), "on": "downstream"}
    there = {name: value for name, value in given.items() if value is not None}
    pruner = builder.once(("on", id(cell.pruner)), lambda: words.word(cell.pruner.name, there, "pruner", PRUNERS))
    return dataclasses.replace(cell, dataset=dataset, pruner=pruner)


def _one_shot(builder: Builder, cell: Cell, pretrain: Stage) -> Stage:
    entry, options = PRUNERS[cell.pruner.name], dict(cell.pruner.options)
    reads = entry.reads_data or entry.trains_scores
    downstream = reads and options["on"] == "downstream"
    seed = cell.seed if entry.random or downstream else (cell.pretraining_seed if reads else None)
    on = (id(cell.architecture), id(cell.dataset), cell.fraction) if downstream else ()
    memo = ("prune", pretrain.key, id(cell.pruner), id(cell.granularity), cell.sparsity, seed, *on)

    def make() -> Stage:
        builder.examples(options.get("examples"), f"pruner {cell.pruner}")
        path = str(options["path"]).replace("{round}", str(cell.round)) if "path" in options else None
        data = (builder.downstream(cell) if downstream else builder.source(cell)) if reads else None
        parameters = parameters_of(
            builder,
            cell,
            cell.round,
            cell.sparsity,
            data=data,
            recipe=_scores_recipe(builder, cell) if entry.trains_scores else None,
            seed=seed,
            # Scores without data still depend on the size of the image.
            resolution=builder.source(cell).resolution if cell.pruner.name == "synflow" else None,
            digest=file_digest(Path(path), f"pruner {cell.pruner}") if path else None,
            path=path,
            downstream=downstream,
        )
        return builder.add("prune", parameters, {"pretrain": pretrain.key})

    return builder.once(memo, make)


def _scores_recipe(builder: Builder, cell: Cell) -> Recipe:
    """The recipe by which scores are trained."""
    name = f"{cell.pruner.name}/{cell.pruner['objective'] or 'standard'}"
    if name not in builder.protocol.prune:
        raise builder.no_recipe(f"pruner {name}", builder.protocol.prune)
    return builder.protocol.prune[name]


def _round(builder: Builder, cell: Cell, pretrain: Stage, round: int) -> Stage:
    """Round k's input is round k - 1: ladders share their prefixes. A first prune before training reads no data."""
    on = str(cell.pruner["on"])
    downstream = on == "downstream"
    reads = (id(cell.architecture), id(cell.dataset), cell.fraction, cell.seed) if downstream else ()
    memo = ("imp", pretrain.key, id(cell.pruner), id(cell.granularity), round, *reads)

    def make() -> Stage:
        train_first = builder.protocol.train_first[on]
        trains = round > 1 or train_first
        inputs = {"pretrain": pretrain.key}
        point = _rewind_point(builder, cell, pretrain) if trains else None
        if point is not None:
            inputs["rewind"] = point.key
        if round > 1:
            inputs["previous"] = _round(builder, cell, pretrain, round - 1).key
        parameters = parameters_of(
            builder,
            cell,
            round,
            builder.grid.ladder.sparsity(round),
            data=_round_data(builder, cell) if trains else None,
            recipe=_round_recipe(builder, cell, on) if trains else None,
            train_first=train_first,
            rewind=REWINDS.get(str(cell.pruner["rewind"]), builder.protocol.rewind),
            downstream=downstream,
            seed=_round_seed(cell) if trains else None,
        )
        return builder.add("prune", parameters, inputs)

    return builder.once(memo, make)


def _rewind_point(builder: Builder, cell: Cell, pretrain: Stage) -> Stage | None:
    """The dense network after the first epochs of a round, which early rewinding returns to; None at epoch 0.

    With rewind=finetuned it is the dense network after a whole round, at its best validation epoch.
    """
    epoch, finetuned = cell.pruner["rewind_epoch"], cell.pruner["rewind"] == "finetuned"
    if not epoch and not finetuned:
        return None
    on = str(cell.pruner["on"])
    reads = (id(cell.architecture), id(cell.dataset), cell.fraction, cell.seed) if on == "downstream" else ()

    def make() -> Stage:
        recipe = _round_recipe(builder, cell, on)
        if finetuned and recipe.contrast is None:
            recipe = dataclasses.replace(recipe, select=("best_validation",))
        parameters = parameters_of(
            builder,
            cell,
            0,
            0.0,
            data=_round_data(builder, cell),
            recipe=recipe,
            seed=_round_seed(cell),
            downstream=on == "downstream",
        )
        reached = recipe.epochs if finetuned else epoch
        assert isinstance(reached, int)
        if reached > recipe.epochs:
            raise GridError(
                f"{builder.grid.path}: pruner {cell.pruner}: a round has {recipe.epochs} epochs; "
                f"rewind_epoch is one of 0 to {recipe.epochs}"
            )
        # No more of the word than what the dense training reads, so that all chains share it.
        pruner = Word(cell.pruner.name, (("on", on),))
        parameters = dataclasses.replace(parameters, epoch=reached, pruner=pruner, granularity=Word("unstructured"))
        return builder.add("prune", parameters, {"pretrain": pretrain.key})

    return builder.once(("rewind", pretrain.key, id(cell.pruner), epoch, *reads), make)


def _round_data(builder: Builder, cell: Cell) -> Data:
    return builder.downstream(cell) if cell.pruner["on"] == "downstream" else builder.source(cell)


def _round_seed(cell: Cell) -> int:
    return cell.seed if cell.pruner["on"] == "downstream" else cell.pretraining_seed


def _round_recipe(builder: Builder, cell: Cell, on: str) -> Recipe:
    """What the word says, else the protocol; upstream that may be the pre-training's own objective."""
    table, asked = builder.protocol.prune, cell.pruner["objective"] or builder.protocol.imp_objective
    pretraining = PRETRAININGS[cell.pretraining.name]
    names = [f"{on}/{asked}"]
    if asked == "pretraining":
        # A file's weights were trained by the method that its word names.
        method = str(dict(cell.pretraining.options).get("method") or cell.pretraining.name)
        trained = PRETRAININGS.get(method, pretraining)
        names = [f"{on}/{(trained.objective if on == 'upstream' else None) or 'standard'}"]
        if on == "upstream":
            names.insert(0, f"{on}/{method}")
    for name in names:
        if on == "downstream":
            found = recipe_of(table, name, cell.dataset)
        else:
            found = builder.as_pretrained(table[name], cell) if name in table else None
        if found is not None:
            return found
    raise builder.no_recipe(f"IMP {names[-1]}{f' on {cell.dataset}' if on == 'downstream' else ''}", table)


def _control(builder: Builder, cell: Cell, pretrain: Stage, found: Ticket, control: str) -> Ticket:
    """The ticket with other weights, or with the mask of what it prunes."""
    old = found.mask.parameters
    assert isinstance(old, PruneParameters)
    parameters = dataclasses.replace(
        parameters_of(builder, cell, old.round, old.sparsity),
        control=control,
        pruner=Word(cell.pruner.name),
        seed=None if control == "reversed" else cell.seed,
    )
    inputs = {"pretrain": pretrain.key, "ticket": found.mask.key}
    if control == "permuted_layers" and not ARCHITECTURES[cell.architecture.name].blocks:
        known = ", ".join(name for name, entry in ARCHITECTURES.items() if entry.blocks)
        raise GridError(
            f"{builder.grid.path}: pruner {cell.pruner}: {cell.architecture} has no blocks of equal shapes to permute "
            f"(known: {known}); exclude the pair"
        )
    if found.start is not None and control in ("shuffled", "permuted_layers"):
        inputs["start"] = found.start.key
    stage = builder.add("prune", parameters, inputs)
    return Ticket(stage, found.start if control == "reversed" else stage)


def parameters_of(
    builder: Builder,
    cell: Cell,
    round: int | None,
    sparsity: float,
    *,
    data: Data | None = None,
    recipe: Recipe | None = None,
    train_first: bool | None = None,
    rewind: tuple[str, ...] = (),
    seed: int | None = None,
    resolution: int | None = None,
    digest: str | None = None,
    path: str | None = None,
    downstream: bool = False,
) -> PruneParameters:
    """The parameters of a prune stage; those of training are None where nothing trains."""
    options = tuple((name, value) for name, value in cell.pruner.options if name not in RESOLVED)
    given = {name: value for name, value in cell.pruner.options if name != "control" and value is not None}
    return PruneParameters(
        architecture=cell.architecture if downstream else builder.upstream(cell),
        pruner=Word(cell.pruner.name, options, words.word(cell.pruner.name, given, "pruner", PRUNERS).label),
        granularity=cell.granularity,
        sparsity=sparsity,
        ladder=builder.grid.ladder if round is not None else None,
        round=round,
        prunable=builder.protocol.prunable,
        data=data,
        source_classes=builder.source(cell).classes,
        recipe=recipe,
        train_first=train_first,
        rewind=rewind,
        seed=seed,
        resolution=resolution,
        digest=digest,
        path=path,
    )
