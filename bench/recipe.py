"""How networks are trained and attacked, as records. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Attack:
    """An attack on pixels in [0, 1]; epsilon and step are in 1/255 (L2: in units of 1).

    loss: what is ascended, cross-entropy or the margin (largest wrong logit less the right one).
    """

    norm: str = "linf"
    epsilon_255: float = 8.0
    step_255: float = 2.0
    steps: int = 10
    restarts: int = 1
    random_start: bool = True
    batchnorm: str = "eval"
    loss: str = "cross_entropy"

    def __post_init__(self) -> None:
        for name, known in ATTACK_CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"attack {name} {getattr(self, name)!r} (known: {', '.join(known)})")
        sizes = (self.epsilon_255, self.step_255)
        if not all(map(math.isfinite, sizes)) or min(sizes) < 0 or self.steps < 1 or self.restarts < 1:
            raise ValueError("an attack needs epsilon_255 >= 0, step_255 >= 0, steps >= 1 and restarts >= 1")


ATTACK_CHOICES = {"norm": ("linf", "l2"), "batchnorm": ("eval", "train"), "loss": ("cross_entropy", "margin")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """How two views of an image are drawn for self-supervised pre-training; each draws everything anew.

    crop_scale: share of the image's area that a random resized crop keeps. jitter: strengths of brightness, contrast,
    saturation and hue, in random order, with probability jitter_share. blur_sigma: of the Gaussian, in pixels of the
    view. The other shares are probabilities too.
    """

    crop_scale: tuple[float, float] = (0.08, 1.0)
    flip_share: float = 0.5
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_share: float = 0.8
    grey_share: float = 0.2
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_share: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.flip_share, self.jitter_share, self.grey_share, self.blur_share)
        if not all(0 <= share <= 1 for share in shares) or not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError("views need shares in [0, 1] and crop_scale in (0, 1]")
        if min(self.jitter) < 0 or max(self.jitter[:3]) > 1 or self.jitter[3] > 0.5:
            raise ValueError("views need a jitter of at most 1 in brightness, contrast and saturation, 0.5 in hue")
        if not 0 < self.blur_sigma[0] <= self.blur_sigma[1] or not math.isfinite(self.blur_sigma[1]):
            raise ValueError("views need 0 < blur_sigma, the smaller first")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """How two views are compared: contrastive pre-training.

    hidden, dimensions: widths of the projection head's two layers; hidden 0: that of the features.
    queue: keys kept as negatives, with a momentum encoder that forgets by 1 - momentum a step (MoCo); 0: negatives are
    the other views of the batch (SimCLR). groups: parts of a batch that batch normalisation sees alone, between which
    keys are shuffled (MoCo's GPUs); 1: it sees the whole batch. normalise: does the network see pixels normalised by
    the set's statistics, or as they are? probe_every: epochs between two measurements of the features on the
    validation split, by nearest neighbours and by a linear probe; probe_examples: training images that they learn from.
    """

    views: Views = Views()
    temperature: float = 0.5
    hidden: int = 0
    dimensions: int = 128
    queue: int = 0
    momentum: float = 0.999
    groups: int = 1
    normalise: bool = True
    probe_every: int = 1
    probe_examples: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf or not 0 <= self.momentum <= 1:
            raise ValueError("contrast needs temperature > 0 and momentum in [0, 1]")
        if min(self.hidden, self.queue) < 0 or min(self.dimensions, self.groups, self.probe_every) < 1:
            raise ValueError("contrast needs hidden, queue >= 0 and dimensions, groups, probe_every >= 1")
        if self.probe_examples < 2:
            raise ValueError("contrast needs probe_examples >= 2")


# Of a field that is left out of keys at its default: recipes that do not use it keep the keys they had before it.
OPTIONAL = {"identity": "unless default"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How a network is trained. `milestones` and `warmup_epochs` are in epochs.

    attack: trained on its examples; with trades_beta > 0 by TRADES, else on them alone.
    sigma: standard deviation of the Gaussian noise that images get, in [0, 1] pixels (randomised smoothing).
    select: which epochs' networks are kept: the last one, the best by clean or by robust validation accuracy. The
    first named is what the stage passes on. `select_from` is the first epoch (from 1) that may be selected;
    `validation_attack` is what robust validation accuracy is measured under.
    final_lr: what the cosine and linear schedules end at. head_lr: the head's learning rate in units of lr.
    clip_norm: largest norm of the gradient of all weights together, 0: any. epoch_steps: an epoch ends after so many
    steps of a shuffled set, which may have more. batchnorm_momentum: of the running statistics, where it is not the
    architecture's. contrast: trained without labels.
    carry: what a round of iterative pruning takes over from the round before: the optimiser's state, the queue.
    """

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
    trades_beta: float = 0.0
    sigma: float = 0.0
    select: tuple[str, ...] = ("last",)
    select_from: int = 1
    validation_attack: Attack | None = None
    final_lr: float = field(default=0.0, metadata=OPTIONAL)
    head_lr: float = field(default=1.0, metadata=OPTIONAL)
    batchnorm_momentum: float | None = field(default=None, metadata=OPTIONAL)
    contrast: Contrast | None = field(default=None, metadata=OPTIONAL)
    carry: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    clip_norm: float = field(default=0.0, metadata=OPTIONAL)
    epoch_steps: int | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        for name, known in RECIPE_CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(f"recipe {name} {getattr(self, name)!r} (known: {', '.join(known)})")
        for word in self.augmentation:
            if word not in AUGMENTATIONS:
                raise ValueError(f"recipe augmentation {word!r} (known: {', '.join(AUGMENTATIONS)})")
        if self.attack is not None and self.attack.restarts != 1:
            raise ValueError(f"a training attack has 1 restart, not {self.attack.restarts}")
        self._check_numbers()
        self._check_objective()
        self._check_selection()

    def _check_numbers(self) -> None:
        numbers = (
            self.lr, self.momentum, self.weight_decay, self.gamma, self.warmup_epochs, self.label_smoothing,
            self.trades_beta, self.sigma, self.final_lr, self.head_lr, self.batchnorm_momentum or 0.0,
            self.clip_norm,
        )  # fmt: skip
        if not all(map(math.isfinite, numbers)):
            raise ValueError("every number of a recipe is finite")
        if self.epochs < 0 or self.batch_size < 1 or min(self.lr, self.weight_decay, self.final_lr, self.head_lr) < 0:
            raise ValueError(
                "a recipe needs epochs >= 0, batch_size >= 1, and lr, weight_decay, final_lr and head_lr >= 0"
            )
        if self.clip_norm < 0 or (self.epoch_steps is not None and self.epoch_steps < 1):
            raise ValueError("a recipe needs clip_norm >= 0 and epoch_steps >= 1")
        if self.batchnorm_momentum is not None and not 0 < self.batchnorm_momentum <= 1:
            raise ValueError(f"batchnorm_momentum {self.batchnorm_momentum} is not in (0, 1]")

    def _check_objective(self) -> None:
        if min(self.trades_beta, self.sigma) < 0:
            raise ValueError("a recipe needs trades_beta >= 0 and sigma >= 0")
        if self.trades_beta and self.attack is None:
            raise ValueError("trades_beta needs an attack")
        if self.sigma and self.attack is not None:
            raise ValueError("a recipe trains with noise (sigma) or with an attack, not both")
        if self.contrast is not None and (self.attack is not None or self.sigma or self.augmentation):
            raise ValueError("contrast has augmentations of its own (views), and goes with no attack and no sigma")
        if self.contrast is not None and self.select != ("last",):
            raise ValueError("contrastive training reads no labels: it selects the last epoch")
        if not set(self.carry) <= set(CARRIES):
            raise ValueError(f"recipe carry {list(self.carry)} (known: {', '.join(CARRIES)})")

    def _check_selection(self) -> None:
        if not self.select or len(set(self.select)) < len(self.select) or not set(self.select) <= set(SELECTIONS):
            raise ValueError(f"recipe select {list(self.select)}: one or more of {', '.join(SELECTIONS)}, each once")
        if self.select_from < 1:
            raise ValueError(f"select_from {self.select_from} is not an epoch (from 1)")
        if ROBUST in self.select and self.validation_attack is None:
            raise ValueError(f"recipe select {ROBUST} needs a validation_attack")
        if self.validation_attack is not None and self.validation_attack.batchnorm != "eval":
            raise ValueError("a validation attack runs with batchnorm eval")


ROBUST = "best_robust_validation"
SELECTIONS = ("last", "best_validation", ROBUST)
RECIPE_CHOICES = {
    "optimizer": ("sgd", "adamw", "lars"),
    "schedule": ("constant", "step", "cosine", "linear", "poly"),
    "precision": ("fp32", "bf16"),
}
AUGMENTATIONS = ("crop", "flip", "resized_crop", "scale_crop")
CARRIES = ("optimizer", "queue")
