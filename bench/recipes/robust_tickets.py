"""Robust Tickets Can Transfer Better (Fu, Yuan, Wu, Yuan and Lin, DAC 2023, arXiv:2304.11834).

The study's question, networks, pruners, granularities and transfer modes are the paper's; its hyperparameters could
not be sourced and no code was released. Every figure here is a choice of this project:
- pre-training: the usual recipe of the public robust ImageNet weights (Salman et al. 2020, arXiv:2007.08489):
  90 epochs, PGD-3 with steps of 2 eps / 3, attacked in evaluation mode; eps is 3 in L2, which transfers best there.
  Use the published weights through checkpoint(path=...), with those of eps 0 as the natural arm;
- randomised smoothing: Gaussian noise of deviation 0.25 (Cohen et al. 2019, arXiv:1902.02918);
- finetuning and linear evaluation: the best recipe of the same work on CIFAR;
- upstream IMP: 30 epochs a round as in Double-Win's scripts; downstream IMP: the finetuning recipe a round;
- learnt masks: the recipe of Robust Scratch Ticket (Fu et al. 2021), by the same first and last authors, with affine
  batch normalisation;
- every convolution is pruned, the first one too.
"""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Prunable, Recipe

PGD3_L2 = Attack(norm="l2", epsilon_255=3, step_255=2, steps=3)
FAST = Attack(epsilon_255=4, step_255=5, steps=1)
PGD10 = Attack(epsilon_255=8, step_255=2, steps=10)
PGD20 = Attack(epsilon_255=8, step_255=2, steps=20)
SIGMA = 0.25

AUGMENTATION = ("resized_crop", "flip")
IMAGENET = Recipe(
    epochs=90, batch_size=512, lr=0.1, weight_decay=1e-4, schedule="step", milestones=(30, 60), precision="bf16",
    channels_last=True, augmentation=AUGMENTATION,
)
ROUND = Recipe(
    epochs=30, batch_size=2048, lr=5e-4, weight_decay=1e-4, schedule="constant", precision="bf16", channels_last=True,
    augmentation=AUGMENTATION,
)
FINETUNE = Recipe(
    epochs=150, batch_size=64, lr=1e-3, weight_decay=5e-4, schedule="step", milestones=(50, 100), channels_last=True,
    augmentation=AUGMENTATION, select=("best_validation",),
)
LINEAR = dataclasses.replace(FINETUNE, lr=0.01)
SCORES = Recipe(
    epochs=160, batch_size=256, lr=0.1, weight_decay=5e-4, schedule="step", milestones=(80, 120), channels_last=True,
    augmentation=AUGMENTATION,
)


def adversarial(recipe: Recipe) -> Recipe:
    """The same recipe on PGD-10 examples, both selections kept where it selects."""
    if recipe.select == ("last",):
        return dataclasses.replace(recipe, attack=PGD10)
    select = ("best_validation", "best_robust_validation")
    return dataclasses.replace(recipe, attack=PGD10, select=select, validation_attack=PGD20)


PROTOCOL = Protocol(
    name="robust_tickets",
    summary="ImageNet to small sets at 224 pixels, natural and robust tickets",
    source="imagenet",
    ladder=Ladder(rate=0.2),
    prunable=Prunable(first_conv=True, linear=False),
    pretrain={
        "supervised": IMAGENET,
        "fast_adversarial": dataclasses.replace(IMAGENET, attack=FAST),
        "pgd_adversarial": dataclasses.replace(IMAGENET, attack=PGD3_L2),
        "smoothing": dataclasses.replace(IMAGENET, sigma=SIGMA),
    },
    prune={
        "upstream/standard": ROUND,
        "upstream/fast_adversarial": dataclasses.replace(ROUND, attack=FAST),
        "upstream/adversarial": dataclasses.replace(ROUND, attack=PGD3_L2),
        "upstream/smoothing": dataclasses.replace(ROUND, sigma=SIGMA),
        # Masks come from the last epoch of a round, never from the best.
        "downstream/standard": dataclasses.replace(FINETUNE, select=("last",)),
        "downstream/adversarial": adversarial(dataclasses.replace(FINETUNE, select=("last",))),
        "lmp/standard": SCORES,
        "lmp/adversarial": adversarial(SCORES),
    },
    transfer={
        "finetune/standard": FINETUNE,
        "finetune/adversarial": adversarial(FINETUNE),
        "linear/standard": LINEAR,
        "linear/adversarial": adversarial(LINEAR),
    },
    attack=PGD20,
    attack_examples=1000,
)
