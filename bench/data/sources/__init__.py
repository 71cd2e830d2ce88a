"""Where every image set comes from: one function per entry of `bench.catalog.DATASETS`.

All have the signature (split, raw_root, *, download, options) -> Images with split "train" or "test". Files lie under
`raw_root` as bench.data.places says. Nothing is fetched unless `download` is True.
"""

from bench.data.sources.embedded import digit_glyphs, digits, digits_inverted, digits_noisy, letters
from bench.data.sources.folders import folder, visda2017
from bench.data.sources.natural import (
    caltech101,
    caltech256,
    cifar10,
    cifar100,
    dtd,
    fashion_mnist,
    fgvc_aircraft,
    flowers102,
    food101,
    gtsrb,
    oxford_iiit_pet,
    stanford_cars,
    stl10,
    sun397,
    svhn,
)
from bench.data.sources.scenes import scenes_detection, scenes_segmentation
from bench.data.sources.specialised import eurosat, pcam, resisc45
from bench.data.sources.structured import clevr_count, dsprites_location, dsprites_orientation, kitti_distance
from bench.data.sources.voc import voc2007, voc2012

__all__ = [
    "caltech101",
    "caltech256",
    "cifar10",
    "cifar100",
    "clevr_count",
    "digit_glyphs",
    "digits",
    "digits_inverted",
    "digits_noisy",
    "dsprites_location",
    "dsprites_orientation",
    "dtd",
    "eurosat",
    "fashion_mnist",
    "fgvc_aircraft",
    "flowers102",
    "folder",
    "food101",
    "gtsrb",
    "kitti_distance",
    "letters",
    "oxford_iiit_pet",
    "pcam",
    "resisc45",
    "scenes_detection",
    "scenes_segmentation",
    "stanford_cars",
    "stl10",
    "sun397",
    "svhn",
    "visda2017",
    "voc2007",
    "voc2012",
]
