"""Corruptions by name: pure functions of the image, the severity and (seed, index)."""

from __future__ import annotations

from torch import Tensor

from bench.corruptions import CORRUPTIONS, SEVERITIES, blur, digital, noise, weather
from bench.corruptions.draws import Draws
from bench.corruptions.severities import constants

FUNCTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
}


def corrupt(images: Tensor, corruption: str, severity: int, *, seed: int, indices: Tensor) -> Tensor:
    """Images (n, 3, h, h) in [0, 1], h >= 8, corrupted and cut down to 256 levels, as the published files store them.

    indices (n,) int64: positions in the split; an example's corruption is a function of (seed, corruption, severity,
    index) and of its image. Severities are 1 to 5. Raises ValueError for others and for images of other shapes.
    """
    if corruption not in CORRUPTIONS or severity not in SEVERITIES:
        known = f"known: {', '.join(CORRUPTIONS)} at severities {SEVERITIES[0]} to {SEVERITIES[-1]}"
        raise ValueError(f"no corruption {corruption!r} of severity {severity} ({known})")
    channels, height, width = images.shape[1:]
    if channels != 3 or height != width or height < 8:
        raise ValueError(f"corruptions need square RGB images of 8 px and more, found {tuple(images.shape)}")
    stream = CORRUPTIONS.index(corruption) * len(SEVERITIES) + severity
    draws = Draws(seed=seed, stream=stream, indices=indices.to(images.device))
    # Doubles: single precision rounds sums by the size of the batch, which is seen where values are cut to levels.
    corrupted = FUNCTIONS[corruption](images.double(), constants(corruption, severity, height), draws)
    levels = (corrupted.clamp(0, 1) * 255 + 1e-6).floor()
    return (levels / 255).to(images.dtype)
