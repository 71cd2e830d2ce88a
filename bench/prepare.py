"""Write the data files that grids need: `python -m bench.prepare NAME... [--data DIR]`, or show them with `--list`.

Run it where there is network (a login node) for sets and weights that must be fetched. Running it again does nothing
for what is there and sound.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.catalog import ARCHITECTURES, DATASETS, TASKS, WEIGHTS, described
from bench.data import beton
from bench.data.errors import DataError
from bench.data.places import PLACES, looked_for
from bench.data.records import Beton
from bench.places import default_data
from bench.spec import Word
from bench.words import WordError, parse, suggestion

WEIGHTS_PREFIX, MODEL_PREFIX = "torchvision:", "huggingface:"
# A raw image must fit a page of the file; more is a slip of the finger, found before the memory is gone.
MAX_RESOLUTION = 1024


def main(arguments: list[str] | None = None) -> int:
    """Prepare every name given; 0, or 2 after one paragraph on stderr about the first that cannot be."""
    command = parser()
    options = command.parse_args(arguments)
    if options.list:
        print(overview(options.data))
        return 0
    if not options.names:
        command.error("name what to prepare, or give --list")
    try:
        for name in options.names:
            if name.startswith(WEIGHTS_PREFIX):
                prepare_weights(name, options.data, download=options.download)
            elif name.startswith(MODEL_PREFIX):
                prepare_model(name, options.data, download=options.download)
            else:
                prepare_set(parse(name, "dataset", DATASETS), options.data, options.resolution, options.download)
    except (DataError, WordError) as error:
        print(f"bench.prepare: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m bench.prepare", description=(__doc__ or "").splitlines()[0])
    result.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"a data set ({', '.join(DATASETS)}), {WEIGHTS_PREFIX}<architecture> or {MODEL_PREFIX}<model>",
    )
    result.add_argument("--list", action="store_true", help="show every set, and where it is or is looked for")
    result.add_argument("--data", type=Path, default=default_data(), help="data root ($TICKETBENCH_DATA, ./data)")
    result.add_argument(
        "--resolution", type=int, help="pixels at which images are stored, or most tokens (default: the catalog's)"
    )
    result.add_argument(
        "--download",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fetch raw files and weights that are missing (default), or never use the network",
    )
    return result


def overview(data_root: Path) -> str:
    """A table of all sets: classes, images, state, and where the raw files are looked for and how they get there."""
    rows: list[tuple[str, ...]] = [("set", "classes", "train", "test", "state", "looked for", "how it gets there")]
    for name, entry in DATASETS.items():
        sizes = [f"{size:,}" if entry.classes else "-" for size in (entry.classes, entry.train, entry.test)]
        paths, how = (
            (PLACES[name].paths, PLACES[name].by_hand or "download") if name in PLACES else ((), "needs no files")
        )
        where = f"{paths[0]}{f' and {len(paths) - 1} more' if paths[1:] else ''}" if paths else "-"
        rows.append((name, *sizes, state(name, data_root), where, how))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ["  ".join(_pad(row, widths)).rstrip() for row in rows]
    legend = (
        f"Paths are under {data_root / 'raw'}. Write a set with `python -m bench.prepare NAME --data {data_root}`, "
        "which downloads it where the table says so and there is network."
    )
    return "\n".join([*aligned, "", legend])


def _pad(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """The row's cells, the numbers of columns 1 to 3 to the right."""
    return [
        text.rjust(n) if 1 <= i <= 3 else text.ljust(n) for i, (text, n) in enumerate(zip(row, widths, strict=True))
    ]


def state(name: str, data_root: Path) -> str:
    """One of prepared, raw files (not prepared yet), embedded (needs none), missing and by options. Reads no file."""
    entry = DATASETS[name]
    if any(option.required for option in entry.options.values()):
        return "by options"
    written = [
        beton.files(Word(name), split, data_root=data_root, resolution=entry.resolution)
        for split in ("train", "test", *entry.splits)
    ]
    if all(path.is_file() for paths in written for path in paths):
        return "prepared"
    if entry.embedded:
        return "embedded"
    return "raw files" if all(path.exists() for path in looked_for(name, data_root / "raw")) else "missing"


def prepare_set(dataset: Word, data_root: Path, resolution: int | None, download: bool) -> None:
    """Write all splits of a set where they are missing or damaged, and print one line. Raises DataError."""
    entry = described(dataset)
    resolution = entry.resolution if resolution is None else resolution
    if not 1 <= resolution <= MAX_RESOLUTION:
        raise DataError(f"resolution {resolution}: it must be a positive number of pixels, at most {MAX_RESOLUTION}")
    reads = TASKS[entry.task].reads
    if reads == "texts" and resolution != entry.resolution:
        raise DataError(
            f"{dataset}: texts are stored with up to {entry.resolution} tokens and cut when they are read: drop "
            "--resolution, and say override: {data: {text_length: ...}} in the grid"
        )
    began = time.monotonic()
    written, sizes = 0, []
    for split in ("train", "test", *entry.splits):
        found = find(dataset, split, data_root, resolution)
        if found is None:
            beton.write(dataset, split, data_root=data_root, resolution=resolution, download=download)
            found = beton.read(dataset, split, data_root=data_root, resolution=resolution)
            written += 1
        sizes.append(len(found.labels))
    folder = beton.files(dataset, "train", data_root=data_root, resolution=resolution)[0].parent
    how = f"written in {time.monotonic() - began:.1f} s" if written else "already there"
    size = f"at {resolution} px" if reads == "images" else f"of at most {resolution} tokens"
    print(f"{dataset}: {sizes[0]} training and {sum(sizes[1:])} test {reads} {size}, {how}, in {folder}", flush=True)


def prepare_weights(name: str, data_root: Path, *, download: bool) -> None:
    """Put published weights, `torchvision:<architecture>[:<weights>]`, under <data_root>/weights, and print one line.

    Raises DataError for an unknown name, or if the file is not there and cannot be fetched.
    """
    architecture, _, version = name.removeprefix(WEIGHTS_PREFIX).partition(":")
    published = [word for word, entry in ARCHITECTURES.items() if entry.module == "bench.models.vision"]
    if architecture not in published:
        raise DataError(f"{name}: no weights published for {architecture!r} {suggestion(architecture, published)}")
    from bench.models import ModelError, external

    try:
        url, file = external.weights_file(architecture, version or "IMAGENET1K_V1")
        path = data_root / "weights" / file
        if path.exists():
            print(f"{name}: already there, in {path}", flush=True)
            return
        if not download:
            raise DataError(f"{name}: looked for {path}, and --no-download was given. Put the file of {url} there")
        external.download_torchvision_weights(architecture, path.parent, version or "IMAGENET1K_V1")
    except (ModelError, OSError) as error:
        raise DataError(f"{name}: {error}") from error
    print(f"{name}: {path.stat().st_size >> 20} MiB, in {path}", flush=True)


def prepare_model(name: str, data_root: Path, *, download: bool) -> None:
    """Put a Hugging Face model's files under <data_root>/weights/<model>, and print one line.

    Its vocabulary goes to <data_root>/raw/<model> too: text sets are written in that of bert-base-uncased. Raises
    DataError if it cannot be fetched.
    """
    from bench.models import ModelError, external

    model = name.removeprefix(MODEL_PREFIX)
    folder = data_root / "weights" / model
    vocabulary = folder / "vocab.txt"
    there = vocabulary.is_file() and any((folder / file).is_file() for file in WEIGHTS)
    if not there and not download:
        raise DataError(
            f"{name}: looked for {folder}, and --no-download was given. Put the model's files there "
            "(model.safetensors or pytorch_model.bin, and vocab.txt)"
        )
    try:
        if not there:
            external.download_huggingface(model, data_root / "weights")
        beside = data_root / "raw" / model
        beside.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(vocabulary, beside / "vocab.txt")
    except (ModelError, OSError) as error:
        raise DataError(f"{name}: {error}") from error
    print(f"{name}: {'already there, ' if there else ''}in {folder}", flush=True)


def find(dataset: Word, split: str, data_root: Path, resolution: int) -> Beton | None:
    """The split's file if it is there and whole, bit for bit, else None."""
    try:
        found = beton.read(dataset, split, data_root=data_root, resolution=resolution)
    except DataError:
        return None
    return found if beton.intact(found) else None


if __name__ == "__main__":
    sys.exit(main())
