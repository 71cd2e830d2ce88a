"""Networks for scenes: a head that reads the feature maps of the body's stages takes the last linear layer's place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bench.models.errors import ModelError
from bench.models.modes import evaluation_mode
from bench.models.network import Network, check_resolution, head, seeded
from bench.models.rows import AllRows

# A body of coarser maps than this has its last stage dilated for segmentation.
OUTPUT_STRIDE = 16
PROBE = 64  # side of the image on which strides are measured: every stride of a body divides it
TASKS = ("segmentation", "detection")


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What one stage of a body puts out: maps of `channels`, one position every `stride` pixels."""

    channels: int
    stride: int


def attach_top(network: Network, task: str, classes: int, *, resolution: int, seed: int) -> None:
    """Turn a classification network into one for scenes of `classes` classes and `resolution` px, in place.

    The last linear layer becomes the identity; `network.top` maps feature maps to logits (segmentation) or detections,
    initialised from the seed; `network.all_rows` is where objectives look across the batch. For segmentation the last
    stage of a body of output stride 32 loses its stride and is dilated. The global random generator is left as it was.
    Raises ModelError for another task, for an architecture without stages, and for images it cannot read.
    """
    if task not in TASKS:
        raise ModelError(f"there is no head on feature maps for {task!r} (known: {', '.join(TASKS)})")
    if not network.stages:
        raise ModelError(f"{network.label} has no feature maps of stages: take a residual network for {task}")
    check_resolution(network, resolution)
    stages = measured(network)
    if task == "segmentation" and stages[-1].stride > OUTPUT_STRIDE:
        dilate(network.body.get_submodule(network.stages[-1]))
        stages = measured(network)
    channels, strides = [stage.channels for stage in stages], [stage.stride for stage in stages]
    weight = head(network).weight
    top = seeded(lambda: _maker(task)(channels, strides, classes), seed)
    network.body.set_submodule(network.head_name, nn.Identity())
    network.top = top.to(device=weight.device, dtype=weight.dtype)
    network.all_rows = AllRows()


@torch.no_grad()
def measured(network: Network) -> list[Stage]:
    """Channels and strides of the body's stages, from fine to coarse."""
    with evaluation_mode(network):
        maps = network.maps(torch.zeros(1, 3, PROBE, PROBE, device=head(network).weight.device))
    return [Stage(channels=found.shape[1], stride=PROBE // found.shape[-1]) for found in maps]


def _maker(task: str) -> Callable[[Sequence[int], Sequence[int], int], nn.Module]:
    # They import torchvision, which other networks may not need.
    if task == "segmentation":
        from bench.models.segmentation import segmenter

        return segmenter
    from bench.models.detection import detector

    return detector


def dilate(stage: nn.Module) -> None:
    """Take the stride of 2 from a stage and space its later kernels accordingly, in place.

    Every second position of its output is what the stage put out before. Chen et al. 2017, arXiv:1706.05587.
    """
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.stride == (2, 2):
            module.stride = (1, 1)
        elif module.kernel_size == (3, 3):
            module.dilation = module.padding = (2, 2)
