"""The bytes of a `.beton` file: the layout of FFCV 1.0 (version 2), which FFCV's own loader reads.

Header, field descriptors, one record per sample, pages of bytes, allocation table. Fields of images are `image`
(RGBImageField) and `label` (IntField), of texts `tokens` (BytesField, two bytes a token, little endian), `second` and
`label`. We write it ourselves because FFCV's writer forks workers out of a process with threads, and waits for ever if
one of them dies. Leclerc et al. 2023, arXiv:2306.12517.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.records import Beton, Bytes, Integers

VERSION = 2  # of FFCV's layout
PAGE = 1 << 21  # bytes; FFCV's smallest page, and the largest image a file can hold
JPEG, RAW = 0, 1
TOKEN = np.dtype("<u2")

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
BYTES = np.dtype([("ptr", "<u8"), ("size", "<u8")])
SAMPLE = np.dtype([("f0", IMAGE), ("f1", "<i8")], align=True)
TEXT_SAMPLE = np.dtype([("f0", BYTES), ("f1", "<i8"), ("f2", "<i8")], align=True)
ALLOCATION = np.dtype([("sample_id", "<u8"), ("ptr", "<u8"), ("size", "<u8")])
FIELDS = (("image", 2), ("label", 1))  # FFCV's type numbers
TEXT_FIELDS = (("tokens", 3), ("second", 1), ("label", 1))

Records = NDArray[np.void]


class Encoded(NamedTuple):
    mode: int
    height: int
    width: int
    payload: bytes


def write(out: BinaryIO, labels: Integers, encoded: Iterator[Encoded]) -> None:
    """Write a whole `.beton` to an empty seekable file: byte for byte what FFCV's writer gives with one worker."""
    samples = np.zeros(len(labels), SAMPLE)
    samples["f1"] = labels

    def payloads() -> Iterator[bytes]:
        for i, image in enumerate(encoded):
            samples["f0"][i] = (image.mode, image.width, image.height, 0)
            yield image.payload

    table = _write_pages(out, _start(FIELDS, samples), payloads(), n=len(labels))
    samples["f0"]["data_ptr"] = table["ptr"]
    _write_tables(out, FIELDS, samples, table)


def write_texts(out: BinaryIO, labels: Integers, second: Integers, payloads: Iterable[bytes]) -> None:
    """The same for texts: the bytes of their tokens, and where in them the second text begins."""
    samples = np.zeros(len(labels), TEXT_SAMPLE)
    samples["f1"], samples["f2"] = second, labels
    table = _write_pages(out, _start(TEXT_FIELDS, samples), payloads, n=len(labels))
    samples["f0"]["ptr"], samples["f0"]["size"] = table["ptr"], table["size"]
    _write_tables(out, TEXT_FIELDS, samples, table)


def _start(fields: tuple[tuple[str, int], ...], samples: Records) -> int:
    """Where the first page begins."""
    return _next_page(_metadata_start(fields) + samples.nbytes)


def _metadata_start(fields: tuple[tuple[str, int], ...]) -> int:
    return HEADER.itemsize + len(fields) * FIELD.itemsize


def _write_pages(out: BinaryIO, position: int, payloads: Iterable[bytes], *, n: int) -> Records:
    """Write the payloads from `position` on, none across two pages; returns the allocation table."""
    table = np.zeros(n, ALLOCATION)
    out.seek(position)
    for i, payload in enumerate(payloads):
        if position % PAGE + len(payload) > PAGE:
            position = _next_page(position)
            out.seek(position)
        out.write(payload)
        table[i] = (i, position, len(payload))
        position += len(payload)
    return table


def _write_tables(out: BinaryIO, fields: tuple[tuple[str, int], ...], samples: Records, table: Records) -> None:
    """Write what comes before and after the pages."""
    end = int(table["ptr"][-1] + table["size"][-1]) if len(table) else _start(fields, samples)
    header = np.array((VERSION, len(fields), PAGE, len(samples), _next_page(end)), HEADER)
    descriptors = np.zeros(len(fields), FIELD)
    for descriptor, (name, type_id) in zip(descriptors, fields, strict=True):
        descriptor["type_id"] = type_id
        descriptor["name"][: len(name)] = np.frombuffer(name.encode(), np.uint8)
    out.seek(_next_page(end))
    out.write(table.tobytes())
    out.seek(0)
    out.write(header.tobytes() + descriptors.tobytes() + samples.tobytes())


def mapped(path: Path, labels: Integers, sidecar: dict[str, Any]) -> Beton:
    """The file's images or texts, memory-mapped. Raises ValueError unless every one lies inside the file.

    Decoders and kernels trust these addresses: a wrong one would crash the process.
    """
    buffer = np.memmap(path, np.uint8, mode="r")
    header = np.frombuffer(buffer, HEADER, count=1)[0]
    n = len(labels)
    if (header["version"], header["num_samples"]) != (VERSION, sidecar["n"]) or n != sidecar["n"]:
        raise ValueError(f"version {header['version']} with {header['num_samples']} samples, {n} labels")
    table = np.frombuffer(buffer, ALLOCATION, count=n, offset=int(header["alloc_table_ptr"]))
    pointers, lengths = table["ptr"].astype(np.int64), table["size"].astype(np.int64)
    inside = (pointers > 0) & (lengths > 0) & (pointers + lengths <= len(buffer))
    of_kind = _mapped_texts if sidecar["storage"] == "tokens" else _mapped_images
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
        **of_kind(buffer, inside, pointers, lengths, sidecar),
    )


def _mapped_images(
    buffer: Bytes, inside: NDArray[np.bool_], pointers: Integers, lengths: Integers, sidecar: dict[str, Any]
) -> dict[str, Any]:
    """What a file of images has besides."""
    images = np.frombuffer(buffer, SAMPLE, count=len(lengths), offset=_metadata_start(FIELDS))["f0"]
    heights, widths = images["height"].astype(np.int64), images["width"].astype(np.int64)
    jpeg = images["mode"] == JPEG
    inside = inside & (heights > 0) & (widths > 0)
    if not np.all(inside & (jpeg | (lengths == 3 * heights * widths))):
        raise ValueError("images outside the file")
    return {"heights": heights, "widths": widths, "jpeg": jpeg}


def _mapped_texts(
    buffer: Bytes, inside: NDArray[np.bool_], pointers: Integers, lengths: Integers, sidecar: dict[str, Any]
) -> dict[str, Any]:
    """What a file of texts has besides."""
    samples = np.frombuffer(buffer, TEXT_SAMPLE, count=len(lengths), offset=_metadata_start(TEXT_FIELDS))
    second = samples["f1"].astype(np.int64)
    whole = (pointers % TOKEN.itemsize == 0) & (lengths % TOKEN.itemsize == 0) & (len(buffer) % TOKEN.itemsize == 0)
    tokens = lengths // TOKEN.itemsize
    if not np.all(inside & whole & (tokens <= sidecar["resolution"]) & (second >= 0) & (second < tokens)):
        raise ValueError("texts outside the file")
    if tokens.sum() != sidecar["tokens"]:
        raise ValueError(f"{tokens.sum()} tokens, not {sidecar['tokens']}")
    none = np.zeros(0, np.int64)
    return {
        "heights": none,
        "widths": none,
        "jpeg": none.astype(np.bool_),
        "second": second,
        "vocabulary": sidecar["vocabulary"],
    }


def _next_page(position: int) -> int:
    return -(-position // PAGE) * PAGE
