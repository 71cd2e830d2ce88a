"""FFCV's compiled image kernels (libjpeg-turbo decoding, OpenCV area resizing) called from numba, without the GIL.

FFCV's Python pipelines are not used. They compile anew in every process and for every loader (15 to 20 s; the kernels
here come from numba's disk cache), draw their crops inside threads, so that no epoch can be repeated or resumed, hang
the consumer when a decoder fails, and set torch's thread count. `import ffcv` alone takes 4 s: the library is loaded by
its path.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numba import types

from bench.data.errors import DataError


def _library() -> ctypes.CDLL:
    spec = importlib.util.find_spec("ffcv")
    found = [path for folder in (spec.submodule_search_locations or () if spec else ()) for path in _compiled(folder)]
    if not found:
        raise DataError("FFCV is not installed in this environment. Run `make setup`")
    try:
        return ctypes.CDLL(str(found[0]))
    except OSError as error:
        raise DataError(
            f"FFCV's library does not load ({error}). Install OpenCV and libturbojpeg: `make setup`"
        ) from error


def _compiled(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("_libffcv*.so"))


# Own symbol names: machine code cached on disk finds the functions again by name in the next process.
_LIBRARY = _library()
for _name in ("imdecode", "resize"):
    _address = ctypes.cast(getattr(_LIBRARY, _name), ctypes.c_void_p).value
    binding.add_symbol(f"ticketbench_ffcv_{_name}", _address)


def check(path: Path, damaged: int) -> None:
    """Raises DataError if `damaged`, as the kernels return it, is a row of the file."""
    if damaged >= 0:
        raise DataError(f"{path}: image {damaged} does not decode. Delete the file and run bench.prepare again")


_u32, _i64, _address_t = types.uint32, types.int64, types.uintp
# (source, bytes, height, width, destination, crop height, crop width, x, y, scale over, scale under, crop?, flip?)
_imdecode: Any = types.ExternalFunction(
    "ticketbench_ffcv_imdecode",
    types.int32(_address_t, types.uint64, _u32, _u32, _address_t, _u32, _u32, _u32, _u32, _u32, _u32, _u32, _u32),
)
# (unused, source, height, width, first row, end row, first column, end column, destination, height, width)
_resize: Any = types.ExternalFunction(
    "ticketbench_ffcv_resize",
    types.void(_i64, _i64, _i64, _i64, _i64, _i64, _i64, _i64, _i64, _i64, _i64),
)


@numba.njit(nogil=True, inline="always")
def _decode_one(source, length, jpeg, height, width, box, scratch, out):  # type: ignore[no-untyped-def]
    """Decode one image and resize its box (top, left, height, width) to `out` (size, size, 3); False if damaged."""
    pixels = source
    if jpeg:
        pixels = scratch.ctypes.data
        if _imdecode(source, length, height, width, pixels, height, width, 0, 0, 1, 1, 0, 0) != 0:
            return False
    top, left = np.int64(box[0]), np.int64(box[1])
    bottom, right = top + np.int64(box[2]), left + np.int64(box[3])
    _resize(0, pixels, height, width, top, bottom, left, right, out.ctypes.data, out.shape[0], out.shape[1])
    return True


@numba.njit(nogil=True, inline="always")
def unpack(buffer, pointer, length, jpeg, height, width, scratch):  # type: ignore[no-untyped-def]
    """Put the (height, width, 3) bytes of one image at the start of `scratch`; False if it is damaged."""
    if jpeg:
        source, out = buffer.ctypes.data + pointer, scratch.ctypes.data
        return _imdecode(source, length, height, width, out, height, width, 0, 0, 1, 1, 0, 0) == 0
    scratch[:length] = buffer[pointer : pointer + length]
    return True


@numba.njit(nogil=True, cache=True)
def decode(buffer, pointers, lengths, jpeg, heights, widths, rows, boxes, flips, out):  # type: ignore[no-untyped-def]
    """Fill out (b, size, size, 3) uint8 with the boxes of the rows, mirrored where flips; -1, or the damaged row.

    buffer: the file's bytes; pointers, lengths, jpeg, heights, widths: (n,), by row.
    rows (b,); boxes (b, 4) top, left, height, width; flips (b,).
    """
    scratch = np.empty(3 * _largest(heights, widths, rows), np.uint8)
    size = out.shape[1]
    for i in range(len(rows)):
        r = rows[i]
        source = buffer.ctypes.data + pointers[r]
        if not _decode_one(source, lengths[r], jpeg[r], heights[r], widths[r], boxes[i], scratch, out[i]):
            return r
        if flips[i]:
            for y in range(size):
                for x in range(size // 2):
                    for c in range(3):
                        out[i, y, x, c], out[i, y, size - 1 - x, c] = out[i, y, size - 1 - x, c], out[i, y, x, c]
    return np.int64(-1)


@numba.njit(nogil=True, cache=True)
def decode_planes(  # type: ignore[no-untyped-def]
    buffer, pointers, lengths, jpeg, heights, widths, rows, boxes, flips, levels, out
):
    """As `decode`, but into planes: out (b, 3, size, size) float32 = levels[channel, value]; levels (3, 256)."""
    scratch = np.empty(3 * _largest(heights, widths, rows), np.uint8)
    size = out.shape[2]
    tile = np.empty((size, size, 3), np.uint8)
    for i in range(len(rows)):
        r = rows[i]
        source = buffer.ctypes.data + pointers[r]
        if not _decode_one(source, lengths[r], jpeg[r], heights[r], widths[r], boxes[i], scratch, tile):
            return r
        for y in range(size):
            line = tile[y]
            for c in range(3):
                level, shown = levels[c], out[i, c, y]
                if flips[i]:
                    for x in range(size):
                        shown[size - 1 - x] = level[line[x, c]]
                else:
                    for x in range(size):
                        shown[x] = level[line[x, c]]
    return np.int64(-1)


@numba.njit(nogil=True, inline="always")
def _largest(heights, widths, rows):  # type: ignore[no-untyped-def]
    largest = 1
    for r in rows:
        largest = max(largest, heights[r] * widths[r])
    return largest
