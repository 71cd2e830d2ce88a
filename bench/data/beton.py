"""`.beton` files: written once per (set, split, resolution), checked whenever they are read.

Beside `<split>-<resolution>.beton` lie its labels (`.labels.npy`) and a sidecar (`.json`) that describes both; scenes
and texts have what a label cannot say there too (bench.data.targets).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bench.catalog import described, load
from bench.data import layout, targets, tokens
from bench.data.encode import encode
from bench.data.errors import DataError
from bench.data.records import Beton, Images, Integers, Texts
from bench.data.vocabularies import VOCABULARIES
from bench.spec import Word

FORMAT = 1  # of the files beside the `.beton`; raise it to have every set written again

Fill = Callable[[BinaryIO], None]


def file_resolution(dataset: Word, *, resolution: int, loader: str) -> int:
    """The resolution at which a file must be written for a network that sees `resolution` pixels or tokens.

    JPEG sets keep their catalog resolution (shorter side) or more; raw sets are stored as the network sees them,
    but a stream enlarges small images itself rather than reading enlarged ones from disk, and scenes and texts are kept
    as they are, for their loaders cut them.
    """
    entry = described(dataset)
    if entry.storage == "jpg":
        return max(entry.resolution, resolution)
    if loader in ("dense", "text"):
        return entry.resolution
    return min(entry.resolution, resolution) if loader == "stream" else resolution


def files(dataset: Word, split: str, *, data_root: Path, resolution: int) -> tuple[Path, ...]:
    """The files of a split: its examples, labels, the sidecar that describes all, and what else the task needs."""
    options = "".join(f"-{value}" for _, value in dataset.options)
    directory = Path(data_root) / "beton" / re.sub(r"[^A-Za-z0-9_.-]", "_", dataset.name + options)
    stem = f"{split}-{resolution}"
    name = targets.NAMES.get(described(dataset).task)
    endings = (".beton", ".labels.npy", ".json", *([name] if name else []))
    return tuple(directory / f"{stem}{ending}" for ending in endings)


def command(dataset: Word, *, data_root: Path, resolution: int) -> str:
    """The command that writes the set's files."""
    usual = resolution == described(dataset).resolution
    word = f"'{dataset}'" if dataset.options else str(dataset)
    return f"`python -m bench.prepare {word}{'' if usual else f' --resolution {resolution}'} --data {data_root}`"


def write(dataset: Word, split: str, *, data_root: Path, resolution: int, download: bool = False) -> None:
    """Read a split from its source and publish its files, each atomically, the sidecar last.

    Two processes may write the same split at once: each fills files of its own, and both publish the same bytes.
    Raises DataError where the source is missing, its labels do not fit the catalog, or the disk is full.
    """
    data_root = Path(data_root)
    source: Callable[..., Images | Texts] = load(described(dataset).source)
    found = source(split, data_root / "raw", download=download, options=dict(dataset.options))
    _check_labels(dataset, split, found.labels)
    paths = files(dataset, split, data_root=data_root, resolution=resolution)
    parts = [path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part") for path in paths]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        sweep(paths[0].parent)
        lengths = np.zeros(len(found.labels), np.int64)
        fill, beside = (
            _text_files(dataset, found, lengths, resolution)
            if isinstance(found, Texts)
            else _image_files(dataset, found, resolution)
        )
        _write_synced(parts[0], fill)
        _write_synced(parts[1], lambda out: np.save(out, found.labels))
        sidecar = describe(dataset, split, resolution) | {
            "n": len(found.labels),
            "bytes": parts[0].stat().st_size,
            "sha256": digest(parts[0]),
            "labels_sha256": digest(parts[1]),
        }
        if isinstance(found, Texts):
            sidecar |= {"tokens": int(lengths.sum())}
        for part in parts[3:]:
            _write_synced(part, beside)
            sidecar |= {"targets_bytes": part.stat().st_size, "targets_sha256": digest(part)}
        _write_synced(parts[2], lambda out: out.write(json.dumps(sidecar, indent=1).encode()))
        for part, path in (*zip(parts[3:], paths[3:], strict=True), *zip(parts[:3], paths[:3], strict=True)):
            os.replace(part, path)
    except OSError as error:
        free = shutil.disk_usage(data_root).free >> 20 if data_root.exists() else 0
        raise DataError(f"{dataset}: cannot write {paths[0]} ({error.strerror}; {free} MiB free there)") from error
    finally:
        for part in parts:
            with suppress(OSError):
                part.unlink()


def _check_labels(dataset: Word, split: str, labels: Integers) -> None:
    """Raises DataError for no examples, and for labels that are not those of the catalog's classes."""
    if len(labels) == 0:
        raise DataError(f"{dataset}, {split} split: no examples")
    # Of regression they are whole numbers near the values, which any number of classes may be.
    classes = n_classes(dataset)
    most = labels.max() if described(dataset).task == "sentence_regression" else classes - 1
    if labels.min() < 0 or labels.max() > most:
        found = f"labels {labels.min()} to {labels.max()}"
        raise DataError(f"{dataset}, {split} split: {found}, where {classes} classes are expected")


def _image_files(dataset: Word, found: Images, resolution: int) -> tuple[Fill, Fill]:
    """What fills a file of images, and then what lies beside it."""
    storage = described(dataset).storage
    images, shapes = targets.measured(found)
    encoded = encode(images, resolution=resolution, storage=storage)
    return partial(layout.write, labels=images.labels, encoded=encoded), partial(
        targets.write, images=images, shapes=shapes, classes=n_classes(dataset), resolution=resolution, storage=storage
    )


def _text_files(dataset: Word, texts: Texts, lengths: Integers, resolution: int) -> tuple[Fill, Fill]:
    """The same of texts; the first fills `lengths` (n,) too, with their numbers of tokens."""
    entry = described(dataset)
    vocabulary = VOCABULARIES[entry.vocabulary]
    payloads = tokens.encode(texts, lengths, vocabulary=vocabulary, resolution=resolution, task=entry.task)
    fill = partial(layout.write_texts, labels=texts.labels, second=texts.second, payloads=payloads)
    return fill, partial(targets.write_texts, texts=texts, lengths=lengths, task=entry.task)


def sweep(directory: Path) -> None:
    """Remove what processes of this machine that are no more left unfinished in the directory."""
    for part in directory.glob(f".*.{socket.gethostname()}.*.part"):
        try:
            os.kill(int(part.name.split(".")[-2]), 0)
        except ProcessLookupError:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
        except PermissionError:
            continue  # alive, and another user's


def describe(dataset: Word, split: str, resolution: int) -> dict[str, Any]:
    """What a sidecar must say of a split, whatever its examples."""
    entry = described(dataset)
    said = {
        "format": FORMAT,
        "dataset": dataset.name,
        "options": dict(dataset.options),
        "split": split,
        "resolution": resolution,
        "classes": n_classes(dataset),
        "storage": entry.storage,
    }
    # Sidecars of classification sets were written before there were others.
    if entry.task != "classification":
        said["task"] = entry.task
    if entry.vocabulary:
        said["vocabulary"] = entry.vocabulary
    return said


def n_classes(dataset: Word) -> int:
    """Number of classes: the catalog's, or the option of a set that has it as an option."""
    return int(dict(dataset.options).get("classes") or described(dataset).classes)


def read(dataset: Word, split: str, *, data_root: Path, resolution: int) -> Beton:
    """The split's file, mapped and checked against its sidecar (not its digest, which costs a whole read).

    Raises DataError naming the paths and the command that writes the files, if one is missing, truncated, of another
    set or from another version.
    """
    data_root = Path(data_root)
    paths = files(dataset, split, data_root=data_root, resolution=resolution)
    remedy = command(dataset, data_root=data_root, resolution=resolution)
    missing = [path for path in paths if not path.is_file()]
    if missing:
        looked = ", ".join(str(path) for path in paths)
        raise DataError(f"{dataset}, {split} split: {missing[0].name} is missing (looked for {looked}). Run {remedy}")
    try:
        sidecar = json.loads(paths[2].read_bytes())
        for key, value in describe(dataset, split, resolution).items():
            if sidecar[key] != value:
                raise ValueError(f"{key} is {sidecar[key]!r}, not {value!r}")
        if (size := paths[0].stat().st_size) != sidecar["bytes"]:
            raise ValueError(f"{size} bytes, not {sidecar['bytes']}")
        if digest(paths[1]) != sidecar["labels_sha256"]:
            raise ValueError("the labels are not those of the sidecar")
        labels = np.load(paths[1])
        file = layout.mapped(paths[0], labels, sidecar)
        for path in paths[3:]:
            # Masks are as large as images: only `intact` reads them whole.
            sha256 = None if described(dataset).task == "segmentation" else digest(path)
            file = dataclasses.replace(file, targets=targets.mapped(path, file, sidecar, sha256))
        return file
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{paths[0]} is damaged or foreign ({error}). Write it again with {remedy}") from error


def intact(file: Beton) -> bool:
    """Are the examples and the targets of a file those of its sidecar, bit for bit?"""
    beside = file.targets
    return digest(file.path) == file.sha256 and (beside is None or digest(beside.path) == beside.sha256)


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_synced(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    with path.open("w+b") as out:
        fill(out)
        out.flush()
        os.fsync(out.fileno())
