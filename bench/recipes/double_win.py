"""Data-Efficient Double-Win Lottery Tickets from Robust Pre-training (Chen et al., ICML 2022, arXiv:2206.04762).

Figures from the released scripts. Deviations, and choices where the release is silent:
- ImageNet pre-training recipes are those of the published weights' usual training, the study loads weights;
- no script of fast adversarial pruning was released: one step of 1.25 eps from a random start, at the eps 4/255 of
  the published fast adversarial ImageNet weights (Wong et al. 2020, arXiv:2001.03994);
- ImageNet epochs compute in bfloat16, the scripts in float32;
- the release has no linear evaluation, no TRADES, no learnt masks and no downstream IMP: those recipes follow its
  downstream ones.
"""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Prunable, Recipe

# eps 8/255, three steps of 2 eps / 3 with a random start. The scripts craft training attacks in train mode: batch
# normalisation uses the batch's statistics and learns from every iterate.
PGD3 = Attack(epsilon_255=8, step_255=16 / 3, steps=3, batchnorm="train")
FAST = Attack(epsilon_255=4, step_255=5, steps=1, batchnorm="train")
PGD10 = Attack(epsilon_255=8, step_255=2, steps=10, batchnorm="train")
PGD20 = Attack(epsilon_255=8, step_255=2, steps=20)

AUGMENTATION = ("resized_crop", "flip")
IMAGENET = Recipe(
    epochs=90, batch_size=512, lr=0.1, weight_decay=1e-4, schedule="step", milestones=(30, 60), precision="bf16",
    channels_last=True, augmentation=AUGMENTATION,
)
ROUND = Recipe(
    epochs=30, batch_size=2048, lr=5e-4, weight_decay=1e-4, schedule="constant", precision="bf16", channels_last=True,
    augmentation=AUGMENTATION,
)
STANDARD = Recipe(
    epochs=150, batch_size=64, lr=1e-3, weight_decay=5e-4, schedule="step", milestones=(50, 100), channels_last=True,
    augmentation=AUGMENTATION, select=("best_validation",),
)
ADVERSARIAL = Recipe(
    epochs=100, batch_size=128, lr=0.1, weight_decay=5e-4, schedule="step", milestones=(50, 75), channels_last=True,
    augmentation=AUGMENTATION, attack=PGD10, select=("best_validation", "best_robust_validation"), select_from=45,
    validation_attack=PGD20,
)
# The released SVHN script passes milestones but follows a cosine over 80 epochs.
ADVERSARIAL_SVHN = dataclasses.replace(ADVERSARIAL, epochs=80, lr=0.01, schedule="cosine", milestones=(), select_from=1)
SMOOTHING_SIGMA = 0.25
LINEAR = Recipe(
    epochs=150, batch_size=64, lr=0.01, weight_decay=5e-4, schedule="step", milestones=(50, 100), channels_last=True,
    augmentation=AUGMENTATION, select=("best_validation",),
)

PROTOCOL = Protocol(
    name="double_win",
    summary="ImageNet to CIFAR and SVHN at 224 pixels, standard and adversarial transfer",
    source="imagenet",
    ladder=Ladder(rate=0.2),
    prunable=Prunable(first_conv=True, linear=False),
    pretrain={
        "supervised": IMAGENET,
        "fast_adversarial": dataclasses.replace(IMAGENET, attack=FAST),
        "pgd_adversarial": dataclasses.replace(IMAGENET, attack=PGD3),
        "smoothing": dataclasses.replace(IMAGENET, sigma=SMOOTHING_SIGMA),
    },
    prune={
        "upstream/standard": ROUND,
        "upstream/fast_adversarial": dataclasses.replace(ROUND, attack=FAST),
        "upstream/smoothing": dataclasses.replace(ROUND, sigma=SMOOTHING_SIGMA),
        "upstream/adversarial": dataclasses.replace(ROUND, attack=PGD3),
        # Masks come from the last epoch of a round, never from the best.
        "downstream/standard": dataclasses.replace(STANDARD, select=("last",)),
        "downstream/adversarial": dataclasses.replace(ADVERSARIAL, select=("last",)),
        "lmp/standard": dataclasses.replace(STANDARD, lr=0.1, select=("last",)),
        "lmp/adversarial": dataclasses.replace(ADVERSARIAL, select=("last",)),
    },
    transfer={
        "finetune/standard": STANDARD,
        "finetune/adversarial": ADVERSARIAL,
        "finetune/adversarial/svhn": ADVERSARIAL_SVHN,
        "linear/standard": LINEAR,
        "linear/adversarial": dataclasses.replace(LINEAR, attack=PGD10),
    },
    attack=PGD20,
    validation_rule="last",
    fraction_rule="first_n",
)
