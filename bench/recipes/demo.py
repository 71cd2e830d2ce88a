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


def adversarial(recipe: Recipe) -> Recipe:
    """The same recipe on adversarial examples."""
    return dataclasses.replace(recipe, attack=TRAINING_ATTACK)


PROTOCOL = Protocol(
    name="demo",
    summary="letters to digits at 8 x 8 pixels",
    source="letters",
    ladder=Ladder(rate=0.2),
    prunable=Prunable(first_conv=False),
    pretrain={"supervised": UPSTREAM, "pgd_adversarial": adversarial(UPSTREAM)},
    prune={
        "upstream/standard": ROUND,
        "upstream/adversarial": adversarial(ROUND),
        "downstream/standard": DOWNSTREAM_ROUND,
        "downstream/adversarial": adversarial(DOWNSTREAM_ROUND),
    },
    transfer={
        "finetune/standard": FINETUNE,
        "finetune/adversarial": adversarial(FINETUNE),
        "linear/standard": LINEAR,
        "linear/adversarial": adversarial(LINEAR),
    },
    attack=Attack(epsilon_255=16, step_255=2, steps=20),
)
