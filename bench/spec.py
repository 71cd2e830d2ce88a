"""Frozen records of what a grid asks for and what a stage computes; imports no torch.

A `Cell` is one row of the benchmark. It expands to `Stage`s, whose parameters hold exactly what their
computation reads; the key of a stage is a hash of those parameters and of its inputs' keys.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from bench.keys import canonical
from bench.ladder import Ladder

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
    granularity: str
    sparsity: float
    round: int | None
    dataset: Word
    transfer: str
    objective: str
    fraction: float
    seed: int
    pretraining_seed: int


AXES = tuple(f.name for f in dataclasses.fields(Cell) if f.name != "round")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """An attack on pixels in [0, 1]; epsilon and step are in 1/255 (L2: in units of 1)."""

    norm: str = "linf"
    epsilon_255: float = 8.0
    step_255: float = 2.0
    steps: int = 10
    restarts: int = 1
    random_start: bool = True
    batchnorm: str = "eval"

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"attack norm {self.norm!r} (known: linf, l2)")
        if self.batchnorm not in ("eval", "train"):
            raise ValueError(f"attack batchnorm {self.batchnorm!r} (known: eval, train)")
        sizes = (self.epsilon_255, self.step_255)
        if not all(map(math.isfinite, sizes)) or min(sizes) < 0 or self.steps < 1 or self.restarts < 1:
            raise ValueError("an attack needs epsilon_255 >= 0, step_255 >= 0, steps >= 1 and restarts >= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a network is trained. `milestones` and `warmup_epochs` are in epochs."""

    epochs: int
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "fp32"
    channels_last: bool = False
    drop_last: bool = False
    augmentation: tuple[str, ...] = ()
    attack: Attack | None = None
    select: str = "last"

    def __post_init__(self) -> None:
        for name, known in RECIPE_CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"recipe {name} {getattr(self, name)!r} (known: {', '.join(known)})")
        for word in self.augmentation:
            if word not in AUGMENTATIONS:
                raise ValueError(f"recipe augmentation {word!r} (known: {', '.join(AUGMENTATIONS)})")
        if self.attack is not None and self.attack.restarts != 1:
            raise ValueError(f"a training attack has 1 restart, not {self.attack.restarts}")
        numbers = (self.lr, self.momentum, self.weight_decay, self.gamma, self.warmup_epochs, self.label_smoothing)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("every number of a recipe is finite")
        if self.epochs < 0 or self.batch_size < 1 or self.lr < 0 or self.weight_decay < 0:
            raise ValueError("a recipe needs epochs >= 0, batch_size >= 1, lr >= 0 and weight_decay >= 0")


RECIPE_CHOICES = {
    "optimizer": ("sgd", "adamw"),
    "schedule": ("constant", "step", "cosine", "linear"),
    "precision": ("fp32", "bf16"),
    "select": ("last", "best_validation"),
}
AUGMENTATIONS = ("crop", "flip", "resized_crop")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Which images a stage reads and how they arrive. Mean and std are those of the network's first layer."""

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
    """`round` counts along `ladder`; a sparsity off every ladder has neither."""

    architecture: Word
    pruner: Word
    granularity: str
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
    """`data` is the downstream set's; evaluation reads its test split and no augmentation."""

    architecture: Word
    metric: Word
    data: Data
    attack: Attack | None
    seed: int


Parameters = PretrainParameters | PruneParameters | TransferParameters | EvaluateParameters
PARAMETERS = {
    "pretrain": PretrainParameters,
    "prune": PruneParameters,
    "transfer": TransferParameters,
    "evaluate": EvaluateParameters,
}
KINDS = tuple(PARAMETERS)

# Bumped when the code of a stage kind changes what it computes from the same parameters.
VERSIONS = {"pretrain": 1, "prune": 1, "transfer": 1, "evaluate": 1}


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
