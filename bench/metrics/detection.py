"""Average precision of detected objects, by PASCAL VOC's eleven recalls and by COCO's hundred and one."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.metrics.evaluation import Conditions, Evaluation, in_order
from bench.metrics.gallery import SHOWN, pictures
from bench.models.modes import evaluation_mode

# tp / n and these are the nearest doubles to the same fractions: a recall of exactly 3/10 reaches 0.3.
RECALLS = {"voc": np.arange(11) / 10, "coco": np.arange(101) / 100}
DETECTIONS = 100  # of a class in an image, those of the highest scores
SHOWN_SCORE = 0.3
IMAGE, BOX, CLASS, DIFFICULT, SCORE = 0, slice(1, 5), 5, 6, 6
Rows = npt.NDArray[np.float64]


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`ap`, `ap50`, `coco_ap`, `coco_ap50` in [0, 1].

    ap50: precision at overlap 0.5, averaged over the recalls 0, 0.1, .., 1 (the largest at that recall or beyond), then
    over classes, as VOC 2007 does; `ap`: its mean over the overlaps 0.50, 0.55, .., 0.95. coco_*: over 101 recalls.
    Matching is pycocotools': areas without VOC's extra pixel, every detection takes the best object that is left. A
    detection of a difficult object counts neither for nor against (a second one of it does), a missed one nothing.
    Classes without other objects are left out of the means.

    network(images) gives n Detections; batch labels are the n images' objects. Per example `found`, objects found at
    overlap 0.5, of `objects`, difficult ones apart; details: `ap_by_class`, `ap50_by_class`. Gallery: `images` uint8,
    `truth_boxes`, `predicted_boxes` of score 0.3 and more: rows image, left, top, right, bottom, class, and difficult
    or score. The network runs in evaluation mode and is left as it was. Raises ValueError for no examples, no objects
    and outputs that are not finite. Everingham et al. 2010 (doi:10.1007/s11263-009-0275-4); Lin et al. 2014,
    arXiv:1405.0312.
    """
    indices: list[Tensor] = []
    truth: dict[int, Rows] = {}
    predicted: dict[int, Rows] = {}
    shown: list[tuple[Tensor, Tensor]] = []
    with evaluation_mode(network):
        for batch in conditions.batches():
            conditions.pause()
            indices.append(batch.indices)
            shown.append(pictures(batch))
            for index, objects, found in zip(batch.indices.tolist(), batch.labels, network(batch.inputs), strict=True):
                truth[index] = _rows(index, objects.boxes, objects.classes, objects.difficult)
                predicted[index] = _rows(index, found.boxes, found.classes, found.scores)
    order = in_order(indices, indices).tolist()
    true_rows, found_rows = (np.concatenate([rows[index] for index in order]) for rows in (truth, predicted))
    ap, found_objects = average_precision(true_rows, found_rows, n_images=len(order))
    counted = true_rows[true_rows[:, DIFFICULT] == 0, IMAGE].astype(np.int64)
    return Evaluation(
        metrics={
            "ap": float(ap["voc"].mean()),
            "ap50": float(ap["voc"][0].mean()),
            "coco_ap": float(ap["coco"].mean()),
            "coco_ap50": float(ap["coco"][0].mean()),
        },
        examples={"found": found_objects, "objects": np.bincount(counted, minlength=len(order))},
        details={
            "ap_by_class": _by_class(true_rows, ap["voc"].mean(axis=0)),
            "ap50_by_class": _by_class(true_rows, ap["voc"][0]),
        },
        gallery={
            "images": in_order(*zip(*shown, strict=True)),
            "truth_boxes": true_rows[true_rows[:, IMAGE] < SHOWN].astype(np.float32),
            "predicted_boxes": found_rows[
                (found_rows[:, IMAGE] < SHOWN) & (found_rows[:, SCORE] >= SHOWN_SCORE)
            ].astype(np.float32),
        },
    )


def average_precision(truth: Rows, predicted: Rows, *, n_images: int) -> tuple[dict[str, Rows], npt.NDArray[np.int64]]:
    """By "voc" and "coco": average precisions (10, classes) by overlap and by class that has objects, in their order.

    Also the objects found in every image at overlap 0.5, (n_images,). truth (t, 7), predicted (p, 7): see `evaluate`.
    Raises ValueError where no object counts.
    """
    if not (truth[:, DIFFICULT] == 0).any():
        raise ValueError(f"{n_images} images hold no object that counts: there is nothing to detect")
    # Importing it takes a while, and it prints what it does.
    from pycocotools.cocoeval import COCOeval

    precisions = {}
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(truth, n_images), _index(predicted, n_images, scored=True), "bbox")
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [DETECTIONS]
        evaluation.evaluate()
        for name, recalls in RECALLS.items():
            evaluation.params.recThrs = recalls
            evaluation.accumulate()
            # By overlap, recall and class; -1 for classes without objects.
            precision = evaluation.eval["precision"][:, :, :, 0, 0]
            precisions[name] = precision[:, :, precision[0, 0] >= 0].mean(axis=1)
    found = np.zeros(n_images, dtype=np.int64)
    for image in filter(None, evaluation.evalImgs):
        found[image["image_id"]] += int(((image["gtMatches"][0] > 0) & (image["gtIgnore"] == 0)).sum())
    return precisions, found


def _index(rows: Rows, n_images: int, *, scored: bool = False) -> Any:
    """The rows as pycocotools reads them. Ids start at 1: it takes 0 for "no match"."""
    from pycocotools.coco import COCO

    annotations = []
    for number, row in enumerate(rows.tolist(), start=1):
        left, top, right, bottom = row[BOX]
        # Objects outside the range of areas are ignored; as a "crowd" they would also overlap by another measure.
        ignored = not scored and row[DIFFICULT]
        annotation = {
            "id": number,
            "image_id": int(row[IMAGE]),
            "category_id": int(row[CLASS]),
            "bbox": [left, top, right - left, bottom - top],
            "area": -1.0 if ignored else (right - left) * (bottom - top),
            "iscrowd": 0,
        }
        annotations.append(annotation | {"score": row[SCORE]} if scored else annotation)
    index = COCO()
    index.dataset = {
        "images": [{"id": image} for image in range(n_images)],
        "categories": [{"id": number} for number in range(int(rows[:, CLASS].max(initial=0)) + 1)],
        "annotations": annotations,
    }
    index.createIndex()
    return index


def _rows(image: int, boxes: Tensor, classes: Tensor, last: Tensor) -> Rows:
    columns = [torch.full((len(boxes), 1), float(image)), boxes.cpu(), classes.cpu()[:, None], last.cpu()[:, None]]
    return torch.cat([column.double() for column in columns], dim=1).numpy()


def _by_class(truth: Rows, values: Rows) -> dict[str, float]:
    classes = np.unique(truth[truth[:, DIFFICULT] == 0, CLASS]).astype(np.int64)
    return {str(number): float(value) for number, value in zip(classes, values, strict=True)}
