"""The bytes of a `.beton` file: the layout of FFCV 1.0 (version 2), which FFCV's own loader reads.

Header, field descriptors, one record per sample, pages of image bytes, allocation table; fields `image`
(RGBImageField) and `label` (IntField). We write it ourselves because FFCV's writer forks workers out of a process
with threads, and waits for ever if one of them dies. Leclerc et al. 2023, arXiv:2306.12517.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bench.data.records import Beton, Integers

VERSION = 2  # of FFCV's layout
PAGE = 1 << 21  # bytes; FFCV's smallest page, and the largest image a file can hold
JPEG, RAW = 0, 1

HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("num_fields", "<u2"),
        ("page_size", "<u4"),
        ("num_samples", "<u8"),
        ("alloc_table_ptr", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type_id", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("data_ptr", "<u8")])
SAMPLE = np.dtype([("f0", IMAGE), ("f1", "<i8")], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
FIELDS = (("image", 2), ("label", 1))  # FFCV's type numbers
METADATA_START = HEADER.itemsize + len(FIELDS) * FIELD.itemsize


class Encoded(NamedTuple):
    mode: int
    height: int
    width: int
    payload: bytes


def write(out: BinaryIO, labels: Integers, encoded: Iterator[Encoded]) -> None:
    """Write a whole `.beton` to an empty seekable file: byte for byte what FFCV's writer gives with one worker."""
    n = len(labels)
    metadata, table = np.zeros(n, SAMPLE), np.zeros(n, ALLOCATION)
    position = _next_page(METADATA_START + metadata.nbytes)
    for i, image in enumerate(encoded):
        size = len(image.payload)
        if position % PAGE + size > PAGE:
            position = _next_page(position)
        out.seek(position)
        out.write(image.payload)
        metadata[i] = ((image.mode, image.width, image.height, position), labels[i])
        table[i] = (i, position, size)
        position += size
    header = np.array((VERSION, len(FIELDS), PAGE, n, _next_page(position)), HEADER)
    fields = np.zeros(len(FIELDS), FIELD)
    for field, (name, type_id) in zip(fields, FIELDS, strict=True):
        field["type_id"] = type_id
        field["name"][: len(name)] = np.frombuffer(name.encode(), np.uint8)
    out.seek(_next_page(position))
    out.write(table.tobytes())
    out.seek(0)
    out.write(header.tobytes() + fields.tobytes() + metadata.tobytes())


def mapped(path: Path, labels: Integers, sidecar: dict[str, Any]) -> Beton:
    """The file's images, memory-mapped. Raises ValueError unless every image lies inside the file.

    The decoders trust these addresses: a wrong one would crash the process.
    """
    buffer = np.memmap(path, np.uint8, mode="r")
    header = np.frombuffer(buffer, HEADER, count=1)[0]
    n = len(labels)
    if (header["version"], header["num_samples"]) != (VERSION, sidecar["n"]) or n != sidecar["n"]:
        raise ValueError(f"version {header['version']} with {header['num_samples']} samples, {n} labels")
    images = np.frombuffer(buffer, SAMPLE, count=n, offset=METADATA_START)["f0"]
    table = np.frombuffer(buffer, ALLOCATION, count=n, offset=int(header["alloc_table_ptr"]))
    pointers, lengths = table["ptr"].astype(np.int64), table["size"].astype(np.int64)
    heights, widths = images["height"].astype(np.int64), images["width"].astype(np.int64)
    jpeg = images["mode"] == JPEG
    inside = (pointers > 0) & (lengths > 0) & (pointers + lengths <= len(buffer)) & (heights > 0) & (widths > 0)
    if not np.all(inside & (jpeg | (lengths == 3 * heights * widths))):
        raise ValueError("images outside the file")
    return Beton(
        path=path,
        sha256=sidecar["sha256"],
        classes=sidecar["classes"],
        resolution=sidecar["resolution"],
        storage=sidecar["storage"],
        labels=labels,
        buffer=buffer,
        pointers=pointers,
        lengths=lengths,
        heights=heights,
        widths=widths,
        jpeg=jpeg,
    )


def _next_page(position: int) -> int:
    return -(-position // PAGE) * PAGE
