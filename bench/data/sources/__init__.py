"""Where every set comes from: one function per entry of `bench.catalog.DATASETS`.

All have the signature (split, raw_root, *, download, options) -> Images, or Texts, with split "train" or "test", or one
of the entry's further `splits`. Files lie under
`raw_root` as bench.data.places says. Nothing is fetched unless `download` is True.
"""

from bench.data.sources.documentation import python_docs, python_next, python_similarity, python_topics
from bench.data.sources.embedded import digit_glyphs, digits, digits_inverted, digits_noisy, letters
from bench.data.sources.folders import folder, visda2017
from bench.data.sources.glue import cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli
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
from bench.data.sources.question_answering import squad
from bench.data.sources.scenes import scenes_detection, scenes_segmentation
from bench.data.sources.specialised import eurosat, pcam, resisc45
from bench.data.sources.structured import clevr_count, dsprites_location, dsprites_orientation, kitti_distance
from bench.data.sources.text_files import mlm
from bench.data.sources.voc import voc2007, voc2012

__all__ = [
    "caltech101",
    "caltech256",
    "cifar10",
    "cifar100",
    "clevr_count",
    "cola",
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
    "mlm",
    "mnli",
    "mrpc",
    "oxford_iiit_pet",
    "pcam",
    "python_docs",
    "python_next",
    "python_similarity",
    "python_topics",
    "qnli",
    "qqp",
    "resisc45",
    "rte",
    "scenes_detection",
    "scenes_segmentation",
    "squad",
    "sst2",
    "stanford_cars",
    "stl10",
    "stsb",
    "sun397",
    "svhn",
    "visda2017",
    "voc2007",
    "voc2012",
    "wnli",
]
