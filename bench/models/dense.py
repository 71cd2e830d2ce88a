"""The feature maps that heads for scenes read, measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.models.errors import ModelError
from bench.models.modes import evaluation_mode
from bench.models.network import Network

PROBE = 64  # side of the image on which strides are measured: every stride of a body divides it


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What one stage of a body puts out: maps of `channels`, one position every `stride` pixels."""

    channels: int
    stride: int


@torch.no_grad()
def measured(network: Network) -> list[Stage]:
    """Channels and strides of the body's stages, from fine to coarse. Raises ModelError if it has none."""
    if not network.stages:
        raise ModelError(f"{network.label} has no feature maps of stages: take a residual network for scenes")
    with evaluation_mode(network):
        maps = network.maps(network.blank(PROBE))
    return [Stage(channels=found.shape[1], stride=PROBE // found.shape[-1]) for found in maps]
