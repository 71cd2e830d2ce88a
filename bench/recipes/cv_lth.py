"""The Lottery Tickets Hypothesis for Supervised and Self-supervised Pre-training in Computer Vision Models.

Chen et al., CVPR 2021, arXiv:2012.06908. Figures from the released scripts. Deviations, and choices where the release
is silent or selects on the set that it reports:
- the study loads published weights. Pre-training recipes here are those of their authors (SimCLR: Chen et al. 2020,
  arXiv:2002.05709, at a quarter of its batch and for 200 epochs; MoCo v2: Chen et al. 2020, arXiv:2003.04297, 800
  epochs as the study's file); ImageNet epochs compute in bfloat16;
- selection reads a validation split of the training set everywhere; 10 % of VOC 2012's training images validate, so
  that 30,000 iterations are 91 epochs;
- a script's NT-Xent takes the logarithm of a mean instead of the mean of logarithms, and its loader is not shuffled:
  here the loss is the published one, and batches are shuffled;
- MoCo's rounds see batch normalisation over parts of a batch as on eight GPUs, which the scripts do not fix;
- detection is FCOS (Tian et al. 2019, arXiv:1904.01355) on the pruned backbone, at its own learning rate, not YOLOv4,
  without affine distortion and mixup; batches of 16 are the script's two accumulated ones of 8. All of it is rewound:
  imp(on=downstream, rewind=prunable) is what the script did, which rewound the pruned convolutions alone;
- Fashion-MNIST has three equal channels, and VisDA-2017 crops of 8 to 100 % of the area.
"""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Contrast, Prunable, Recipe, Views

CROPS = ("resized_crop", "flip")
SIMCLR = Contrast(temperature=0.5, normalise=False, probe_every=10)
MOCO_VIEWS = Views(crop_scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur_share=0.5)
MOCO = Contrast(views=MOCO_VIEWS, temperature=0.2, queue=65_536, momentum=0.999, groups=8, probe_every=10)

IMAGENET = Recipe(
    epochs=90, batch_size=512, lr=0.1, weight_decay=1e-4, schedule="step", milestones=(30, 60), precision="bf16",
    channels_last=True, augmentation=CROPS,
)
ROUND = Recipe(
    epochs=10, batch_size=256, lr=1e-4, weight_decay=1e-4, schedule="constant", precision="bf16", channels_last=True,
    augmentation=CROPS,
)
SMALL = Recipe(
    epochs=182, batch_size=128, lr=0.1, weight_decay=2e-4, schedule="step", milestones=(91, 136), warmup_epochs=1,
    drop_last=True, channels_last=True, augmentation=("crop", "flip"), select=("best_validation",),
)
PLAIN = dataclasses.replace(SMALL, augmentation=())
VISDA = Recipe(
    epochs=20, batch_size=256, lr=1e-3, weight_decay=5e-4, schedule="step", milestones=(10,), channels_last=True,
    augmentation=CROPS, select=("best_validation",),
)
SEGMENTATION = Recipe(
    epochs=91, batch_size=4, lr=1e-3, head_lr=10, final_lr=1e-6, weight_decay=1e-4, schedule="poly",
    batchnorm_momentum=0.01, drop_last=True, channels_last=True, augmentation=("scale_crop", "flip"),
    select=("best_validation",),
)
DETECTION = Recipe(
    epochs=120, batch_size=16, lr=0.01, final_lr=1e-4, weight_decay=5e-4, schedule="cosine", warmup_epochs=2,
    drop_last=True, channels_last=True, augmentation=("scale_crop", "flip"),
)


def round_of(recipe: Recipe) -> Recipe:
    """The same recipe as one round of pruning: masks come from the last epoch, never from the best."""
    return dataclasses.replace(recipe, select=("last",))


PROTOCOL = Protocol(
    name="cv_lth",
    summary="ImageNet, SimCLR and MoCo pre-training to classification at 32 pixels, detection and segmentation",
    source="imagenet",
    upstream_stem="imagenet",
    ladder=Ladder(rate=0.2),
    prunable=Prunable(first_conv=False, linear=False),
    pretrain={
        "supervised": IMAGENET,
        "simclr": Recipe(
            epochs=200, batch_size=1024, optimizer="lars", lr=1.2, weight_decay=1e-6, schedule="cosine",
            warmup_epochs=10, precision="bf16", channels_last=True, drop_last=True,
            contrast=dataclasses.replace(SIMCLR, temperature=0.1, views=Views(blur_share=0.5)),
        ),
        "moco": Recipe(
            epochs=800, batch_size=256, lr=0.03, weight_decay=1e-4, schedule="cosine", precision="bf16",
            channels_last=True, drop_last=True, contrast=MOCO,
        ),
    },
    prune={
        "upstream/standard": ROUND,
        "upstream/simclr": dataclasses.replace(
            ROUND, optimizer="lars", weight_decay=1e-6, augmentation=(), drop_last=True, contrast=SIMCLR,
            carry=("optimizer",),
        ),
        "upstream/moco": dataclasses.replace(
            ROUND, lr=3e-4, augmentation=(), drop_last=True, contrast=MOCO, carry=("optimizer", "queue"),
        ),
        "downstream/standard": round_of(dataclasses.replace(SMALL, batch_size=256)),
        "downstream/standard/svhn": round_of(dataclasses.replace(PLAIN, batch_size=256)),
        "downstream/standard/fashion_mnist": round_of(dataclasses.replace(PLAIN, batch_size=256)),
        "downstream/standard/visda2017": round_of(VISDA),
        "downstream/standard/segmentation": round_of(SEGMENTATION),
        "downstream/standard/detection": round_of(DETECTION),
    },
    transfer={
        "finetune/standard": SMALL,
        "finetune/standard/svhn": PLAIN,
        "finetune/standard/fashion_mnist": PLAIN,
        "finetune/standard/visda2017": VISDA,
        "finetune/standard/segmentation": SEGMENTATION,
        "finetune/standard/detection": DETECTION,
        "linear/standard": dataclasses.replace(SMALL, weight_decay=0.0),
    },
    attack=Attack(epsilon_255=8, step_255=2, steps=20),
    validation_rule="last",
)
