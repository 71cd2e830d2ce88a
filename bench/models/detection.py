"""FCOS on a body's feature maps: a pyramid, and two towers that say what and how large an object is at every place.

Tian et al. 2019, arXiv:1904.01355. Its parts are torchvision's; images come in one size and are normalised already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSClassificationHead, FCOSHead, FCOSRegressionHead
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from bench.models.dense import measured
from bench.models.network import Network

FINEST_STRIDE = 4  # objects are looked for on maps of this stride and coarser ones
EXTRA_LEVELS = 2
# Of the bodies with at least BIG channels, and of small ones.
BIG = 256
WIDTHS, CONVOLUTIONS = {True: 256, False: 48}, {True: 4, False: 1}
CHANNELS_PER_GROUP = 8  # of group normalisation
SCORE_THRESHOLD, NMS_THRESHOLD, DETECTIONS = 0.05, 0.6, 100


class Scene(Protocol):
    """The objects of an image: boxes (m, 4) left, top, right, bottom in pixels, classes (m,), difficult (m,) bool."""

    @property
    def boxes(self) -> Tensor: ...
    @property
    def classes(self) -> Tensor: ...
    @property
    def difficult(self) -> Tensor: ...


class Detections(NamedTuple):
    """boxes (m, 4) left, top, right, bottom in pixels, inside the image; scores (m,) falling, classes (m,) int64."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class Predictions(NamedTuple):
    """What the towers say at every place of every level, and the anchors (p, 4): squares of a stride's side around it.

    outputs: "cls_logits" (n, p, classes), "bbox_regression" (n, p, 4), "bbox_ctrness" (n, p, 1), float32 or wider.
    places: their number on each level.
    """

    outputs: dict[str, Tensor]
    anchors: Tensor
    places: list[int]


class Detector(nn.Module):
    """Maps of the stages (n, c, h, h), from fine to coarse, and the images -> a list of n `Detections`."""

    def __init__(self, fcos: FCOS, strides: Sequence[int]) -> None:
        super().__init__()
        self.fcos, self.strides = fcos, tuple(strides)

    def forward(self, maps: Sequence[Tensor], images: Tensor) -> list[Detections]:
        side = images.shape[-1]
        outputs, anchors, places = self.predict(maps, side)
        if not all(torch.isfinite(values).all() for values in outputs.values()):
            raise ValueError("the network's outputs are not finite: its training diverged")
        by_level = {name: torch.split(values, places, dim=1) for name, values in outputs.items()}
        n = len(outputs["cls_logits"])
        found = self.fcos.postprocess_detections(by_level, [torch.split(anchors, places)] * n, [(side, side)] * n)
        return [Detections(image["boxes"], image["scores"], image["labels"]) for image in found]

    def predict(self, maps: Sequence[Tensor], side: int) -> Predictions:
        """The towers' outputs, before scores, boxes and the suppression of duplicates."""
        levels = self.fcos.backbone(maps)
        outputs = self.fcos.head(levels)
        outputs = {name: value if value.dtype == torch.float64 else value.float() for name, value in outputs.items()}
        grids = [level.shape[-2:] for level in levels]
        generator = self.fcos.anchor_generator
        generator.set_cell_anchors(outputs["cls_logits"].dtype, levels[0].device)
        # Its own forward takes the side over the map's for the stride, which is wrong where it does not divide.
        anchors = generator.grid_anchors(grids, [[stride, stride] for stride in self.strides])
        return Predictions(outputs, torch.cat(anchors), [len(level) for level in anchors])

    def losses(self, predictions: Predictions, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
        """Sum of focal, GIoU and centreness losses over all places, and the number of places inside an object.

        Difficult objects are no targets: their places count as background.
        """
        targets = [
            {"boxes": scene.boxes[~scene.difficult], "labels": scene.classes[~scene.difficult]} for scene in scenes
        ]
        outputs, anchors, places = predictions
        found = self.fcos.compute_loss(targets, outputs, [anchors] * len(targets), places)
        inside = found.pop("places_inside")
        return sum(found.values(), start=torch.zeros_like(inside)) * inside.clamp(min=1), inside


class Head(nn.Module):
    """torchvision's head, whose losses also tell by what they are divided."""

    def __init__(self, towers: FCOSHead) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, levels: list[Tensor]) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.towers(levels)
        return outputs

    def compute_loss(
        self, targets: list[dict[str, Tensor]], outputs: dict[str, Tensor], anchors: list[Tensor], matched: list[Tensor]
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.towers.compute_loss(targets, outputs, anchors, matched)
        inside = (torch.stack(matched) >= 0).sum()
        return {**losses, "places_inside": inside.to(losses["classification"].dtype)}


class Pyramid(nn.Module):
    """Maps of the stages -> maps of equal width: a feature pyramid over the stages from `first` on, and coarser ones.

    Lin et al. 2017, arXiv:1612.03144.
    """

    def __init__(self, channels: Sequence[int], width: int, *, first: int) -> None:
        super().__init__()
        self.out_channels, self.first = width, first
        self.levels = FeaturePyramidNetwork(list(channels[first:]), width, LastLevelP6P7(width, width))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return list(self.levels({str(place): found for place, found in enumerate(maps[self.first :])}).values())


def detector(network: Network, classes: int) -> Detector:
    """A fresh head of torchvision's initialisation, on maps from a quarter of the last one's stride on."""
    stages = measured(network)
    channels, strides = [stage.channels for stage in stages], [stage.stride for stage in stages]
    big = channels[-1] >= BIG
    first = next(place for place, stride in enumerate(strides) if stride >= max(FINEST_STRIDE, strides[-1] // 4))
    levels = [*strides[first:], *(strides[-1] << extra for extra in range(1, EXTRA_LEVELS + 1))]
    width, convolutions = WIDTHS[big], CONVOLUTIONS[big]
    groups = partial(nn.GroupNorm, width // CHANNELS_PER_GROUP)
    towers = FCOSHead(width, 1, classes, num_convs=0)
    towers.classification_head = FCOSClassificationHead(width, 1, classes, convolutions, norm_layer=groups)
    towers.regression_head = FCOSRegressionHead(width, 1, convolutions, norm_layer=groups)
    fcos = FCOS(
        Pyramid(channels, width, first=first),
        classes,
        anchor_generator=AnchorGenerator(tuple((stride,) for stride in levels), ((1.0,),) * len(levels)),
        head=Head(towers),
        score_thresh=SCORE_THRESHOLD,
        nms_thresh=NMS_THRESHOLD,
        detections_per_img=DETECTIONS,
    )
    return Detector(fcos, levels)
