"""What the catalog says of a word: one record per kind of word. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.spec import Scalar

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """An option of a word. `default=None` means: what the protocol says. `choices` empty: any of the type."""

    kind: type
    default: Scalar = None
    choices: tuple[Scalar, ...] = ()
    required: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """`module` builds it; `gflops` is one forward pass of one image at `flops_resolution`, `cifar_factor` times as much
    with stem=cifar on the same image (for estimates).

    `sides`: by stem, the smallest and the largest side of the images it reads, in pixels; not named: any.
    `stages`: has feature maps at several strides, which segmentation and detection read.
    """

    summary: str
    module: str
    parameters_m: float
    gflops: float
    flops_resolution: int
    cifar_factor: int = 16
    stages: bool = False
    sides: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretraining:
    """`trains`: runs epochs on the source set; `objective`: the entry of OBJECTIVES it trains with."""

    summary: str
    trains: bool
    objective: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruner:
    """`iterative`: one stage per round, each the input of the next, which trains on the upstream or downstream set.

    `random`: the mask depends on the cell's seed. `reads_data`: scores are computed on examples of the set that the
    word's `on` names; `trains_scores`: they are trained on it. A pruner with `module=None` computes no scores.
    """

    summary: str
    module: str | None
    iterative: bool = False
    random: bool = False
    reads_data: bool = False
    trains_scores: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """An image set. `storage`: how its `.beton` keeps images (raw at `resolution`, or jpg, shorter side at most that).

    `task`: classification, segmentation (a class for every pixel; the first is the background) or detection (boxes).

    `validation`: images of the training split that form the validation split. `embedded`: needs no download.
    `train`: size of the official training split before that, for estimates.
    """

    summary: str
    source: str
    classes: int
    resolution: int
    train: int
    test: int
    validation: int
    storage: str = "raw"
    task: str = "classification"
    embedded: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """`reports`: name of every number it writes -> whether higher is better.

    `reads`: roles of the stages it reads; only what reads the transfer is measured for each of its selections.
    `task`: of the sets that it measures. `other`: the second set it compares with, "source" or the option that names
    it; `split`: of both.
    `passes`: forward-and-backward passes per example, for estimates, where no attack says it.
    """

    summary: str
    module: str
    reports: Mapping[str, bool]
    task: str = "classification"
    attacks: bool = False
    reads: tuple[str, ...] = ("transfer",)
    other: str | None = None
    split: str = "test"
    passes: float = 1 / 3
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """`augmentations`: the words of recipes that it can do. `dense`: reads sets of masks or boxes, and no others."""

    summary: str
    module: str
    augmentations: tuple[str, ...]
    dense: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """A word that selects a module or a rule."""

    summary: str
    module: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
