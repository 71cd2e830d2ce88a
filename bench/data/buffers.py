"""Memory for batches, used again once a batch is gone.

A batch of 64 images of 224 pixels is 39 MB, which the C library asks of the kernel and gives back every time; the
zeroing of its pages took 0.25 ms an image, where decoding, cropping and converting it take 0.6 ms.
"""

from __future__ import annotations

import functools
import math
import weakref
from collections import deque

import numpy as np
import torch
from torch import Tensor

from bench.data.records import Reals

WORTHWHILE = 1 << 15  # floats; the C library keeps smaller pieces itself
KEPT_SHAPES, KEPT_BUFFERS = 4, 6


def empty(shape: tuple[int, ...]) -> Tensor:
    """An uninitialised float32 tensor on the CPU.

    Its memory is handed out again only when no tensor and no array shares it any more.
    """
    if math.prod(shape) < WORTHWHILE:
        return torch.empty(shape, dtype=torch.float32)
    idle = _idle(shape)
    try:
        memory = idle.popleft()
    except IndexError:
        memory = np.empty(shape, np.float32)
    # The tensor's storage holds this array, and nothing else does: when it dies, the last user of the memory has.
    holder = memory.view()
    weakref.finalize(holder, idle.append, memory).atexit = False
    return torch.from_numpy(holder)


@functools.lru_cache(maxsize=KEPT_SHAPES)
def _idle(shape: tuple[int, ...]) -> deque[Reals]:
    """Memory of this shape that nobody uses."""
    return deque(maxlen=KEPT_BUFFERS)
