"""Every word a grid may use, as data, one table per axis; imports no torch.

A new pruner, metric, objective or architecture is one file, one line here and one test; a data set has its line in
bench.sets. Modules are named by string so that reading the catalog stays light; `load` imports one when a stage
needs it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from bench.entries import Architecture, Dataset, Loader, Metric, Option, Plain, Pretraining, Pruner, Task
from bench.sets import DATASETS as DATASETS
from bench.sets import STAND_IN
from bench.spec import Scalar, Word

STEM = {"stem": Option(kind=str, default="imagenet", choices=("imagenet", "cifar"))}
_CIFAR, _VISION, _TEXT = "bench.models.cifar_resnet", "bench.models.vision", "bench.models.text"
_BERT: dict[str, Any] = {"reads": "texts", "blocks": True, "sides": {"": (2, 512)}}


def _vocabulary(default: str) -> dict[str, Option]:
    return {"vocabulary": Option(kind=str, default=default, choices=("uncased", "embedded"))}


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
    "bert_base": Architecture(summary="BERT: 12 layers, width 768", module=_TEXT, parameters_m=109.5, gflops=11.2, flops_resolution=128, toy="bert_tiny", options=_vocabulary("uncased"), **_BERT),
    "bert_tiny": Architecture(summary="BERT: 2 layers, width 128", module=_TEXT, parameters_m=1.0, gflops=0.06, flops_resolution=128, toy="bert_tiny", options=_vocabulary("embedded"), **_BERT),
}

TASKS = {
    "classification": Task(summary="the class of an image", metric="accuracy", logits=True, clean=False),
    "segmentation": Task(summary="a class for every pixel; the first is the background", metric="segmentation", loader="dense", limit="dense_resolution", top="bench.models.segmentation:segmenter", loss="segmentation"),
    "detection": Task(summary="boxes of objects", metric="detection", loader="dense", limit="dense_resolution", top="bench.models.detection:detector", loss="detection"),
    "sentence_classification": Task(summary="the class of a text, or of a pair", metric="glue", reads="texts", loader="text", limit="text_length", logits=True),
    "sentence_regression": Task(summary="a number for a pair of texts", metric="glue", reads="texts", loader="text", limit="text_length", loss="sentence_regression"),
    "question_answering": Task(summary="the place in a passage that answers a question", metric="squad", reads="texts", loader="text", limit="text_length", top="bench.models.text:answers", loss="question_answering"),
    "masked_language_modelling": Task(summary="tokens that were masked", metric="mlm", reads="texts", loader="text", limit="text_length", top="bench.models.text:masked_tokens", keeps_head=True, loss="masked_language_modelling"),
}

_EPSILON = {"epsilon": Option(kind=float), "norm": Option(kind=str, choices=("linf", "l2"))}
_FILE = {"path": Option(kind=str, required=True), "format": Option(kind=str, default="auto"), "unpickle": Option(kind=bool, default=False)}
# In a folder of Hugging Face, the first that is there.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
PRETRAININGS = {
    "random": Pretraining(summary="no pre-training: the random initialisation", trains=False, reads=""),
    "supervised": Pretraining(summary="classification of the source set", trains=True, objective="standard"),
    "fast_adversarial": Pretraining(summary="one-step adversarial training from a random start", trains=True, objective="adversarial", options=_EPSILON),
    "pgd_adversarial": Pretraining(summary="PGD adversarial training on the source set", trains=True, objective="adversarial", options=_EPSILON),
    "smoothing": Pretraining(summary="training on images with Gaussian noise of deviation sigma, in [0, 1] pixels", trains=True, objective="smoothing", options={"sigma": Option(kind=float)}),
    "simclr": Pretraining(summary="SimCLR: contrast between two views of an image and the batch's other views, without labels", trains=True, objective="simclr"),
    "moco": Pretraining(summary="MoCo v2: contrast with a queue of keys that a momentum encoder makes, without labels", trains=True, objective="moco"),
    "mlm": Pretraining(summary="masked language modelling of the source set", trains=True, objective="masked_language_modelling", tasks=("masked_language_modelling",), reads="texts"),
    "torchvision": Pretraining(summary="published torchvision weights", trains=False, toy="supervised", options={"weights": Option(kind=str, default="IMAGENET1K_V1")}),
    "huggingface": Pretraining(summary="published weights of a Hugging Face model", trains=False, objective="masked_language_modelling", reads="texts", toy="mlm", options={"model": Option(kind=str, default="bert-base-uncased")}),
    "checkpoint": Pretraining(summary="a file of weights: checkpoint(path=...), in any format of bench/models/formats.py", trains=False, reads="", options={**_FILE, "method": Option(kind=str, default="supervised", choices=("supervised", "simclr", "moco", "mlm"))}),
}

# upstream, downstream, or a data set whatever the target is (planning.tickets).
_ON = {"on": Option(kind=str, default="downstream")}
_OBJECTIVE = {"objective": Option(kind=str, choices=("standard", "adversarial"))}
_ALLOCATION = {"allocation": Option(kind=str, default="global", choices=("global", "layerwise", "erk"))}
_CONTROL = {"control": Option(kind=str, default="none", choices=("none", "reinitialised", "shuffled", "permuted_layers", "reversed"))}
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
            "on": Option(kind=str, default="upstream"),
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
    "sentence_regression": Plain(summary="squared error of a number for a text", module="bench.objectives.sentence_regression"),
    "question_answering": Plain(summary="cross-entropies of where the answer starts and ends", module="bench.objectives.question_answering"),
    "masked_language_modelling": Plain(summary="cross-entropy of masked tokens", module="bench.objectives.masked_language_modelling"),
    "simclr": Plain(summary="two views of an image told from the other views of the batch", module="bench.objectives.simclr"),
    "moco": Plain(summary="a view matched with the key of another one among a queue of earlier keys", module="bench.objectives.moco"),
}

LOADERS = {
    "resident": Loader(summary="decoded once into device memory, augmentation batched there (small sets)", module="bench.data.resident", augmentations=("crop", "flip")),
    "stream": Loader(summary="decoded and augmented batch by batch (large JPEG sets, or larger networks than images)", module="bench.data.stream", augmentations=("crop", "flip", "resized_crop")),
    "dense": Loader(summary="decoded, cut and resized batch by batch with masks or boxes (segmentation, detection)", module="bench.data.dense", augmentations=("flip", "scale_crop")),
    "text": Loader(summary="tokens in batches of about one length, masked anew in every epoch where that is the task", module="bench.data.text"),
}

_BALL = {"epsilon": Option(kind=float), "norm": Option(kind=str, choices=("linf", "l2"))}
_EXAMPLES = {"examples": Option(kind=int)}
_SPLIT = {"split": Option(kind=str, default="test", choices=("test", "mismatched"))}
_RATES = (0.001, 0.005, 0.01, 0.05, 0.1)
METRICS = {
    "accuracy": Metric(summary="top-1 accuracy on the test split", module="bench.metrics.accuracy", reports={"accuracy": True}),
    "calibration": Metric(summary="expected calibration error (15 bins), negative log-likelihood (nats), Brier score", module="bench.metrics.calibration", reports={"ece": False, "nll": False, "brier": False}, tasks=("classification", "sentence_classification")),
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
    "segmentation": Metric(summary="mean intersection over union and pixel accuracy of segmented scenes", module="bench.metrics.segmentation", reports={"mean_iou": True, "pixel_accuracy": True}, tasks=("segmentation",), options=_EXAMPLES),
    "detection": Metric(summary="average precision of detected objects: VOC's 11 points (ap over overlaps 0.50 to 0.95, ap50), COCO's 101", module="bench.metrics.detection", reports={"ap": True, "ap50": True, "coco_ap": True, "coco_ap50": True}, tasks=("detection",), options=_EXAMPLES),
    "glue": Metric(summary="what sentence tasks are judged by: accuracy, F1, Matthews, Pearson and Spearman correlation", module="bench.metrics.glue", reports={"accuracy": True, "f1": True, "matthews": True, "pearson": True, "spearman": True}, tasks=("sentence_classification", "sentence_regression"), judges=True, options=_SPLIT),
    "squad": Metric(summary="answers found in passages: F1 of their words, exact match", module="bench.metrics.squad", reports={"f1": True, "exact_match": True}, tasks=("question_answering",)),
    "mlm": Metric(summary="masked tokens: share found, perplexity", module="bench.metrics.mlm", reports={"accuracy": True, "perplexity": False}, tasks=("masked_language_modelling",)),
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
    (("architecture", "bert_base", {}), ("pruner", "synflow", {}), _NO_PATHS),
    (("architecture", "bert_tiny", {}), ("pruner", "synflow", {}), _NO_PATHS),
    (("architecture", "resnet8", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"),
    (("architecture", "resnet20", {}), ("pretraining", "torchvision", {}), "torchvision publishes no weights for it"),
)


def described(dataset: Word) -> Dataset:
    """The set a word names. A stand-in has the shape of the set that it stands for: classes, side, storage, statistics.

    But its scenes are small, and its texts short and of the embedded vocabulary.
    """
    entry = DATASETS[dataset.name]
    if dataset.name != "toy":
        return entry
    of = DATASETS[str(dataset["of"])]
    most = STAND_IN.get(TASKS[of.task].limit, of.resolution)
    return dataclasses.replace(
        of, source=entry.source, embedded=True, options=entry.options, train=entry.train, test=entry.test,
        validation=entry.validation, resolution=min(of.resolution, most),
        vocabulary="embedded" if of.vocabulary else "",
    )  # fmt: skip


def split_of(metric: Word) -> str:
    """The split that a metric's word measures."""
    return str(dict(metric.options).get("split", METRICS[metric.name].split))


def reports(metric: Word, dataset: Word) -> dict[str, bool]:
    """The numbers that a metric's word writes of a set -> whether higher is better: those that the set is judged by."""
    entry, scores = METRICS[metric.name], described(dataset).scores
    if not entry.judges:
        return dict(entry.reports)
    return {name: higher for name, higher in entry.reports.items() if name in scores}


def load(module: str) -> Any:
    """Import an entry's module, or the object in it where `module:name` is given."""
    name, _, attribute = module.partition(":")
    loaded = importlib.import_module(name)
    return getattr(loaded, attribute) if attribute else loaded
