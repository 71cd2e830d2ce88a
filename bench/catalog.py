"""Every word a grid may use, as data, one table per axis; imports no torch.

A new pruner, metric, objective, architecture or data set is one file, one line here and one test. Modules are
named by string so that reading the catalog stays light; `load` imports one when a stage needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """

    summary: str
    module: str
    parameters_m: float
    gflops: float
    flops_resolution: int
    cifar_factor: int = 16
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

    `random`: the mask depends on the cell's seed. A pruner with `module=None` prunes nothing.
    """

    summary: str
    module: str | None
    iterative: bool = False
    random: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """An image set. `storage`: how its `.beton` keeps images (raw at `resolution`, or jpg, shorter side at most that).

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
    embedded: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """`reports`: name of every number it writes -> whether higher is better."""

    summary: str
    module: str
    reports: Mapping[str, bool]
    attacks: bool = False
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Loader:
    """`augmentations`: the words of recipes that it can do."""

    summary: str
    module: str
    augmentations: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plain:
    """A word that selects a module or a rule and has no options."""

    summary: str
    module: str = ""


STEM = {"stem": Option(kind=str, default="imagenet", choices=("imagenet", "cifar"))}
_CIFAR, _VISION = "bench.models.cifar_resnet", "bench.models.vision"

ARCHITECTURES = {
    "resnet8": Architecture(summary="CIFAR-style residual network, 8 layers, width 16", module=_CIFAR, parameters_m=0.08, gflops=0.013, flops_resolution=32),
    "resnet20": Architecture(summary="CIFAR-style residual network, 20 layers, width 16", module=_CIFAR, parameters_m=0.27, gflops=0.041, flops_resolution=32),
    "resnet18": Architecture(summary="torchvision ResNet-18", module=_VISION, parameters_m=11.7, gflops=1.8, flops_resolution=224, options=STEM),
    "resnet50": Architecture(summary="torchvision ResNet-50", module=_VISION, parameters_m=25.6, gflops=4.1, flops_resolution=224, options=STEM),
    "wide_resnet50_2": Architecture(summary="torchvision Wide ResNet-50-2", module=_VISION, parameters_m=68.9, gflops=11.4, flops_resolution=224, options=STEM),
    "vgg16_bn": Architecture(summary="torchvision VGG-16 with batch normalisation", module=_VISION, parameters_m=138.4, gflops=15.5, flops_resolution=224, cifar_factor=1, sides={"imagenet": (32, None), "cifar": (32, None)}, options=STEM),
    "mobilenet_v2": Architecture(summary="torchvision MobileNetV2", module=_VISION, parameters_m=3.5, gflops=0.3, flops_resolution=224, cifar_factor=16, options=STEM),
    "vit_b_16": Architecture(summary="torchvision ViT-B/16", module=_VISION, parameters_m=86.6, gflops=17.6, flops_resolution=224, sides={"imagenet": (224, 224), "cifar": (32, 32)}, options=STEM),
    "convnext_tiny": Architecture(summary="torchvision ConvNeXt-T", module=_VISION, parameters_m=28.6, gflops=4.5, flops_resolution=224, cifar_factor=4, sides={"imagenet": (32, None), "cifar": (16, None)}, options=STEM),
}

_EPSILON = {"epsilon": Option(kind=float)}
PRETRAININGS = {
    "random": Pretraining(summary="no pre-training: the random initialisation", trains=False),
    "supervised": Pretraining(summary="classification of the source set", trains=True, objective="standard"),
    "pgd_adversarial": Pretraining(summary="PGD adversarial training on the source set", trains=True, objective="adversarial", options=_EPSILON),
    "torchvision": Pretraining(summary="published torchvision weights", trains=False, options={"weights": Option(kind=str, default="IMAGENET1K_V1")}),
    "checkpoint": Pretraining(summary="a file of weights: checkpoint(path=...)", trains=False, options={"path": Option(kind=str, required=True)}),
}

PRUNERS = {
    "dense": Pruner(summary="nothing pruned: the reference of every curve", module=None),
    "random": Pruner(summary="uniformly random weights", module="bench.pruners.random", random=True),
    "omp": Pruner(summary="one-shot magnitude pruning of the pre-trained weights", module="bench.pruners.magnitude"),
    "imp": Pruner(summary="iterative magnitude pruning with rewinding", module="bench.pruners.magnitude", iterative=True, options={"on": Option(kind=str, default="upstream", choices=("upstream", "downstream"))}),
}

GRANULARITIES = {"unstructured": Plain(summary="single weights", module="bench.granularity")}

TRANSFERS = {"finetune": Plain(summary="all kept weights and the head are trained"), "linear": Plain(summary="only the head is trained on frozen features")}

OBJECTIVES = {"standard": Plain(summary="cross-entropy on clean images", module="bench.objectives.supervised"), "adversarial": Plain(summary="cross-entropy on PGD examples", module="bench.objectives.adversarial")}

_TV = "bench.data.sources:"
_GREY_MEAN, _GREY_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
DATASETS = {
    "digits": Dataset(summary="1,797 handwritten digits of scikit-learn", source=_TV + "digits", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "letters": Dataset(summary="26 letters rendered from matplotlib's fonts with affine jitter", source=_TV + "letters", classes=26, resolution=8, train=7800, test=1300, validation=780, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digit_glyphs": Dataset(summary="digits rendered like the letters (near the source)", source=_TV + "digit_glyphs", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_inverted": Dataset(summary="handwritten digits, inverted", source=_TV + "digits_inverted", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_noisy": Dataset(summary="handwritten digits with noise and clutter (far from the source)", source=_TV + "digits_noisy", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "cifar10": Dataset(summary="CIFAR-10", source=_TV + "cifar10", classes=10, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": Dataset(summary="CIFAR-100", source=_TV + "cifar100", classes=100, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    "svhn": Dataset(summary="Street View House Numbers", source=_TV + "svhn", classes=10, resolution=32, train=73_257, test=26_032, validation=5_000, mean=(0.4377, 0.4438, 0.4728), std=(0.1201, 0.1231, 0.1052)),
    "fashion_mnist": Dataset(summary="Fashion-MNIST", source=_TV + "fashion_mnist", classes=10, resolution=28, train=60_000, test=10_000, validation=5_000, mean=(0.2860, 0.2860, 0.2860), std=(0.3530, 0.3530, 0.3530)),
    "flowers102": Dataset(summary="Oxford Flowers 102", source=_TV + "flowers102", classes=102, resolution=256, train=2_040, test=6_149, validation=408, storage="jpg"),
    "oxford_iiit_pet": Dataset(summary="Oxford-IIIT Pet", source=_TV + "oxford_iiit_pet", classes=37, resolution=256, train=3_680, test=3_669, validation=370, storage="jpg"),
    "dtd": Dataset(summary="Describable Textures", source=_TV + "dtd", classes=47, resolution=256, train=3_760, test=1_880, validation=376, storage="jpg"),
    "eurosat": Dataset(summary="EuroSAT, a fixed stratified 80/20 split", source=_TV + "eurosat", classes=10, resolution=64, train=21_600, test=5_400, validation=2_160),
    "imagenet": Dataset(summary="ImageNet-1k, folders train/ and val/", source=_TV + "folder", classes=1000, resolution=256, train=1_281_167, test=50_000, validation=10_000, storage="jpg"),
    "folder": Dataset(
        summary="your own folders <name>/train/<class>/*, <name>/val/<class>/*: folder(name=..., classes=...)",
        source=_TV + "folder",
        classes=0,
        resolution=256,
        train=10_000,
        test=1_000,
        validation=1_000,
        storage="jpg",
        options={"name": Option(kind=str, required=True), "classes": Option(kind=int, required=True), "validation": Option(kind=int, default=1000)},
    ),
}

LOADERS = {
    "resident": Loader(summary="decoded once into device memory, augmentation batched there (small sets)", module="bench.data.resident", augmentations=("crop", "flip")),
    "stream": Loader(summary="decoded and augmented batch by batch (large JPEG sets, or larger networks than images)", module="bench.data.stream", augmentations=("crop", "flip", "resized_crop")),
}

_PGD = {"epsilon": Option(kind=float), "steps": Option(kind=int), "restarts": Option(kind=int)}
METRICS = {
    "accuracy": Metric(summary="top-1 accuracy and negative log-likelihood on the test split", module="bench.metrics.accuracy", reports={"accuracy": True, "nll": False}),
    "pgd": Metric(summary="accuracy under PGD on the test split", module="bench.metrics.robust", reports={"pgd_accuracy": True}, attacks=True, options=_PGD),
}

# The only place that maps an axis or list of a grid to the table of its words.
TABLES: dict[str, Mapping[str, Any]] = {"architecture": ARCHITECTURES, "pretraining": PRETRAININGS, "source": DATASETS, "pruner": PRUNERS, "granularity": GRANULARITIES, "dataset": DATASETS, "transfer": TRANSFERS, "objective": OBJECTIVES, "evaluate": METRICS}

# Pairs that cannot be computed: (axis, word, option values), (axis, word, option values), reason.
Place = tuple[str, str, Mapping[str, Scalar]]
IMPOSSIBLE: tuple[tuple[Place, Place, str], ...] = ((("architecture", "resnet8", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"), (("architecture", "resnet20", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"))


def load(module: str) -> Any:
    """Import an entry's module, or the object in it where `module:name` is given."""
    name, _, attribute = module.partition(":")
    loaded = importlib.import_module(name)
    return getattr(loaded, attribute) if attribute else loaded
