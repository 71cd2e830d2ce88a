"""Windows into stored images, resampled to squares: images by a triangle filter, masks by the nearest pixel.

A window is (top, left, height, width) in float64 pixels of the stored image, whose first pixel covers 0 to 1; it may
reach beyond the image. An output pixel shows the outside where its centre lies there.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from bench.data.decode import unpack


@numba.njit(nogil=True, cache=True)
def cut_images(  # type: ignore[no-untyped-def]
    buffer, pointers, lengths, jpeg, heights, widths, rows, windows, flips, outside, out
):
    """Fill out (b, 3, s, s) float32 in [0, 1] with the rows' windows, mirrored where flips; -1, or the damaged row.

    buffer: the file's bytes; pointers, lengths, jpeg, heights, widths: (n,), by row. rows (b,); windows (b, 4);
    flips (b,); outside (3,) float32, of pixels outside of the image.
    Where a window is larger than `out`, the filter grows with it: no aliasing, as in Pillow.
    """
    largest, highest = 1, 1
    for r in rows:
        largest, highest = max(largest, heights[r] * widths[r]), max(highest, heights[r])
    side = out.shape[2]
    scratch = np.empty(3 * largest, np.uint8)
    lines = np.empty((highest, 3, side), np.float32)
    for i in range(len(rows)):
        r = rows[i]
        height, width = heights[r], widths[r]
        if not unpack(buffer, pointers[r], lengths[r], jpeg[r], height, width, scratch):
            return np.int64(r)
        image = scratch[: 3 * height * width].reshape(height, width, 3)
        top, left, high, wide = windows[i]
        first_y, count_y, weights_y = taps(top, high, height, side)
        first_x, count_x, weights_x = taps(left, wide, width, side)
        begin, end = height, 0
        for y in range(side):
            if count_y[y]:
                begin, end = min(begin, first_y[y]), max(end, first_y[y] + count_y[y])
        for y in range(begin, end):
            _across(image[y], first_x, count_x, weights_x, flips[i], lines[y])
        for y in range(side):
            for c in range(3):
                shown = out[i, c, y]
                if count_y[y] == 0:
                    shown[:] = outside[c]
                    continue
                shown[:] = np.float32(0)
                for t in range(count_y[y]):
                    line, weight = lines[first_y[y] + t, c], weights_y[y, t]
                    for x in range(side):
                        shown[x] += weight * line[x]
                for x in range(side):
                    shown[x] = min(shown[x] / np.float32(255), np.float32(1))
        for x in range(side):
            if count_x[x] == 0:
                at = side - 1 - x if flips[i] else x
                for c in range(3):
                    out[i, c, :, at] = outside[c]
    return np.int64(-1)


@numba.njit(nogil=True, cache=True)
def taps(start, extent, length, side):  # type: ignore[no-untyped-def]
    """first (s,), count (s,) and weights (s, k) float32 of one axis: output i is the sum over t < count[i] of
    weights[i, t] * input[first[i] + t]; a count of 0 where its centre lies outside of the input.

    The window is [start, start + extent) of `length` pixels. A triangle of half-width max(extent / s, 1) around the
    centre, cut at the edges and scaled to sum to 1.
    """
    scale = extent / side
    support = max(scale, 1.0)
    first, count = np.zeros(side, np.int64), np.zeros(side, np.int64)
    weights = np.zeros((side, 2 * math.ceil(support) + 1), np.float32)
    for i in range(side):
        centre = start + (i + 0.5) * scale
        if centre < 0 or centre >= length:
            continue
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), length)
        total = 0.0
        for t in range(high - low):
            total += max(0.0, support - abs(low + t + 0.5 - centre))
        for t in range(high - low):
            weights[i, t] = max(0.0, support - abs(low + t + 0.5 - centre)) / total
        first[i], count[i] = low, high - low
    return first, count, weights


@numba.njit(nogil=True, cache=True)
def _across(line, first, count, weights, flip, out):  # type: ignore[no-untyped-def]
    """Resample one line (w, 3) to out (3, s)."""
    side = out.shape[1]
    for x in range(side):
        red, green, blue = np.float32(0), np.float32(0), np.float32(0)
        for t in range(count[x]):
            weight, at = weights[x, t], first[x] + t
            red += weight * np.float32(line[at, 0])
            green += weight * np.float32(line[at, 1])
            blue += weight * np.float32(line[at, 2])
        at = side - 1 - x if flip else x
        out[0, at], out[1, at], out[2, at] = red, green, blue


@numba.njit(nogil=True, cache=True)
def cut_masks(masks, pointers, heights, widths, rows, windows, flips, outside, out):  # type: ignore[no-untyped-def]
    """Fill out (b, s, s) uint8 with the windows of the rows' masks, mirrored where flips, `outside` beyond the image.

    masks: bytes of all masks; pointers, heights, widths: (n,), by row.
    """
    side = out.shape[1]
    for i in range(len(rows)):
        r = rows[i]
        height, width = heights[r], widths[r]
        mask = masks[pointers[r] : pointers[r] + height * width].reshape(height, width)
        top, left, high, wide = windows[i]
        for y in range(side):
            at_y = math.floor(top + (y + 0.5) * (high / side))
            for x in range(side):
                at_x = math.floor(left + (x + 0.5) * (wide / side))
                inside = 0 <= at_y < height and 0 <= at_x < width
                out[i, y, side - 1 - x if flips[i] else x] = mask[at_y, at_x] if inside else outside
