"""Compiled, GIL-free crops of the two views of an image: resized and mirrored.

numba renews a cached kernel when its own file changes, not when another does: kernels stand with what they call.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from bench.data.decode import unpack

# Sums may be reordered into vectors and fused; nothing below meets a NaN.
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "nnan"})
_ZERO, _HALF, _TOP = np.float32(0), np.float32(0.5), np.float32(255)


@_compiled
def cut_rows(images, rows, boxes, mirrored, out):  # type: ignore[no-untyped-def]
    """Fill out (2b, 3, s, s) float32 in [0, 1] with two crops of each of the rows (b,) of images (n, 3, h, w) uint8."""
    for j in range(len(out)):
        cut(images[rows[j % len(rows)]], boxes[j], mirrored[j], False, np.float32(1 / 255), out[j])


@_compiled
def cut_stored(stored, boxes, mirrored, unit, first, second):  # type: ignore[no-untyped-def]
    """Fill first and second (b, 3, s, s) with two crops of each image, decoded once; -1, or the damaged row.

    Values are rounded to 0..255, as PIL's, then multiplied with `unit`. boxes (2b, 4), mirrored (2b,).
    stored: buffer, pointers, lengths, jpeg, heights, widths, rows as in bench.data.decode.decode.
    """
    buffer, pointers, lengths, jpeg, heights, widths, rows = stored
    memory = np.empty(3 * (heights[rows] * widths[rows]).max(), np.uint8)
    for i in range(len(rows)):
        r = rows[i]
        if not unpack(buffer, pointers[r], lengths[r], jpeg[r], heights[r], widths[r], memory):
            return r
        image = memory[: 3 * heights[r] * widths[r]].reshape(1, heights[r], 3 * widths[r])
        cut(image, boxes[i], mirrored[i], True, unit, first[i])
        cut(image, boxes[len(rows) + i], mirrored[len(rows) + i], True, unit, second[i])
    return np.int64(-1)


@_compiled
def cut(image, box, mirrored, rounded, unit, out):  # type: ignore[no-untyped-def]
    """Fill out (3, s, s) with the box (top, left, height, width), resized, mirrored or not, in units of 1 / `unit`.

    image: uint8, (3, h, w) planes or (1, h, 3 w) pixels. Bilinear with antialiasing, as PIL and torchvision.
    """
    top, left, side = np.int64(box[0]), np.int64(box[1]), out.shape[1]
    step = 3 // image.shape[0]  # values from one pixel to the next
    rows, row_weights = taps(np.int64(box[2]), side, False)
    columns, column_weights = taps(np.int64(box[3]), side, mirrored)
    for x in range(side):
        columns[x] *= step
    line, resized = np.empty(np.int64(box[3]) * step, np.float32), np.empty(side, np.float32)
    for p in range(image.shape[0]):
        for y in range(side):
            blend_rows(image, p, top + rows[y], left * step, row_weights, y, line)
            for c in range(step):
                resize_line(line, c, step, columns, column_weights, resized)
                if rounded:
                    for x in range(side):
                        out[p * step + c, y, x] = np.float32(np.int32(resized[x] + _HALF)) * unit
                else:
                    # The weights' rounding may lead above the top.
                    for x in range(side):
                        out[p * step + c, y, x] = min(resized[x], _TOP) * unit


@_compiled
def taps(length, side, mirrored):  # type: ignore[no-untyped-def]
    """first (s,) int32 and weights (k, s): output i shows sum over t of weights[t, i] * input[first[i] + t].

    A triangle of half-width max(length / s, 1) input pixels around the output pixel's centre, summing to 1.
    """
    scale = length / side
    support = max(scale, 1.0)
    count = min(math.ceil(2 * support), length)
    first, weights = np.empty(side, np.int32), np.empty((count, side), np.float32)
    for i in range(side):
        centre = (i + 0.5) * scale
        low = min(max(math.floor(centre - support + 0.5), 0), length - count)
        total = 0.0
        for t in range(count):
            total += max(0.0, support - abs(low + t + 0.5 - centre))
        at = side - 1 - i if mirrored else i
        first[at] = low
        for t in range(count):
            weights[t, at] = max(0.0, support - abs(low + t + 0.5 - centre)) / total
    return first, weights


@_compiled
def blend_rows(image, plane, first, begin, weights, y, out):  # type: ignore[no-untyped-def]
    """out = sum over t of weights[t, y] * image[plane, first + t, begin:], over the length of `out`."""
    # Indices into whole arrays: a slice costs as much as 50 pixels. Unsigned ones spare numba's test for negative ones.
    p, row, start = np.uint64(plane), np.uint64(first), np.uint64(begin)
    if len(weights) == 2:
        a, b, below = weights[0, y], weights[1, y], row + np.uint64(1)
        for x in range(len(out)):
            at = start + np.uint64(x)
            out[x] = a * np.float32(image[p, row, at]) + b * np.float32(image[p, below, at])
        return
    for x in range(len(out)):
        out[x] = _ZERO
    for t in range(len(weights)):
        a, below = weights[t, y], row + np.uint64(t)
        for x in range(len(out)):
            out[x] += a * np.float32(image[p, below, start + np.uint64(x)])


@_compiled
def resize_line(line, channel, step, first, weights, out):  # type: ignore[no-untyped-def]
    """out[x] = sum over t of weights[t, x] * line[first[x] + t * step + channel]."""
    shift, far = np.uint64(channel), np.uint64(channel + step)
    if len(weights) == 2:
        for x in range(len(out)):
            at = np.uint64(first[x])
            out[x] = weights[0, x] * line[at + shift] + weights[1, x] * line[at + far]
        return
    for x in range(len(out)):
        out[x] = _ZERO
    for t in range(len(weights)):
        shift = np.uint64(t * step + channel)
        for x in range(len(out)):
            out[x] += weights[t, x] * line[np.uint64(first[x]) + shift]
