"""The losses of FCOS: class, box and centreness at every place of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from bench.models import Network
from bench.models.detection import Detector, Scene
from bench.spec import Recipe


def loss(
    network: Network, images: Tensor, labels: Sequence[Scene], *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of focal, GIoU and centreness losses over the places inside objects, and the class logits (n, p, classes).

    images (n, 3, s, s) in [0, 1], labels: the objects of n images, none or more; difficult ones are no targets.
    Sum and number of places are those of the batch of all processes, the same in each; without any object the number
    is taken for 1. Reads no seed, step, indices or label smoothing. Tian et al. 2019, arXiv:1904.01355.
    """
    detector = cast(Detector, network.top)
    predictions = detector.predict(network.maps(images), images.shape[-1])
    with torch.autocast(images.device.type, enabled=False):
        total, inside = detector.losses(predictions, labels)
        # A row per image, as the layer across processes wants them; only their sum is read.
        rows = (torch.stack([total, inside]) / len(images)).expand(len(images), 2)
        total, inside = cast(Tensor, network.all_rows(rows)).sum(0)
    return total / inside.clamp(min=1), predictions.outputs["cls_logits"]
