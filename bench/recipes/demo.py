"""The embedded demo: letters upstream, handwritten digits downstream, on a CPU in minutes. A choice of this project."""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Prunable, Recipe

# Small weight decay and no augmentation leave natural and robust features apart at this size; the step is 2 eps / 4.
TRAINING_ATTACK = Attack(epsilon_255=24, step_255=12, steps=3)
UPSTREAM = Recipe(epochs=12, batch_size=128, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup_epochs=1)
ROUND = Recipe(epochs=1, batch_size=128, lr=0.02, weight_decay=1e-4, schedule="constant")
DOWNSTREAM_ROUND = Recipe(epochs=8, batch_size=64, lr=0.05, weight_decay=5e-4, schedule="cosine")
FINETUNE = Recipe(epochs=4, batch_size=64, lr=0.02, weight_decay=5e-4, schedule="cosine")
LINEAR = Recipe(epochs=20, batch_size=128, lr=0.5, weight_decay=1e-4, schedule="cosine")


# One step of 1.25 eps from a random start (Wong et al. 2020, arXiv:2001.03994).
FAST_ATTACK = Attack(epsilon_255=24, step_255=30, steps=1)
SIGMA = 0.15
SCORES = Recipe(epochs=8, batch_size=64, lr=0.1, weight_decay=5e-4, schedule="cosine")


def adversarial(recipe: Recipe, attack: Attack = TRAINING_ATTACK) -> Recipe:
    """The same recipe on adversarial examples."""
    return dataclasses.replace(recipe, attack=attack)


PROTOCOL = Protocol(
    name="demo",
    summary="letters to digits at 8 x 8 pixels",
    source="letters",
    ladder=Ladder(rate=0.2),
    prunable=Prunable(first_conv=False),
    pretrain={
        "supervised": UPSTREAM,
        "fast_adversarial": adversarial(UPSTREAM, FAST_ATTACK),
        "pgd_adversarial": adversarial(UPSTREAM),
        "smoothing": dataclasses.replace(UPSTREAM, sigma=SIGMA),
    },
    prune={
        "upstream/standard": ROUND,
        "upstream/fast_adversarial": adversarial(ROUND, FAST_ATTACK),
        "upstream/adversarial": adversarial(ROUND),
        "upstream/smoothing": dataclasses.replace(ROUND, sigma=SIGMA),
        "downstream/standard": DOWNSTREAM_ROUND,
        "downstream/adversarial": adversarial(DOWNSTREAM_ROUND),
        "lmp/standard": SCORES,
        "lmp/adversarial": adversarial(SCORES),
    },
    transfer={
        "finetune/standard": FINETUNE,
        "finetune/adversarial": adversarial(FINETUNE),
        "linear/standard": LINEAR,
        "linear/adversarial": adversarial(LINEAR),
    },
    attack=Attack(epsilon_255=16, step_255=2, steps=20),
)
