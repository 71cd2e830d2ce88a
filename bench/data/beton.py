"""`.beton` files: written once per (set, split, resolution), checked whenever they are read.

Beside `<split>-<resolution>.beton` lie its labels (`.labels.npy`) and a sidecar (`.json`) that describes both; sets for
segmentation and detection have their masks or boxes there too (bench.data.targets).
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
from bench.data import layout, targets
from bench.data.encode import encode
from bench.data.errors import DataError
from bench.data.records import Beton, Images
from bench.spec import Word

FORMAT = 1  # of the files beside the `.beton`; raise it to have every set written again


def file_resolution(dataset: Word, *, resolution: int, loader: str) -> int:
    """The resolution at which a file must be written for a network that sees `resolution` pixels.

    JPEG sets keep their catalog resolution (shorter side) or more; raw sets are stored as the network sees them,
    but a stream enlarges small images itself rather than reading enlarged ones from disk, and scenes are kept as they
    are, for their loader cuts and resizes them.
    """
    entry = described(dataset)
    if entry.storage == "jpg":
        return max(entry.resolution, resolution)
    if loader == "dense":
        return entry.resolution
    return min(entry.resolution, resolution) if loader == "stream" else resolution


def files(dataset: Word, split: str, *, data_root: Path, resolution: int) -> tuple[Path, ...]:
    """The files of a split: images, labels, the sidecar that describes all, and of scenes their masks or boxes."""
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
    source: Callable[..., Images] = load(described(dataset).source)
    images, shapes = targets.measured(
        source(split, data_root / "raw", download=download, options=dict(dataset.options))
    )
    classes = n_classes(dataset)
    labels = images.labels
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= classes:
        found = f"labels {labels.min()} to {labels.max()}" if len(labels) else "no images"
        raise DataError(f"{dataset}, {split} split: {found}, where {classes} classes are expected")
    paths = files(dataset, split, data_root=data_root, resolution=resolution)
    parts = [path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part") for path in paths]
    try:
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        sweep(paths[0].parent)
        storage = described(dataset).storage
        encoded = encode(images, resolution=resolution, storage=storage)
        _write_synced(parts[0], lambda out: layout.write(out, labels, encoded))
        _write_synced(parts[1], lambda out: np.save(out, labels))
        sidecar = describe(dataset, split, resolution) | {
            "n": len(labels),
            "bytes": parts[0].stat().st_size,
            "sha256": digest(parts[0]),
            "labels_sha256": digest(parts[1]),
        }
        for part in parts[3:]:
            fill = partial(targets.write, classes=classes, resolution=resolution, storage=storage)
            _write_synced(part, partial(fill, images=images, shapes=shapes))
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
    """What a sidecar must say of a split, whatever its images."""
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
    return said if entry.task == "classification" else said | {"task": entry.task}


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
    """Are the images and the targets of a file those of its sidecar, bit for bit?"""
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
