"""How networks are trained and attacked, as records. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
class Recipe:
    """How a network is trained. `milestones` and `warmup_epochs` are in epochs.

    attack: trained on its examples; with trades_beta > 0 by TRADES, else on them alone.
    sigma: standard deviation of the Gaussian noise that images get, in [0, 1] pixels (randomised smoothing).
    select: which epochs' networks are kept: the last one, the best by clean or by robust validation accuracy. The
    first named is what the stage passes on. `select_from` is the first epoch (from 1) that may be selected;
    `validation_attack` is what robust validation accuracy is measured under.
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
        if not all(math.isfinite(number) for number in (*numbers, self.trades_beta, self.sigma)):
            raise ValueError("every number of a recipe is finite")
        self._check_objective()
        self._check_selection()
        if self.epochs < 0 or self.batch_size < 1 or self.lr < 0 or self.weight_decay < 0:
            raise ValueError("a recipe needs epochs >= 0, batch_size >= 1, lr >= 0 and weight_decay >= 0")

    def _check_objective(self) -> None:
        if min(self.trades_beta, self.sigma) < 0:
            raise ValueError("a recipe needs trades_beta >= 0 and sigma >= 0")
        if self.trades_beta and self.attack is None:
            raise ValueError("trades_beta needs an attack")
        if self.sigma and self.attack is not None:
            raise ValueError("a recipe trains with noise (sigma) or with an attack, not both")

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
    "optimizer": ("sgd", "adamw"),
    "schedule": ("constant", "step", "cosine", "linear"),
    "precision": ("fp32", "bf16"),
}
AUGMENTATIONS = ("crop", "flip", "resized_crop")
