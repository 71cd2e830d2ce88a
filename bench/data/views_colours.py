"""Compiled, GIL-free colour jitter, grey and blur, in place on planes of float32 in [0, 1].

Each operation is torchvision.transforms.functional's on float tensors, up to rounding. Kernels stand with what they
call, see bench.data.views_crops. p: pixels of a plane, s its side.
"""

from __future__ import annotations

import math

import numba
import numpy as np

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# ITU-R 601-2 luma as torchvision has it: the weights sum to 0.9999.
RED, GREEN, BLUE = np.float32(0.2989), np.float32(0.587), np.float32(0.114)
CHUNK = 2048  # pixels whose three channels stay in the first-level cache from one operation to the next
_ZERO, _ONE, _TWO, _FOUR, _SIX = (np.float32(number) for number in (0, 1, 2, 4, 6))

# Sums may be reordered into vectors and fused; nothing below meets a NaN.
_compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "nnan"})


@_compiled
def recolour_planes(images, order, factors, grey, sigmas, radius):  # type: ignore[no-untyped-def]
    """Jitter, grey and blur images (m, 3, s, s); arguments as bench.data.views.Drawn has them."""
    side = images.shape[2]
    scratch = np.empty((side, side), np.float32)
    for j in range(len(images)):
        recolour(images[j].reshape(3, side * side), order[j], factors[j], grey[j])
        if sigmas[j] > 0:
            blur(images[j], sigmas[j], radius, scratch)


@_compiled
def recolour(planes, order, factors, grey):  # type: ignore[no-untyped-def]
    """Adjust planes (3, p) in place: the operations of order (4,) one after another, -1 none; then grey where asked.

    factors (4,), by operation: of brightness, contrast and saturation; hue's shift is in turns.
    Two passes: the mean that contrast refers to is that of the image as the operations before it left it.
    """
    pixels, contrast = planes.shape[1], 0
    while contrast < 4 and order[contrast] != CONTRAST:
        contrast += 1
    total = 0.0
    for start in range(0, pixels, CHUNK):
        r, g, b = planes[0, start : start + CHUNK], planes[1, start : start + CHUNK], planes[2, start : start + CHUNK]
        for j in range(contrast):
            adjust(r, g, b, order[j], factors)
        if contrast < 4:
            total += luma(r, g, b)
        elif grey:
            to_grey(r, g, b)
    if contrast == 4:
        return
    factor = factors[CONTRAST]
    shift = np.float32((1 - np.float64(factor)) * (total / pixels))
    for start in range(0, pixels, CHUNK):
        r, g, b = planes[0, start : start + CHUNK], planes[1, start : start + CHUNK], planes[2, start : start + CHUNK]
        scale(r, factor, shift)
        scale(g, factor, shift)
        scale(b, factor, shift)
        for j in range(contrast + 1, 4):
            adjust(r, g, b, order[j], factors)
        if grey:
            to_grey(r, g, b)


@_compiled
def adjust(r, g, b, operation, factors):  # type: ignore[no-untyped-def]
    """Brightness, saturation or hue of the pixels, in place; nothing for another operation."""
    if operation == BRIGHTNESS:
        scale(r, factors[BRIGHTNESS], _ZERO)
        scale(g, factors[BRIGHTNESS], _ZERO)
        scale(b, factors[BRIGHTNESS], _ZERO)
    elif operation == SATURATION:
        saturate(r, g, b, factors[SATURATION])
    elif operation == HUE and factors[HUE] != 0:
        turn(r, g, b, factors[HUE])


@_compiled
def luma(r, g, b):  # type: ignore[no-untyped-def]
    """Sum of the grey values of the pixels."""
    total = _ZERO
    for x in range(len(r)):
        total += RED * r[x] + GREEN * g[x] + BLUE * b[x]
    return np.float64(total)


@_compiled
def to_grey(r, g, b):  # type: ignore[no-untyped-def]
    for x in range(len(r)):
        grey = RED * r[x] + GREEN * g[x] + BLUE * b[x]
        r[x] = grey
        g[x] = grey
        b[x] = grey


@_compiled
def scale(plane, factor, shift):  # type: ignore[no-untyped-def]
    for x in range(len(plane)):
        plane[x] = min(max(factor * plane[x] + shift, _ZERO), _ONE)


@_compiled
def saturate(r, g, b, factor):  # type: ignore[no-untyped-def]
    rest = _ONE - factor
    for x in range(len(r)):
        grey = rest * (RED * r[x] + GREEN * g[x] + BLUE * b[x])
        r[x] = min(max(factor * r[x] + grey, _ZERO), _ONE)
        g[x] = min(max(factor * g[x] + grey, _ZERO), _ONE)
        b[x] = min(max(factor * b[x] + grey, _ZERO), _ONE)


@_compiled
def turn(r, g, b, turns):  # type: ignore[no-untyped-def]
    """Hue of the pixels moved by `turns` in [-0.5, 0.5]: through HSV, but with one division and no branch.

    A channel of hue h (in sixths of a turn), value v and chroma c is v - c * clip(min(k, 4 - k), 0, 1) where
    k = (h + 5, 3 or 1 for red, green, blue) mod 6.
    """
    shift = np.float32(turns * _SIX)
    if shift < 0:
        shift += _SIX
    for x in range(len(r)):
        red, green, blue = r[x], g[x], b[x]
        value = max(red, max(green, blue))
        chroma = value - min(red, min(green, blue))
        offset = _TWO if value == green else _FOUR
        difference = blue - red if value == green else red - green
        offset = _ZERO if value == red else offset
        difference = green - blue if value == red else difference
        hue = offset + difference / (chroma if chroma > 0 else _ONE) + shift
        r[x] = value - chroma * _ramp(hue + np.float32(5))
        g[x] = value - chroma * _ramp(hue + np.float32(3))
        b[x] = value - chroma * _ramp(hue + _ONE)


@_compiled
def _ramp(hue):  # type: ignore[no-untyped-def]
    """clip(min(k, 4 - k), 0, 1) for k = hue mod 6, hue in [0, 18)."""
    k = hue - _SIX if hue >= _SIX else hue
    k = k - _SIX if k >= _SIX else k
    return min(max(min(k, _FOUR - k), _ZERO), _ONE)


@_compiled
def blur(planes, sigma, radius, scratch):  # type: ignore[no-untyped-def]
    """Blur planes (3, s, s) in place with a Gaussian of `sigma` pixels cut off at `radius` < s, edges reflected.

    A row at a time, which stays in the cache: first across the rows around it, then along it. scratch: (s, s).
    """
    side, kernel = planes.shape[1], gaussian(sigma, radius)
    reach = len(kernel) - 1
    padded = np.zeros(side + 2 * reach, np.float32)
    row, copy = padded[reach : reach + side], scratch.reshape(side * side)
    for c in range(3):
        plane = planes[c].reshape(side * side)
        for x in range(side * side):
            copy[x] = plane[x]
        for y in range(side):
            for x in range(side):
                row[x] = kernel[0] * scratch[y, x]
            for t in range(1, reach, 3):
                add_across(scratch, y, t, kernel, row)
            for t in range(1, min(radius, reach) + 1):
                padded[reach - t] = row[t]
                padded[reach + side - 1 + t] = row[side - 1 - t]
            blurred = planes[c, y]
            for x in range(side):
                blurred[x] = kernel[0] * row[x]
            for t in range(1, reach, 3):
                add_along(padded, reach, t, kernel, blurred)
            # The weights' rounding may lead above 1.
            for x in range(side):
                blurred[x] = min(blurred[x], _ONE)


@_compiled
def add_across(plane, y, t, kernel, out):  # type: ignore[no-untyped-def]
    """Add to out (s,) the rows at distance t, t + 1 and t + 2 from row y, weighted."""
    # Indices into whole arrays: a slice costs as much as 50 pixels. Unsigned ones spare numba's test for negative ones.
    a, b = _inside(y - t, len(plane)), _inside(y + t, len(plane))
    c, d = _inside(y - t - 1, len(plane)), _inside(y + t + 1, len(plane))
    e, f = _inside(y - t - 2, len(plane)), _inside(y + t + 2, len(plane))
    near, middle, far = kernel[t], kernel[t + 1], kernel[t + 2]
    for x in range(len(out)):
        out[x] += (
            near * (plane[a, x] + plane[b, x])
            + middle * (plane[c, x] + plane[d, x])
            + far * (plane[e, x] + plane[f, x])
        )


@_compiled
def add_along(line, first, t, kernel, out):  # type: ignore[no-untyped-def]
    """Add to out[x] the pixels at distance t, t + 1 and t + 2 from line[first + x], weighted."""
    low, high = np.uint64(first - t - 2), np.uint64(first + t)
    near, middle, far = kernel[t], kernel[t + 1], kernel[t + 2]
    one, two = np.uint64(1), np.uint64(2)
    for x in range(len(out)):
        i, j = low + np.uint64(x), high + np.uint64(x)
        pairs = near * (line[i + two] + line[j]) + middle * (line[i + one] + line[j + one])
        out[x] += pairs + far * (line[i] + line[j + two])


@_compiled
def gaussian(sigma, radius):  # type: ignore[no-untyped-def]
    """Weights of the centre and of the pixels at distance 1, 2, ..: a multiple of three, zeros beyond `radius`.

    Those that vanish beside 1 in float32 are left out.
    """
    total, reach = 1.0, 0
    for t in range(1, radius + 1):
        weight = math.exp(-0.5 * (t / sigma) ** 2)
        total += 2 * weight
        if weight > 1e-8:
            reach = t
    kernel = np.zeros(1 + 3 * ((reach + 2) // 3), np.float32)
    for t in range(reach + 1):
        kernel[t] = math.exp(-0.5 * (t / sigma) ** 2) / total
    return kernel


@_compiled
def _inside(at, side):  # type: ignore[no-untyped-def]
    """The place of a pixel of a reflected image; the last one where that reaches farther than the image."""
    return np.uint64(min(abs(side - 1 - abs(side - 1 - at)), side - 1))
