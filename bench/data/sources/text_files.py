"""Plain text for masked language modelling, of any size: tokenised piece by piece into a file that is mapped."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.catalog import DATASETS
from bench.data import tokenising, vocabularies
from bench.data.errors import DataError
from bench.data.places import looked_for
from bench.data.records import Texts
from bench.data.sources.files import Options, check, one_line

PIECE = 1 << 22  # characters that are read at once


def mlm(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Blocks of a text file's tokens, documents one after the other; the last, short block is left out.

    The tokens lie in a file without a name beside the text, two bytes each, which is gone with the result or the
    process. Raises DataError if the text is missing, not UTF-8 or shorter than a block, or the disk is full.
    """
    check("mlm", raw_root)
    path = looked_for("mlm", raw_root)[split == "test"]
    entry = DATASETS["mlm"]
    tokens = written(path, entry.vocabulary, raw_root)
    found = tokenising.blocks(tokens, vocabularies.VOCABULARIES[entry.vocabulary], length=entry.resolution)
    if len(found.labels) == 0:
        raise DataError(f"{path}: {len(tokens)} tokens make no block of {entry.resolution}. Put a longer text there")
    return found


def written(path: Path, vocabulary: str, raw_root: Path) -> tokenising.Tokens:
    """The tokens of a text, memory-mapped; the text is never in memory as a whole."""
    tokenizer = vocabularies.tokenizer(vocabulary, raw_root)
    try:
        with tempfile.TemporaryFile(dir=path.parent) as out:
            for piece in pieces(path):
                tokenising.flat(tokenizer, piece.split("\n")).tokens.tofile(out)
            out.flush()
            if out.seek(0, io.SEEK_END) == 0:
                return np.empty(0, np.uint16)
            return np.memmap(out, dtype=np.uint16, mode="r")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({one_line(error)}). Convert it") from error
    except OSError as error:
        raise DataError(f"{path}: its tokens cannot be written beside it ({error.strerror})") from error


def pieces(path: Path) -> Iterator[str]:
    """The text in parts of about PIECE characters that end between words."""
    rest = ""
    with path.open(encoding="utf-8") as file:
        while text := file.read(PIECE):
            # White space always separates tokens, and no token is as long as a part.
            head, space, tail = _last_space(rest + text)
            if space:
                yield head
            rest = tail
    if rest:
        yield rest


def _last_space(text: str) -> tuple[str, str, str]:
    place = max(text.rfind(" "), text.rfind("\n"))
    return (text[:place], text[place], text[place + 1 :]) if place >= 0 else ("", "", text)
