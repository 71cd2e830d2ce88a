"""Frozen records of what a grid asks for and what a stage computes; imports no torch.

A `Cell` is one row of the benchmark. It expands to `Stage`s, whose parameters hold exactly what their
computation reads; the key of a stage is a hash of those parameters and of its inputs' keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from bench.keys import canonical
from bench.ladder import Ladder
from bench.recipe import OPTIONAL
from bench.recipe import Attack as Attack
from bench.recipe import Contrast as Contrast
from bench.recipe import Recipe as Recipe
from bench.recipe import Views as Views

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Word:
    """A grid word with its options resolved: `imp(on=downstream)`.

    `label` shows only the options that differ from their defaults; it is what YAML, CSV and `--only` use.
    """

    name: str
    options: tuple[tuple[str, Scalar], ...] = ()
    label: str = field(default="", compare=False, metadata={"identity": False})

    def __getitem__(self, option: str) -> Scalar:
        return dict(self.options)[option]

    def __str__(self) -> str:
        return self.label or self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of the benchmark. Field names are the grid's axis names and the CSV's column names."""

    architecture: Word
    pretraining: Word
    source: Word
    pruner: Word
    granularity: Word
    sparsity: float
    round: int | None
    dataset: Word
    transfer: str
    objective: Word
    fraction: float
    seed: int
    pretraining_seed: int


AXES = tuple(f.name for f in dataclasses.fields(Cell) if f.name != "round")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Which examples a stage reads and how they arrive.

    resolution: side of images in pixels, largest number of tokens of texts. Mean and std are those of the network's
    first layer. validation: 0 holds nothing out.
    """

    dataset: Word
    classes: int
    resolution: int
    loader: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    validation: int
    validation_rule: str = "stratified"
    fraction: float = 1.0
    fraction_rule: str = "stratified"
    subset_seed: int = 0
    task: str = field(default="classification", metadata=OPTIONAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prunable:
    """Which weights a protocol prunes: all convolutions, the first one or not, hidden linear layers or not.

    Heads, biases and normalisation layers are never pruned.
    """

    first_conv: bool = True
    linear: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainParameters:
    """`classes` are those of the source set's head; weights that are not trained here read no data."""

    architecture: Word
    pretraining: Word
    classes: int
    data: Data | None
    recipe: Recipe | None
    digest: str | None
    seed: int
    # Where a file lies does not change a number; what it holds (`digest`) does.
    path: str | None = field(default=None, metadata={"identity": False})


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneParameters:
    """`round` counts along `ladder`; a sparsity off every ladder has neither.

    data: what is trained on, or what scores are computed on. recipe: of what trains, a round or the scores.
    resolution: side of the images that a score without data is computed for.
    epoch: of the recipe, after which the dense network is kept as the point that later rounds rewind to.
    control: what is done to the input ticket instead of pruning.
    """

    architecture: Word
    pruner: Word
    granularity: Word
    sparsity: float
    ladder: Ladder | None
    round: int | None
    prunable: Prunable
    data: Data | None
    source_classes: int
    recipe: Recipe | None
    train_first: bool | None
    rewind: tuple[str, ...]
    seed: int | None
    resolution: int | None = None
    epoch: int | None = None
    control: str | None = None
    digest: str | None = None
    path: str | None = field(default=None, metadata={"identity": False})


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferParameters:
    architecture: Word
    transfer: str
    data: Data
    source_classes: int
    recipe: Recipe
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateParameters:
    """`data` is the downstream set's; evaluation reads one split of it and no augmentation.

    selection: which of the transfer's networks. examples: size of the fixed stratified subset of the split, None for
    all of it. other: a second set that the metric compares with.
    """

    architecture: Word
    metric: Word
    data: Data
    attack: Attack | None
    seed: int
    selection: str | None = None
    examples: int | None = None
    other: Data | None = None
    source_classes: int | None = None
    digest: str | None = None
    path: str | None = field(default=None, metadata={"identity": False})


Parameters = PretrainParameters | PruneParameters | TransferParameters | EvaluateParameters
PARAMETERS = {
    "pretrain": PretrainParameters,
    "prune": PruneParameters,
    "transfer": TransferParameters,
    "evaluate": EvaluateParameters,
}
KINDS = tuple(PARAMETERS)

# Bumped when the code of a stage kind changes what it computes from the same parameters.
VERSIONS = {"pretrain": 2, "prune": 2, "transfer": 2, "evaluate": 2}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """One computation: `inputs` are keys of the stages it reads, by role (pretrain, previous, ticket, transfer)."""

    key: str
    kind: str
    parameters: Parameters
    inputs: tuple[tuple[str, str], ...]

    @property
    def version(self) -> int:
        return VERSIONS[self.kind]


def make_stage(kind: str, parameters: Parameters, inputs: dict[str, str]) -> Stage:
    """The stage with its key: 16 hex digits of sha256 over canonical JSON of kind, version, parameters, inputs."""
    text = (
        f'{{"inputs":{json.dumps(inputs, sort_keys=True)},"kind":"{kind}",'
        f'"parameters":{canonical(parameters)},"version":{VERSIONS[kind]}}}'
    )
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Stage(key=key, kind=kind, parameters=parameters, inputs=tuple(inputs.items()))


def as_json(stage: Stage) -> dict[str, Any]:
    """The stage as plain JSON values, for manifests and task files."""
    return {
        "key": stage.key,
        "kind": stage.kind,
        "version": stage.version,
        "inputs": dict(stage.inputs),
        "parameters": dataclasses.asdict(stage.parameters),
    }


def from_json(value: dict[str, Any]) -> Stage:
    """The stage of `as_json`, its key recomputed. Raises ValueError where the recorded key is another one."""
    from pydantic import TypeAdapter

    parameters: Parameters = TypeAdapter(PARAMETERS[value["kind"]]).validate_python(value["parameters"])
    stage = make_stage(value["kind"], parameters, dict(value["inputs"]))
    if stage.key != value["key"]:
        raise ValueError(
            f"stage {value['key']} was planned by another version of the code (now {stage.key}); submit again"
        )
    return stage
