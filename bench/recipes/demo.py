"""The embedded demo: letters upstream, handwritten digits downstream, on a CPU in minutes. A choice of this project."""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Contrast, Prunable, Recipe, Views

# Small weight decay and no augmentation leave natural and robust features apart at this size; the step is 2 eps / 4.
TRAINING_ATTACK = Attack(epsilon_255=24, step_255=12, steps=3)
UPSTREAM = Recipe(epochs=12, batch_size=128, lr=0.05, weight_decay=1e-4, schedule="cosine", warmup_epochs=1)
ROUND = Recipe(epochs=1, batch_size=128, lr=0.02, weight_decay=1e-4, schedule="constant")
DOWNSTREAM_ROUND = Recipe(epochs=8, batch_size=64, lr=0.05, weight_decay=5e-4, schedule="cosine")
FINETUNE = Recipe(epochs=4, batch_size=64, lr=0.02, weight_decay=5e-4, schedule="cosine")
# Scenes are few: small batches make enough steps of them. Digits are not mirrored.
SEGMENTATION = Recipe(
    epochs=12, batch_size=4, lr=0.05, weight_decay=1e-4, schedule="poly", warmup_epochs=2, drop_last=True,
    channels_last=True,
)
DETECTION = dataclasses.replace(SEGMENTATION, epochs=10, batch_size=8, augmentation=("scale_crop",))
LINEAR = Recipe(epochs=20, batch_size=128, lr=0.5, weight_decay=1e-4, schedule="cosine")


# One step of 1.25 eps from a random start (Wong et al. 2020, arXiv:2001.03994).
FAST_ATTACK = Attack(epsilon_255=24, step_255=30, steps=1)
SIGMA = 0.15
SCORES = Recipe(epochs=8, batch_size=64, lr=0.1, weight_decay=5e-4, schedule="cosine")

# Letters are told apart by which way they face, and what is cut off of 8 pixels is soon missing: weak crops, no flips.
VIEWS = Views(crop_scale=(0.6, 1.0), flip_share=0.0, jitter=(0.4, 0.4, 0.4, 0.1))
# 20 labelled letters of each class tell features apart; with all of them the linear probe of random ones reaches 0.8.
CONTRAST = Contrast(views=VIEWS, temperature=0.2, probe_every=5, probe_examples=520)
SIMCLR = Recipe(
    epochs=10, batch_size=128, lr=0.1, weight_decay=1e-4, schedule="cosine", warmup_epochs=1, drop_last=True,
    contrast=CONTRAST,
)
MOCO = dataclasses.replace(
    SIMCLR, lr=0.12, contrast=dataclasses.replace(CONTRAST, queue=1024, momentum=0.99, groups=2),
)


def adversarial(recipe: Recipe, attack: Attack = TRAINING_ATTACK) -> Recipe:
    """The same recipe on adversarial examples."""
    return dataclasses.replace(recipe, attack=attack)


def contrasting(recipe: Recipe) -> Recipe:
    """A round of the same contrast; it takes over what the round before had gathered."""
    carry = ("optimizer", "queue") if recipe.contrast is not None and recipe.contrast.queue else ("optimizer",)
    return dataclasses.replace(
        ROUND, batch_size=recipe.batch_size, drop_last=True, contrast=recipe.contrast, carry=carry
    )


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
        "simclr": SIMCLR,
        "moco": MOCO,
    },
    prune={
        "upstream/standard": ROUND,
        "upstream/fast_adversarial": adversarial(ROUND, FAST_ATTACK),
        "upstream/adversarial": adversarial(ROUND),
        "upstream/smoothing": dataclasses.replace(ROUND, sigma=SIGMA),
        "upstream/simclr": contrasting(SIMCLR),
        "upstream/moco": contrasting(MOCO),
        "downstream/standard": DOWNSTREAM_ROUND,
        "downstream/adversarial": adversarial(DOWNSTREAM_ROUND),
        "downstream/standard/segmentation": SEGMENTATION,
        "downstream/standard/detection": DETECTION,
        "lmp/standard": SCORES,
        "lmp/adversarial": adversarial(SCORES),
    },
    transfer={
        "finetune/standard": FINETUNE,
        "finetune/adversarial": adversarial(FINETUNE),
        "finetune/standard/segmentation": SEGMENTATION,
        "finetune/standard/detection": DETECTION,
        "linear/standard": LINEAR,
        "linear/adversarial": adversarial(LINEAR),
    },
    dense_resolution=48,
    attack=Attack(epsilon_255=16, step_255=2, steps=20),
)
