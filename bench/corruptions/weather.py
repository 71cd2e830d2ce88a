"""Weather: snow, frost, fog, brightness. Signatures as in noise.py."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.corruptions.draws import Draws
from bench.corruptions.sampling import plasma, streak, zoom

GREY = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601


def snow(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Flakes, smeared at -135 to -45 degrees and laid over a whitened image, once as drawn and once turned by 180."""
    mean, deviation, size, threshold, radius, smear, mix = constants
    flakes = zoom(mean + deviation * draws.normal(1, *images.shape[2:]), size)
    flakes = flakes.masked_fill(flakes < threshold, 0.0).clamp(0, 1)
    layer = streak(flakes, 90 * draws.uniform(part=1) - 135, radius=radius, deviation=smear)
    grey = torch.einsum("nchw,c->nhw", images, images.new_tensor(GREY))[:, None]
    whitened = mix * images + (1 - mix) * torch.maximum(images, 1.5 * grey + 0.5)
    return whitened + layer + layer.rot90(2, dims=(2, 3))


def frost(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """The image under ice: a weighted sum with `ice`. The published generators take six photographs in its place."""
    share, of_frost = constants
    return share * images + of_frost * ice(images.shape[-1], draws)


def ice(side: int, draws: Draws) -> Tensor:
    """(n, 3, side, side) in [0, 1]: bluish patches of crystals with bright ridges, drawn for every example.

    Mean, spread within an image and between images, and tint are those of crops of the published photographs.
    """
    size = _power_of_two(side)
    patches = plasma(draws.uniform(size, size), 1.7)
    # Two fields cross their middle along curves; near them lie the ridges of the crystals.
    fields = [plasma(draws.uniform(size, size, part=part), 1.35) for part in (1, 2)]
    ridges = torch.stack([torch.exp(-12 * (field - 0.5).abs()) for field in fields]).amax(dim=0)
    grain = draws.uniform(size, size, part=3) - 0.5
    base = 0.2 + 0.45 * draws.uniform(1, 1, part=4)
    crystals = (base + 0.3 * patches + 0.45 * ridges * patches + 0.12 * grain).clamp(0, 1)
    tint = crystals.new_tensor([0.81, 0.93, 1.0])
    return (tint[:, None, None] * crystals[:, None])[..., :side, :side]


def fog(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Clouds added, then scaled so that the image's brightest value stays the brightest possible."""
    share, decay = constants
    side = images.shape[-1]
    size = _power_of_two(side)
    clouds = plasma(draws.uniform(size, size), decay)[:, None, :side, :side]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + share * clouds) * brightest / (brightest + share)


def brightness(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """The value of HSV raised, hue and saturation kept: all channels of a pixel are multiplied alike; black is grey."""
    (raised,) = constants
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + raised).clamp(max=1)
    return torch.where(value > 0, images * (brighter / value.clamp(min=1e-9)), brighter)


def _power_of_two(side: int) -> int:
    return 1 << math.ceil(math.log2(side))
