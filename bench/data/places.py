"""Where the raw files of every set lie under <data>/raw, and how they get there; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """`paths` must all be there, in torchvision's own layout where it has one.

    by_hand: what to do where nothing downloads the set; empty: `python -m bench.prepare` does.
    """

    paths: tuple[str, ...]
    by_hand: str = ""


def _glue(folder: str, *files: str) -> Place:
    """A task of GLUE: the training part, then what tests."""
    return Place(
        paths=tuple(f"glue/{folder}/{file}.tsv" for file in files or ("train", "dev")),
        by_hand="unpack the task's archive of gluebenchmark.com/tasks there",
    )


_FOLDERS = "put or link <class>/<image> folders there"
_DSPRITES = Place(
    paths=("dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",),
    by_hand="put the file of github.com/google-deepmind/dsprites-dataset there",
)

# One line per set of bench.catalog.DATASETS that is not embedded, in its order.
PLACES = {
    "cifar10": Place(paths=("cifar-10-batches-py",)),
    "cifar100": Place(paths=("cifar-100-python",)),
    "svhn": Place(paths=("train_32x32.mat", "test_32x32.mat")),
    "fashion_mnist": Place(paths=("FashionMNIST/raw",)),
    "stl10": Place(paths=("stl10_binary",)),
    "gtsrb": Place(paths=("gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv")),
    "caltech101": Place(paths=("caltech101/101_ObjectCategories",)),
    "caltech256": Place(paths=("caltech256/256_ObjectCategories",)),
    "flowers102": Place(paths=("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat")),
    "oxford_iiit_pet": Place(paths=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations")),
    "dtd": Place(paths=("dtd/dtd/images", "dtd/dtd/labels")),
    "food101": Place(paths=("food-101/images", "food-101/meta")),
    "fgvc_aircraft": Place(paths=("fgvc-aircraft-2013b/data",)),
    "stanford_cars": Place(
        paths=(
            "stanford_cars/cars_train",
            "stanford_cars/cars_test",
            "stanford_cars/devkit/cars_meta.mat",
            "stanford_cars/devkit/cars_train_annos.mat",
            "stanford_cars/cars_test_annos_withlabels.mat",
        ),
        by_hand="its server is gone: unpack a copy of cars_train.tgz, cars_test.tgz and the devkit there",
    ),
    "sun397": Place(paths=("SUN397/ClassName.txt",)),
    "eurosat": Place(paths=("eurosat/2750",)),
    "resisc45": Place(
        paths=("NWPU-RESISC45",),
        by_hand="unpack NWPU-RESISC45.rar (Cheng et al. 2017) there: 45 folders of 700 images",
    ),
    "pcam": Place(
        paths=tuple(
            f"pcam/camelyonpatch_level_2_split_{part}_{kind}.h5" for part in ("train", "valid", "test") for kind in "xy"
        )
    ),
    "clevr_count": Place(
        paths=tuple(
            f"clevr/CLEVR_v1.0/{path}"
            for split in ("train", "val")
            for path in (f"images/{split}", f"scenes/CLEVR_{split}_scenes.json")
        )
    ),
    "kitti_distance": Place(paths=("Kitti/raw/training/image_2", "Kitti/raw/training/label_2")),
    "dsprites_location": _DSPRITES,
    "dsprites_orientation": _DSPRITES,
    "voc2007": Place(
        paths=(
            "VOCdevkit/VOC2007/ImageSets/Main/trainval.txt",
            "VOCdevkit/VOC2007/ImageSets/Main/test.txt",
            "VOCdevkit/VOC2012/ImageSets/Main/trainval.txt",
        )
    ),
    "voc2012": Place(paths=("VOCdevkit/VOC2012/ImageSets/Segmentation",)),
    "visda2017": Place(
        paths=("visda2017/train", "visda2017/validation"),
        by_hand="unpack train.tar and validation.tar of the challenge's classification track there",
    ),
    "mnli": _glue("MNLI", "train", "dev_matched", "dev_mismatched"),
    "qqp": _glue("QQP"),
    "stsb": _glue("STS-B"),
    "wnli": _glue("WNLI"),
    "qnli": _glue("QNLI"),
    "mrpc": _glue("MRPC"),
    "rte": _glue("RTE"),
    "sst2": _glue("SST-2"),
    "cola": _glue("CoLA"),
    "squad": Place(
        paths=("squad/train-v1.1.json", "squad/dev-v1.1.json"),
        by_hand="put the two files of rajpurkar.github.io/SQuAD-explorer there",
    ),
    "mlm": Place(paths=("mlm/train.txt", "mlm/test.txt"), by_hand="put two texts there, UTF-8"),
    "imagenet": Place(paths=("imagenet/train", "imagenet/val"), by_hand=_FOLDERS),
    "folder": Place(paths=("<name>/train", "<name>/val"), by_hand=_FOLDERS),
}


def looked_for(name: str, raw_root: Path, folder: str = "<name>") -> list[Path]:
    """The paths of a set; `folder` stands for <name>."""
    return [raw_root / path.replace("<name>", folder) for path in PLACES[name].paths]


def remedy(name: str, raw_root: Path) -> str:
    """What gets the set's files to where they are looked for, as a sentence without its full stop."""
    by_hand = PLACES[name].by_hand
    command = f"run `python -m bench.prepare {name} --download --data {raw_root.parent}` on a machine with network"
    return by_hand or command
