"""Mean intersection over union of segmented scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.metrics.evaluation import Conditions, Evaluation, finite, in_order
from bench.metrics.gallery import SHOWN, pictures
from bench.models.modes import evaluation_mode

NOT_COUNTED = 255
Counts = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`mean_iou` and `pixel_accuracy` in [0, 1] over the counted pixels of all images together, as the VOC devkit does.

    network(images) gives logits (n, classes, s, s); batch labels are (n, s, s) int64, 255 = not counted; of equal
    logits the first class counts. The mean is over the classes that truth or prediction hold somewhere, the background
    among them; classes that neither holds are left out. Per example `iou`, the same over one image, 1 where none of its
    pixels counts. details: `iou_by_class`, None for classes left out. Gallery: `images`, `truth` and `predicted` uint8.
    The network runs in evaluation mode and is left as it was. Raises ValueError for no examples, no counted pixel and
    outputs that are not finite. Everingham et al. 2010 (doi:10.1007/s11263-009-0275-4).
    """
    indices: list[Tensor] = []
    counts: list[Tensor] = []
    shown: list[tuple[Tensor, ...]] = []
    with evaluation_mode(network):
        for batch in conditions.batches():
            conditions.pause()
            logits = finite(network(batch.inputs))
            predicted = logits.argmax(dim=1)
            indices.append(batch.indices)
            counts.append(confusion(batch.labels, predicted, logits.shape[1]))
            places, images = pictures(batch)
            chosen = (batch.indices < SHOWN).to(predicted.device)
            masks = torch.stack([batch.labels[chosen], predicted[chosen]]).to(torch.uint8)
            shown.append((places, images, *masks))
    by_image = in_order(indices, counts)
    total = by_image.sum(axis=0)
    if not total.sum():
        raise ValueError(f"none of the pixels of {len(by_image)} images is counted: there is nothing to segment")
    first, *columns = zip(*shown, strict=True)
    gallery = {
        name: in_order(first, column) for name, column in zip(("images", "truth", "predicted"), columns, strict=True)
    }
    return Evaluation(
        metrics={"mean_iou": float(mean_iou(total)), "pixel_accuracy": float(np.trace(total) / total.sum())},
        examples={"iou": np.nan_to_num(mean_iou(by_image), nan=1.0)},
        details={"iou_by_class": [None if np.isnan(iou) else float(iou) for iou in ious(total)]},
        gallery=gallery,
    )


def confusion(truth: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Pixels of each image by true and predicted class, (n, classes, classes) int64, of those that are counted.

    Raises ValueError for a class that the network does not have.
    """
    counted = truth != NOT_COUNTED
    if bool(((truth < 0) | (truth >= classes))[counted].any()):
        raise ValueError(f"the masks hold classes outside the network's {classes}, and other than 255 (not counted)")
    image = torch.arange(len(truth), device=truth.device).view(-1, 1, 1)
    cells = ((image * classes + truth) * classes + predicted)[counted]
    return torch.bincount(cells, minlength=len(truth) * classes**2).view(-1, classes, classes)


def ious(counts: Counts) -> Reals:
    """Intersection over union by class, (..., classes), of pixels by true and predicted class; NaN where both are 0."""
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    either = counts.sum(axis=-1) + counts.sum(axis=-2) - both
    return _divided(both, either)


def mean_iou(counts: Counts) -> Reals:
    """Mean of `ious` over the classes that have one, (...); NaN where none has."""
    found = ious(counts)
    return _divided(np.nansum(found, axis=-1), (~np.isnan(found)).sum(axis=-1))


def _divided(part: npt.NDArray[Any], whole: Counts) -> Reals:
    quotient: Reals = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return quotient
