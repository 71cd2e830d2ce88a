"""How an image is stored: resized and, in large sets, compressed."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from bench.data.errors import DataError
from bench.data.layout import JPEG, PAGE, RAW, Encoded
from bench.data.records import Bytes, Images

QUALITY = 90  # of JPEG, as FFCV's default


def encode(images: Images, *, resolution: int, storage: str) -> Iterator[Encoded]:
    """The images in order, resized and encoded by as many threads as there are cores, a bounded number ahead."""
    threads = os.cpu_count() or 1

    def one(i: int) -> Encoded:
        return encode_image(images.image(i), resolution=resolution, storage=storage)

    with ThreadPoolExecutor(threads) as executor:
        indices = iter(range(len(images.labels)))
        ahead: deque[Future[Encoded]] = deque(executor.submit(one, i) for i in itertools.islice(indices, 16 * threads))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(executor.submit(one, i) for i in itertools.islice(indices, 1))


def encode_image(pixels: Bytes, *, resolution: int, storage: str) -> Encoded:
    """One (h, w, 3) image as stored: raw at resolution x resolution, or JPEG with the shorter side at most that."""
    from PIL import Image

    height, width = pixels.shape[:2]
    if storage == "raw":
        pixels = resize_square(pixels, resolution)
        encoded = Encoded(RAW, resolution, resolution, pixels.tobytes())
    else:
        image = Image.fromarray(pixels)
        size = stored_size(height, width, resolution=resolution, storage=storage)
        if size != (height, width):
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=QUALITY)
        encoded = Encoded(JPEG, image.height, image.width, out.getvalue())
    if len(encoded.payload) > PAGE:
        raise DataError(f"an image of {height} x {width} pixels needs more than {PAGE} bytes: ask for less resolution")
    return encoded


def stored_size(height: int, width: int, *, resolution: int, storage: str) -> tuple[int, int]:
    """Height and width at which `encode_image` stores an image."""
    if storage == "raw":
        return resolution, resolution
    scale = resolution / min(height, width)
    if scale >= 1:
        return height, width
    return max(resolution, round(height * scale)), max(resolution, round(width * scale))


def resize_square(pixels: Bytes, resolution: int) -> Bytes:
    """(resolution, resolution, 3): the mean of whole blocks where they fit, else bilinear with antialiasing."""
    height, width = pixels.shape[:2]
    if height == width and height % resolution == 0:
        block = height // resolution
        sums = pixels.reshape(resolution, block, resolution, block, 3).sum(axis=(1, 3), dtype=np.int64)
        means: Bytes = ((sums + block * block // 2) // (block * block)).astype(np.uint8)
        return means
    from PIL import Image

    resized: Bytes = np.asarray(Image.fromarray(pixels).resize((resolution, resolution), Image.Resampling.BILINEAR))
    return resized
