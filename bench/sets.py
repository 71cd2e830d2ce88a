"""Every data set, as data: the lines of bench.catalog.DATASETS. Imports no torch."""

from __future__ import annotations

from typing import Any

from bench.entries import Dataset, Option

_TV = "bench.data.sources:"
_TEXTS: dict[str, Any] = {"storage": "tokens", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
_SENTENCES: dict[str, Any] = {**_TEXTS, "resolution": 128, "vocabulary": "uncased", "task": "sentence_classification", "scores": ("accuracy",)}
_PYTHON: dict[str, Any] = {**_TEXTS, "resolution": 64, "vocabulary": "embedded", "embedded": True}
_GREY_MEAN, _GREY_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
DATASETS = {
    "digits": Dataset(summary="1,797 handwritten digits of scikit-learn", source=_TV + "digits", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "letters": Dataset(summary="26 letters rendered from matplotlib's fonts with affine jitter", source=_TV + "letters", classes=26, resolution=8, train=7800, test=1300, validation=780, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digit_glyphs": Dataset(summary="digits rendered like the letters (near the source)", source=_TV + "digit_glyphs", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_inverted": Dataset(summary="handwritten digits, inverted", source=_TV + "digits_inverted", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "digits_noisy": Dataset(summary="handwritten digits with noise and clutter (far from the source)", source=_TV + "digits_noisy", classes=10, resolution=8, train=1297, test=500, validation=200, embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "scenes_detection": Dataset(summary="handwritten digits on textured backgrounds, with boxes", source=_TV + "scenes_detection", classes=10, resolution=64, train=600, test=200, validation=100, task="detection", embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "scenes_segmentation": Dataset(summary="the same scenes with masks; class 0 is the background", source=_TV + "scenes_segmentation", classes=11, resolution=64, train=600, test=200, validation=100, task="segmentation", embedded=True, mean=_GREY_MEAN, std=_GREY_STD),
    "cifar10": Dataset(summary="CIFAR-10", source=_TV + "cifar10", classes=10, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    "cifar100": Dataset(summary="CIFAR-100", source=_TV + "cifar100", classes=100, resolution=32, train=50_000, test=10_000, validation=5_000, mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
    "svhn": Dataset(summary="Street View House Numbers", source=_TV + "svhn", classes=10, resolution=32, train=73_257, test=26_032, validation=5_000, mean=(0.4377, 0.4438, 0.4728), std=(0.1201, 0.1231, 0.1052)),
    "fashion_mnist": Dataset(summary="Fashion-MNIST", source=_TV + "fashion_mnist", classes=10, resolution=28, train=60_000, test=10_000, validation=5_000, mean=(0.2860, 0.2860, 0.2860), std=(0.3530, 0.3530, 0.3530)),
    "stl10": Dataset(summary="STL-10", source=_TV + "stl10", classes=10, resolution=96, train=5_000, test=8_000, validation=500),
    "gtsrb": Dataset(summary="German traffic signs (GTSRB)", source=_TV + "gtsrb", classes=43, resolution=256, train=26_640, test=12_630, validation=2_664, storage="jpg"),
    "caltech101": Dataset(summary="Caltech-101, 30 images of every class train, a fixed draw", source=_TV + "caltech101", classes=101, resolution=256, train=3_030, test=5_647, validation=303, storage="jpg"),
    "caltech256": Dataset(summary="Caltech-256, 60 images of every class train, a fixed draw", source=_TV + "caltech256", classes=257, resolution=256, train=15_420, test=15_187, validation=1_542, storage="jpg"),
    "flowers102": Dataset(summary="Oxford Flowers 102", source=_TV + "flowers102", classes=102, resolution=256, train=2_040, test=6_149, validation=408, storage="jpg"),
    "oxford_iiit_pet": Dataset(summary="Oxford-IIIT Pet", source=_TV + "oxford_iiit_pet", classes=37, resolution=256, train=3_680, test=3_669, validation=370, storage="jpg"),
    "dtd": Dataset(summary="Describable Textures", source=_TV + "dtd", classes=47, resolution=256, train=3_760, test=1_880, validation=376, storage="jpg"),
    "food101": Dataset(summary="Food-101", source=_TV + "food101", classes=101, resolution=256, train=75_750, test=25_250, validation=7_575, storage="jpg"),
    "fgvc_aircraft": Dataset(summary="FGVC-Aircraft, variants", source=_TV + "fgvc_aircraft", classes=100, resolution=256, train=6_667, test=3_333, validation=667, storage="jpg"),
    "stanford_cars": Dataset(summary="Stanford Cars", source=_TV + "stanford_cars", classes=196, resolution=256, train=8_144, test=8_041, validation=814, storage="jpg"),
    "sun397": Dataset(summary="SUN397, a fixed stratified 80/20 split", source=_TV + "sun397", classes=397, resolution=256, train=87_004, test=21_750, validation=8_700, storage="jpg"),
    "eurosat": Dataset(summary="EuroSAT, a fixed stratified 80/20 split", source=_TV + "eurosat", classes=10, resolution=64, train=21_600, test=5_400, validation=2_160),
    "resisc45": Dataset(summary="NWPU-RESISC45, a fixed stratified 80/20 split", source=_TV + "resisc45", classes=45, resolution=256, train=25_200, test=6_300, validation=2_520, storage="jpg"),
    "pcam": Dataset(summary="PatchCamelyon", source=_TV + "pcam", classes=2, resolution=96, train=294_912, test=32_768, validation=32_768),
    "clevr_count": Dataset(summary="CLEVR: number of objects", source=_TV + "clevr_count", classes=8, resolution=256, train=70_000, test=15_000, validation=7_000, storage="jpg"),
    "kitti_distance": Dataset(summary="KITTI: distance of the closest vehicle, a fixed stratified split", source=_TV + "kitti_distance", classes=4, resolution=256, train=6_770, test=711, validation=677, storage="jpg"),
    "dsprites_location": Dataset(summary="dSprites: horizontal position in 16 bins, a fixed stratified 90/10 split", source=_TV + "dsprites_location", classes=16, resolution=64, train=663_552, test=73_728, validation=66_355),
    "dsprites_orientation": Dataset(summary="dSprites: orientation in 16 bins, a fixed stratified 90/10 split", source=_TV + "dsprites_orientation", classes=16, resolution=64, train=663_552, test=73_728, validation=66_355),
    "voc2007": Dataset(summary="PASCAL VOC boxes: 2007 and 2012 trainval train, 2007 test tests", source=_TV + "voc2007", classes=20, resolution=416, train=16_551, test=4_952, validation=1_000, storage="jpg", task="detection", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    "voc2012": Dataset(summary="PASCAL VOC 2012 masks: train trains, val tests", source=_TV + "voc2012", classes=21, resolution=513, train=1_464, test=1_449, validation=146, storage="jpg", task="segmentation"),
    "visda2017": Dataset(summary="VisDA-2017: rendered training images, the validation images test", source=_TV + "visda2017", classes=12, resolution=256, train=152_397, test=55_388, validation=15_240, storage="jpg"),
    "mnli": Dataset(summary="GLUE MNLI: does a sentence follow from another; matched development set tests", source=_TV + "mnli", classes=3, train=392_702, test=9_815, validation=5_000, splits=("mismatched",), **_SENTENCES),
    "qqp": Dataset(summary="GLUE QQP: do two questions ask the same", source=_TV + "qqp", classes=2, train=363_846, test=40_430, validation=5_000, **_SENTENCES | {"scores": ("accuracy", "f1")}),
    "stsb": Dataset(summary="GLUE STS-B: similarity of two sentences, 0 to 5", source=_TV + "stsb", classes=1, train=5_749, test=1_500, validation=287, **_SENTENCES | {"task": "sentence_regression", "scores": ("pearson", "spearman")}),
    "wnli": Dataset(summary="GLUE WNLI: what a pronoun refers to", source=_TV + "wnli", classes=2, train=635, test=71, validation=31, **_SENTENCES),
    "qnli": Dataset(summary="GLUE QNLI: does a sentence answer a question", source=_TV + "qnli", classes=2, train=104_743, test=5_463, validation=5_000, **_SENTENCES),
    "mrpc": Dataset(summary="GLUE MRPC: are two sentences paraphrases", source=_TV + "mrpc", classes=2, train=3_668, test=408, validation=183, **_SENTENCES | {"scores": ("accuracy", "f1")}),
    "rte": Dataset(summary="GLUE RTE: textual entailment", source=_TV + "rte", classes=2, train=2_490, test=277, validation=124, **_SENTENCES),
    "sst2": Dataset(summary="GLUE SST-2: sentiment of film reviews", source=_TV + "sst2", classes=2, train=67_349, test=872, validation=3_300, **_SENTENCES),
    "cola": Dataset(summary="GLUE CoLA: is a sentence grammatical", source=_TV + "cola", classes=2, train=8_551, test=1_043, validation=427, **_SENTENCES | {"scores": ("matthews",)}),
    "squad": Dataset(summary="SQuAD 1.1: answers in passages, windows of 384 tokens", source=_TV + "squad", classes=1, resolution=384, train=88_641, test=10_784, validation=4_400, task="question_answering", vocabulary="uncased", **_TEXTS),
    "mlm": Dataset(summary="your own text, files train.txt and test.txt, for masked language modelling", source=_TV + "mlm", classes=1, resolution=512, train=1_600_000, test=3_000, validation=3_000, task="masked_language_modelling", vocabulary="uncased", **_TEXTS),
    "python_docs": Dataset(summary="the documentation that ships with Python, for masked language modelling", source=_TV + "python_docs", classes=1, train=4_040, test=1_113, validation=300, task="masked_language_modelling", **_PYTHON),
    "python_topics": Dataset(summary="which subject of that documentation a passage is about", source=_TV + "python_topics", classes=12, train=3_000, test=800, validation=300, task="sentence_classification", scores=("accuracy",), **_PYTHON),
    "python_next": Dataset(summary="which of two sentences of a paragraph of it comes first", source=_TV + "python_next", classes=2, train=3_000, test=800, validation=300, task="sentence_classification", scores=("accuracy",), **_PYTHON),
    "python_similarity": Dataset(summary="similarity of two passages of it, one of them about graphics, 0 to 5", source=_TV + "python_similarity", classes=1, train=3_000, test=800, validation=300, task="sentence_regression", scores=("pearson", "spearman"), **_PYTHON),
    "imagenet": Dataset(summary="ImageNet-1k, folders train/ and val/", source=_TV + "folder", classes=1000, resolution=256, train=1_281_167, test=50_000, validation=10_000, storage="jpg"),
    "toy": Dataset(summary="embedded stand-in of another set's shape: toy(of=...)", source="bench.data.stand_ins:toy", classes=0, resolution=0, train=96, test=32, validation=32, embedded=True, options={"of": Option(kind=str, required=True)}),
    "folder": Dataset(summary="your own folders <name>/train/<class>/*, <name>/val/<class>/*: folder(name=..., classes=...)", source=_TV + "folder", classes=0, resolution=256, train=10_000, test=1_000, validation=1_000, storage="jpg", options={"name": Option(kind=str, required=True), "classes": Option(kind=int, required=True), "validation": Option(kind=int, default=1000)}),
}

# Of stand-ins by what limits the resolution of their task: pixels of scenes, tokens of texts.
STAND_IN = {"dense_resolution": 96, "text_length": 32}
