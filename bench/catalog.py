"""Every word a grid may use, as data, one table per axis; imports no torch.

A new pruner, metric, objective, architecture or data set is one file, one line here and one test. Modules are
named by string so that reading the catalog stays light; `load` imports one when a stage needs it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from bench.entries import Architecture, Dataset, Loader, Metric, Option, Plain, Pretraining, Pruner
from bench.spec import Scalar, Word

STEM = {"stem": Option(kind=str, default="imagenet", choices=("imagenet", "cifar"))}
_CIFAR, _VISION = "bench.models.cifar_resnet", "bench.models.vision"

ARCHITECTURES = {
    "resnet8": Architecture(summary="CIFAR-style residual network, 8 layers, width 16", module=_CIFAR, parameters_m=0.08, gflops=0.013, flops_resolution=32, stages=True),
    "resnet20": Architecture(summary="CIFAR-style residual network, 20 layers, width 16", module=_CIFAR, parameters_m=0.27, gflops=0.041, flops_resolution=32, stages=True),
    "resnet18": Architecture(summary="torchvision ResNet-18", module=_VISION, parameters_m=11.7, gflops=1.8, flops_resolution=224, stages=True, options=STEM),
    "resnet50": Architecture(summary="torchvision ResNet-50", module=_VISION, parameters_m=25.6, gflops=4.1, flops_resolution=224, stages=True, options=STEM),
    "resnet152": Architecture(summary="torchvision ResNet-152", module=_VISION, parameters_m=60.2, gflops=11.5, flops_resolution=224, stages=True, options=STEM),
    "wide_resnet50_2": Architecture(summary="torchvision Wide ResNet-50-2", module=_VISION, parameters_m=68.9, gflops=11.4, flops_resolution=224, stages=True, options=STEM),
    "vgg16_bn": Architecture(summary="torchvision VGG-16 with batch normalisation", module=_VISION, parameters_m=138.4, gflops=15.5, flops_resolution=224, cifar_factor=1, sides={"imagenet": (32, None), "cifar": (32, None)}, options=STEM),
    "mobilenet_v2": Architecture(summary="torchvision MobileNetV2", module=_VISION, parameters_m=3.5, gflops=0.3, flops_resolution=224, cifar_factor=16, options=STEM),
    "vit_b_16": Architecture(summary="torchvision ViT-B/16", module=_VISION, parameters_m=86.6, gflops=17.6, flops_resolution=224, sides={"imagenet": (224, 224), "cifar": (32, 32)}, options=STEM),
    "convnext_tiny": Architecture(summary="torchvision ConvNeXt-T", module=_VISION, parameters_m=28.6, gflops=4.5, flops_resolution=224, cifar_factor=4, sides={"imagenet": (32, None), "cifar": (16, None)}, options=STEM),
}

_EPSILON = {"epsilon": Option(kind=float), "norm": Option(kind=str, choices=("linf", "l2"))}
_FILE = {"path": Option(kind=str, required=True), "format": Option(kind=str, default="auto"), "unpickle": Option(kind=bool, default=False)}
PRETRAININGS = {
    "random": Pretraining(summary="no pre-training: the random initialisation", trains=False),
    "supervised": Pretraining(summary="classification of the source set", trains=True, objective="standard"),
    "fast_adversarial": Pretraining(summary="one-step adversarial training from a random start", trains=True, objective="adversarial", options=_EPSILON),
    "pgd_adversarial": Pretraining(summary="PGD adversarial training on the source set", trains=True, objective="adversarial", options=_EPSILON),
    "smoothing": Pretraining(summary="training on images with Gaussian noise of deviation sigma, in [0, 1] pixels", trains=True, objective="smoothing", options={"sigma": Option(kind=float)}),
    "simclr": Pretraining(summary="SimCLR: contrast between two views of an image and the batch's other views, without labels", trains=True, objective="simclr"),
    "moco": Pretraining(summary="MoCo v2: contrast with a queue of keys that a momentum encoder makes, without labels", trains=True, objective="moco"),
    "torchvision": Pretraining(summary="published torchvision weights", trains=False, options={"weights": Option(kind=str, default="IMAGENET1K_V1")}),
    "checkpoint": Pretraining(summary="a file of weights: checkpoint(path=...), in any format of bench/models/formats.py", trains=False, options={**_FILE, "method": Option(kind=str, default="supervised", choices=("supervised", "simclr", "moco"))}),
}

_ON = {"on": Option(kind=str, default="downstream", choices=("upstream", "downstream"))}
_OBJECTIVE = {"objective": Option(kind=str, choices=("standard", "adversarial"))}
_ALLOCATION = {"allocation": Option(kind=str, default="global", choices=("global", "layerwise", "erk"))}
_CONTROL = {"control": Option(kind=str, default="none", choices=("none", "reinitialised", "shuffled", "reversed"))}
_SHARED = {**_ALLOCATION, **_CONTROL}
PRUNERS = {
    "dense": Pruner(summary="nothing pruned: the reference of every curve", module=None),
    "random": Pruner(summary="uniformly random weights", module="bench.pruners.random", random=True, options=_SHARED),
    "omp": Pruner(summary="one-shot magnitude pruning of the pre-trained weights", module="bench.pruners.magnitude", options=_SHARED),
    "imp": Pruner(
        summary="iterative magnitude pruning with rewinding (objective=adversarial: A-IMP)",
        module="bench.pruners.magnitude",
        iterative=True,
        options={
            "on": Option(kind=str, default="upstream", choices=("upstream", "downstream")),
            **_OBJECTIVE,
            "rewind": Option(kind=str, default="pretrained", choices=("pretrained", "finetuned", "prunable", "never")),
            "rewind_epoch": Option(kind=int, default=0),
            **_SHARED,
        },
    ),
    "lmp": Pruner(summary="learnt masks: scores trained on frozen weights, straight through a top-k", module="bench.pruners.lmp", trains_scores=True, options={**_ON, **_OBJECTIVE, "allocation": Option(kind=str, default="layerwise", choices=("global", "layerwise", "erk")), **_CONTROL}),
    "snip": Pruner(summary="connection sensitivity |w dL/dw| on a few examples", module="bench.pruners.snip", reads_data=True, options={**_ON, "examples": Option(kind=int, default=128), **_SHARED}),
    "grasp": Pruner(summary="gradient flow kept: Hessian-gradient product on ten examples a class", module="bench.pruners.grasp", reads_data=True, options={**_ON, "examples": Option(kind=int), "temperature": Option(kind=float, default=200.0), **_SHARED}),
    "synflow": Pruner(summary="iterative synaptic flow, without data", module="bench.pruners.synflow", options={"rounds": Option(kind=int, default=100), **_SHARED}),
    "ticket": Pruner(summary="a published mask: ticket(path=...); {round} in the path stands for the round", module=None, options={**_FILE, **_CONTROL}),
}

_GRANULARITY = "bench.granularity"
GRANULARITIES = {
    "unstructured": Plain(summary="single weights", module=_GRANULARITY),
    "row": Plain(summary="rows of kernels", module=_GRANULARITY),
    "kernel": Plain(summary="whole kernels, one input to one output channel", module=_GRANULARITY),
    "channel": Plain(summary="whole output channels (filters)", module=_GRANULARITY),
    "n_of_m": Plain(summary="n of every m weights along the input, n by the sparsity (m=4 at 0.5: 2:4)", module=_GRANULARITY, options={"m": Option(kind=int, default=4)}),
}

TRANSFERS = {"finetune": Plain(summary="all kept weights and the head are trained"), "linear": Plain(summary="only the head is trained on frozen features")}

OBJECTIVES = {
    "standard": Plain(summary="cross-entropy on clean images"),
    "adversarial": Plain(summary="cross-entropy on PGD examples; loss=trades: TRADES", options={"loss": Option(kind=str, default="cross_entropy", choices=("cross_entropy", "trades")), "beta": Option(kind=float, default=6.0)}),
}

# What training minimises, by what the recipe holds (bench.stages.networks.objective).
LOSSES = {
    "standard": Plain(summary="cross-entropy on clean images", module="bench.objectives.supervised"),
    "adversarial": Plain(summary="cross-entropy on adversarial images", module="bench.objectives.adversarial"),
    "trades": Plain(summary="cross-entropy on clean images and agreement on adversarial ones", module="bench.objectives.trades"),
    "smoothing": Plain(summary="cross-entropy on images with Gaussian noise", module="bench.objectives.smoothing"),
    "segmentation": Plain(summary="cross-entropy on the pixels of scenes", module="bench.objectives.segmentation"),
    "detection": Plain(summary="FCOS: class, box and centreness losses on the objects of scenes", module="bench.objectives.detection"),
    "simclr": Plain(summary="two views of an image told from the other views of the batch", module="bench.objectives.simclr"),
    "moco": Plain(summary="a view matched with the key of another one among a queue of earlier keys", module="bench.objectives.moco"),
}

_TV = "bench.data.sources:"
_GREY_MEAN, _GREY_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
DATASETS = {
    "digits": Dataset(summary="1,797 handwritten digits of scikit-learn", source=_TV + "digits", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "letters": Dataset(summary="26 letters rendered from matplotlib's fonts with affine jitter", source=_TV + "letters", classes=26, resolution=8, train=7800, test=1300, validation=780, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digit_glyphs": Dataset(summary="digits rendered like the letters (near the source)", source=_TV + "digit_glyphs", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_inverted": Dataset(summary="handwritten digits, inverted", source=_TV + "digits_inverted", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_noisy": Dataset(summary="handwritten digits with noise and clutter (far from the source)", source=_TV + "digits_noisy", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "scenes_detection": Dataset(summary="handwritten digits on textured backgrounds, with boxes", source=_TV + "scenes_detection", classes=10, resolution=64, train=600, test=200, validation=100, task="detection", embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "scenes_segmentation": Dataset(summary="the same scenes with masks; class 0 is the background", source=_TV + "scenes_segmentation", classes=11, resolution=64, train=600, test=200, validation=100, task="segmentation", embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "cifar10": Dataset(summary="CIFAR-10", source=_TV + "cifar10", classes=10, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": Dataset(summary="CIFAR-100", source=_TV + "cifar100", classes=100, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    "svhn": Dataset(summary="Street View House Numbers", source=_TV + "svhn", classes=10, resolution=32, train=73_257, test=26_032, validation=5_000, mean=(0.4377, 0.4438, 0.4728), std=(0.1201, 0.1231, 0.1052)),
    "fashion_mnist": Dataset(summary="Fashion-MNIST", source=_TV + "fashion_mnist", classes=10, resolution=28, train=60_000, test=10_000, validation=5_000, mean=(0.2860, 0.2860, 0.2860), std=(0.3530, 0.3530, 0.3530)),
    "stl10": Dataset(summary="STL-10", source=_TV + "stl10", classes=10, resolution=96, train=5_000, test=8_000, validation=500),
    "gtsrb": Dataset(summary="German traffic signs (GTSRB)", source=_TV + "gtsrb", classes=43, resolution=256, train=26_640, test=12_630, validation=2_664, storage="jpg"),
    "caltech101": Dataset(summary="Caltech-101, 30 images of every class train, a fixed draw", source=_TV + "caltech101", classes=101, resolution=256, train=3_030, test=5_647, validation=303, storage="jpg"),
    "caltech256": Dataset(summary="Caltech-256, 60 images of every class train, a fixed draw", source=_TV + "caltech256", classes=257, resolution=256, train=15_420, test=15_187, validation=1_542, storage="jpg"),
    "flowers102": Dataset(summary="Oxford Flowers 102", source=_TV + "flowers102", classes=102, resolution=256, train=2_040, test=6_149, validation=408, storage="jpg"),
    "oxford_iiit_pet": Dataset(summary="Oxford-IIIT Pet", source=_TV + "oxford_iiit_pet", classes=37, resolution=256, train=3_680, test=3_669, validation=370, storage="jpg"),
    "dtd": Dataset(summary="Describable Textures", source=_TV + "dtd", classes=47, resolution=256, train=3_760, test=1_880, validation=376, storage="jpg"),
    "food101": Dataset(summary="Food-101", source=_TV + "food101", classes=101, resolution=256, train=75_750, test=25_250, validation=7_575, storage="jpg"),
    "fgvc_aircraft": Dataset(summary="FGVC-Aircraft, variants", source=_TV + "fgvc_aircraft", classes=100, resolution=256, train=6_667, test=3_333, validation=667, storage="jpg"),
    "stanford_cars": Dataset(summary="Stanford Cars", source=_TV + "stanford_cars", classes=196, resolution=256, train=8_144, test=8_041, validation=814, storage="jpg"),
    "sun397": Dataset(summary="SUN397, a fixed stratified 80/20 split", source=_TV + "sun397", classes=397, resolution=256, train=87_004, test=21_750, validation=8_700, storage="jpg"),
    "eurosat": Dataset(summary="EuroSAT, a fixed stratified 80/20 split", source=_TV + "eurosat", classes=10, resolution=64, train=21_600, test=5_400, validation=2_160),
    "resisc45": Dataset(summary="NWPU-RESISC45, a fixed stratified 80/20 split", source=_TV + "resisc45", classes=45, resolution=256, train=25_200, test=6_300, validation=2_520, storage="jpg"),
    "pcam": Dataset(summary="PatchCamelyon", source=_TV + "pcam", classes=2, resolution=96, train=294_912, test=32_768, validation=32_768),
    "clevr_count": Dataset(summary="CLEVR: number of objects", source=_TV + "clevr_count", classes=8, resolution=256, train=70_000, test=15_000, validation=7_000, storage="jpg"),
    "kitti_distance": Dataset(summary="KITTI: distance of the closest vehicle, a fixed stratified split", source=_TV + "kitti_distance", classes=4, resolution=256, train=6_770, test=711, validation=677, storage="jpg"),
    "dsprites_location": Dataset(summary="dSprites: horizontal position in 16 bins, a fixed stratified 90/10 split", source=_TV + "dsprites_location", classes=16, resolution=64, train=663_552, test=73_728, validation=66_355),
    "dsprites_orientation": Dataset(summary="dSprites: orientation in 16 bins, a fixed stratified 90/10 split", source=_TV + "dsprites_orientation", classes=16, resolution=64, train=663_552, test=73_728, validation=66_355),
    "voc2007": Dataset(summary="PASCAL VOC boxes: 2007 and 2012 trainval train, 2007 test tests", source=_TV + "voc2007", classes=20, resolution=416, train=16_551, test=4_952, validation=1_000, storage="jpg", task="detection", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "voc2012": Dataset(summary="PASCAL VOC 2012 masks: train trains, val tests", source=_TV + "voc2012", classes=21, resolution=513, train=1_464, test=1_449, validation=146, storage="jpg", task="segmentation"),
    "visda2017": Dataset(summary="VisDA-2017: rendered training images, the validation images test", source=_TV + "visda2017", classes=12, resolution=256, train=152_397, test=55_388, validation=15_240, storage="jpg"),
    "imagenet": Dataset(summary="ImageNet-1k, folders train/ and val/", source=_TV + "folder", classes=1000, resolution=256, train=1_281_167, test=50_000, validation=10_000, storage="jpg"),
    "toy": Dataset(summary="embedded stand-in of another set's shape: toy(of=...)", source="bench.data.stand_ins:toy", classes=0, resolution=0, train=96, test=32, validation=32, embedded=True, options={"of": Option(kind=str, required=True)}),
    "folder": Dataset(summary="your own folders <name>/train/<class>/*, <name>/val/<class>/*: folder(name=..., classes=...)", source=_TV + "folder", classes=0, resolution=256, train=10_000, test=1_000, validation=1_000, storage="jpg", options={"name": Option(kind=str, required=True), "classes": Option(kind=int, required=True), "validation": Option(kind=int, default=1000)}),
}

STAND_IN_SCENE = 96  # pixels

LOADERS = {
    "resident": Loader(summary="decoded once into device memory, augmentation batched there (small sets)", module="bench.data.resident", augmentations=("crop", "flip")),
    "stream": Loader(summary="decoded and augmented batch by batch (large JPEG sets, or larger networks than images)", module="bench.data.stream", augmentations=("crop", "flip", "resized_crop")),
    "dense": Loader(summary="decoded, cut and resized batch by batch with masks or boxes (segmentation, detection)", module="bench.data.dense", augmentations=("flip", "scale_crop"), dense=True),
}

_BALL = {"epsilon": Option(kind=float), "norm": Option(kind=str, choices=("linf", "l2"))}
_EXAMPLES = {"examples": Option(kind=int)}
_RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
METRICS = {
    "accuracy": Metric(summary="top-1 accuracy on the test split", module="bench.metrics.accuracy", reports={"accuracy": True}),
    "calibration": Metric(summary="expected calibration error (15 bins), negative log-likelihood (nats), Brier score", module="bench.metrics.calibration", reports={"ece": False, "nll": False, "brier": False}),
    "pgd": Metric(summary="accuracy under PGD", module="bench.metrics.robust", reports={"pgd_accuracy": True}, attacks=True, options={**_BALL, "steps": Option(kind=int), "restarts": Option(kind=int), "margin": Option(kind=bool, default=False), **_EXAMPLES}),
    "autoattack": Metric(
        summary="accuracy under AutoAttack, the standard ensemble with the published budgets",
        module="bench.metrics.autoattack",
        reports={"autoattack_accuracy": True},
        attacks=True,
        # 100 steps of APGD-CE, 9 targets of APGD-T and of FAB-T, and 5,000 forward passes: few examples see them all.
        passes=2000.0,
        options={
            **_BALL,
            "iterations": Option(kind=int, default=100),
            "queries": Option(kind=int, default=5000),
            "examples": Option(kind=int, default=1000),
        },
    ),
    "attack_checks": Metric(
        summary="is the robust accuracy to be trusted: random noise, FGSM, PGD-10 and PGD-50, an epsilon that breaks all",
        module="bench.metrics.attack_checks",
        reports={
            "random_noise_accuracy": True,
            "fgsm_accuracy": True,
            "pgd_10_accuracy": True,
            "pgd_50_accuracy": True,
            "large_epsilon_accuracy": False,
            "zero_gradient_share": False,
        },
        attacks=True,
        passes=115.0,
        options={**_BALL, **_EXAMPLES},
    ),
    "corruption": Metric(summary="accuracy under 15 common corruptions at 5 severities, generated or from published files", module="bench.metrics.corruption", reports={"corruption_accuracy": True}, passes=25.0, options={"origin": Option(kind=str, default="generated", choices=("generated", "files")), **_EXAMPLES}),
    "ood": Metric(summary="telling the test split from another set by confidence: ood(against=...)", module="bench.metrics.ood", reports={"ood_auroc": True, "ood_fpr95": False}, other="against", options={"against": Option(kind=str, required=True)}),
    "segmentation": Metric(summary="mean intersection over union and pixel accuracy of segmented scenes", module="bench.metrics.segmentation", reports={"mean_iou": True, "pixel_accuracy": True}, task="segmentation", options=_EXAMPLES),
    "detection": Metric(summary="average precision of detected objects: VOC's 11 points (ap over overlaps 0.50 to 0.95, ap50), COCO's 101", module="bench.metrics.detection", reports={"ap": True, "ap50": True, "coco_ap": True, "coco_ap50": True}, task="detection", options=_EXAMPLES),
    "domain_gap": Metric(
        summary="Frechet distance of source and target images in features of the pre-trained network, of another, or of Inception",
        module="bench.metrics.domain_gap",
        reports={"frechet_distance": False},
        reads=("pretrain",),
        other="source",
        split="train",
        options={
            "features": Option(kind=str),
            "inception": Option(kind=str),
            "examples": Option(kind=int, default=10_000),
        },
    ),
    "sensitivity": Metric(summary="accuracy with noise on the kept weights, and with shares of the mask swapped", module="bench.metrics.sensitivity", reports={f"accuracy_{what}_{rate}": True for what in ("weight_noise", "mask_swap") for rate in _RATES}, reads=("transfer", "pretrain"), passes=10.0, options={"draws": Option(kind=int, default=3), **_EXAMPLES}),
}

# The only place that maps an axis or list of a grid to the table of its words.
TABLES: dict[str, Mapping[str, Any]] = {
    "architecture": ARCHITECTURES,
    "pretraining": PRETRAININGS,
    "source": DATASETS,
    "pruner": PRUNERS,
    "granularity": GRANULARITIES,
    "dataset": DATASETS,
    "transfer": TRANSFERS,
    "objective": OBJECTIVES,
    "evaluate": METRICS,
}

# Pairs that cannot be computed: (axis, word, option values), (axis, word, option values), reason.
Place = tuple[str, str, Mapping[str, Scalar]]
_NO_PATHS = "SynFlow needs a network that is a sum over paths: no LayerNorm, no attention"
IMPOSSIBLE: tuple[tuple[Place, Place, str], ...] = (
    (("architecture", "vit_b_16", {}), ("pruner", "synflow", {}), _NO_PATHS),
    (("architecture", "convnext_tiny", {}), ("pruner", "synflow", {}), _NO_PATHS),
    (("architecture", "resnet8", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"),
    (("architecture", "resnet20", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"),
)


def described(dataset: Word) -> Dataset:
    """The set a word names. A stand-in has the shape of the set that it stands for: classes, side, storage, statistics.

    But scenes of a stand-in are small.
    """
    entry = DATASETS[dataset.name]
    if dataset.name != "toy":
        return entry
    of = DATASETS[str(dataset["of"])]
    side = of.resolution if of.task == "classification" else min(of.resolution, STAND_IN_SCENE)
    return dataclasses.replace(
        of, source=entry.source, embedded=True, options=entry.options, train=entry.train, test=entry.test,
        validation=entry.validation, resolution=side,
    )  # fmt: skip


def load(module: str) -> Any:
    """Import an entry's module, or the object in it where `module:name` is given."""
    name, _, attribute = module.partition(":")
    loaded = importlib.import_module(name)
    return getattr(loaded, attribute) if attribute else loaded
