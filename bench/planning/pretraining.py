"""The stage of a cell's pre-training."""

from __future__ import annotations

from pathlib import Path

from bench.catalog import ARCHITECTURES, PRETRAININGS, WEIGHTS
from bench.grid import GridError
from bench.inputs import file_digest
from bench.planning.builder import Builder
from bench.spec import Cell, PretrainParameters, Recipe, Stage, Word


def pretrain(builder: Builder, cell: Cell) -> Stage:
    memo = ("pretrain", id(builder.upstream(cell)), id(cell.pretraining), id(cell.source), cell.pretraining_seed)
    return builder.once(memo, lambda: _pretrain(builder, cell))


def _pretrain(builder: Builder, cell: Cell) -> Stage:
    pretraining, recipe, digest, path = cell.pretraining, None, None, None
    network, weights = ARCHITECTURES[cell.architecture.name].reads, PRETRAININGS[pretraining.name].reads
    if weights not in ("", network):
        raise GridError(
            f"{builder.grid.path}: pretraining {pretraining} is of networks that read {weights}, {cell.architecture} "
            f"reads {network}; exclude the pair"
        )
    if PRETRAININGS[pretraining.name].trains:
        # Options of the word (epsilon, sigma) are in the recipe.
        pretraining, recipe = Word(pretraining.name, (), pretraining.label), pretrain_recipe(builder, cell)
    elif pretraining.name == "checkpoint":
        path = str(pretraining["path"])
        path = next((str(inside) for name in WEIGHTS if (inside := Path(path) / name).is_file()), path)
        # A supervised file is read as every file was before words told how weights were trained.
        kept = tuple((name, value) for name, value in pretraining.options if name != "path" and value != "supervised")
        pretraining, digest = Word("checkpoint", kept), file_digest(Path(path), f"pretraining {pretraining}")
    parameters = PretrainParameters(
        architecture=builder.upstream(cell),
        pretraining=pretraining,
        classes=builder.source(cell).classes,
        data=builder.source(cell) if recipe is not None else None,
        recipe=recipe,
        digest=digest,
        seed=cell.pretraining_seed,
        path=path,
    )
    return builder.add("pretrain", parameters, {})


def pretrain_recipe(builder: Builder, cell: Cell) -> Recipe:
    recipe = builder.protocol.pretrain.get(cell.pretraining.name)
    if recipe is None:
        raise builder.no_recipe(f"pretraining {cell.pretraining}", builder.protocol.pretrain)
    return builder.as_pretrained(recipe, cell)
