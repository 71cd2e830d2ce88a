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

    `reads`: images or texts, of which resolutions are numbers of tokens. `sides`: by stem (of texts by ""), the
    smallest and the largest resolution it reads; not named: any.
    `stages`: has feature maps at several strides, which segmentation and detection read. `blocks`: has blocks of equal
    shapes. `toy`: the architecture that stands for it in toy grids; empty: itself.
    """

    summary: str
    module: str
    parameters_m: float
    gflops: float
    flops_resolution: int
    cifar_factor: int = 16
    reads: str = "images"
    stages: bool = False
    blocks: bool = False
    toy: str = ""
    sides: Mapping[str, tuple[int, int | None]] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretraining:
    """`trains`: runs epochs on the source set; `objective`: the entry of LOSSES its weights were trained with; `tasks`:
    of the source sets that it trains on. `reads`: what networks of these weights read; empty: either. `toy`: the word
    that stands for it in toy grids; empty: itself.
    """

    summary: str
    trains: bool
    objective: str | None = None
    tasks: tuple[str, ...] = ("classification",)
    reads: str = "images"
    toy: str = ""
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
    """A data set. `storage`: how its `.beton` keeps images (raw at `resolution`, or jpg, shorter side at most that), or
    texts (tokens, at most `resolution` of them).

    `task`: an entry of TASKS. `vocabulary`: of texts, which networks that read them share. `scores`: what the set is
    judged by, of what its task's metric reports, first the main one; empty: all.
    `validation`: examples of the training split that form the validation split. `embedded`: needs no download.
    `train`: size of the official training split before that, for estimates. `splits`: further ones that test.
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
    vocabulary: str = ""
    scores: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    embedded: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """`reports`: name of every number it writes -> whether higher is better.

    `reads`: roles of the stages it reads; only what reads the transfer is measured for each of its selections.
    `tasks`: of the sets that it measures. `other`: the second set it compares with, "source" or the option that names
    it; `split`: of both, unless the word's option `split` names one of the set's further ones.
    `judges`: of its numbers a set has those of its `scores`. `passes`: forward-and-backward passes per example, for
    estimates, where no attack says it.
    """

    summary: str
    module: str
    reports: Mapping[str, bool]
    tasks: tuple[str, ...] = ("classification",)
    judges: bool = False
    attacks: bool = False
    reads: tuple[str, ...] = ("transfer",)
    other: str | None = None
    split: str = "test"
    passes: float = 1 / 3
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is learnt of a set.

    `reads`: images or texts. `loader`: the only one that reads such sets; empty: any but those. `limit`: the field of a
    protocol that bounds the resolution; empty: by the architecture's stem. `top`: "module:function" of the head that
    takes the last linear layer's place, function(network, classes); empty: the last linear layer is the head.
    `keeps_head`: the pre-trained head serves downstream too, where there is one. `loss`: the entry of LOSSES; empty:
    what the recipe asks for. `metric`: what validates, by the first number that the set is judged by. `logits`: its
    loss is a cross-entropy over classes of an example, which pruners' scores and frozen features need. `clean`: it goes
    with no attack, noise or contrast.
    """

    summary: str
    metric: str
    reads: str = "images"
    loader: str = ""
    limit: str = ""
    top: str = ""
    keeps_head: bool = False
    loss: str = ""
    logits: bool = False
    clean: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """`augmentations`: the words of recipes that it can do."""

    summary: str
    module: str
    augmentations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """A word that selects a module or a rule."""

    summary: str
    module: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
