"""The tasks of GLUE (Wang et al. 2018, arXiv:1804.07461) from the official files of every task.

`dev.tsv` tests, for the labels of the official test files are not published. Labels are numbered as in Hugging Face's
processors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.catalog import DATASETS
from bench.data import tokenising, vocabularies
from bench.data.errors import DataError
from bench.data.places import looked_for
from bench.data.records import Texts
from bench.data.sources.files import Options, check, missing, one_line

COLA = ("source", "label", "star", "sentence")  # its files have no header
ENTAILMENT = ("entailment", "not_entailment")
BINARY = ("0", "1")


class Task(NamedTuple):
    """The columns of a task's texts and of its labels, and the words of the labels in their order; scores have none.

    header: the columns of files that have none. broken: some rows of the official files lack fields; they are left out.
    """

    texts: tuple[str, ...]
    label: str
    words: tuple[str, ...] = BINARY
    header: tuple[str, ...] | None = None
    broken: bool = False


TASKS = {
    "mnli": Task(("sentence1", "sentence2"), "gold_label", ("contradiction", "entailment", "neutral")),
    "qqp": Task(("question1", "question2"), "is_duplicate", broken=True),
    "stsb": Task(("sentence1", "sentence2"), "score", ()),
    "wnli": Task(("sentence1", "sentence2"), "label"),
    "qnli": Task(("question", "sentence"), "label", ENTAILMENT),
    "mrpc": Task(("#1 String", "#2 String"), "Quality"),
    "rte": Task(("sentence1", "sentence2"), "label", ENTAILMENT),
    "sst2": Task(("sentence",), "label"),
    "cola": Task(("sentence",), "label", header=COLA),
}


def mnli(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Does the second sentence contradict the first, follow from it, or neither? The split "mismatched" is of other
    sources than the training part. Williams et al. 2018, arXiv:1704.05426.
    """
    return _read("mnli", split, raw_root)


def qqp(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Do two questions of Quora ask the same? Rows that lack fields are left out."""
    return _read("qqp", split, raw_root)


def stsb(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """How similar two sentences are, 0 to 5. Cer et al. 2017, arXiv:1708.00055."""
    return _read("stsb", split, raw_root)


def wnli(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Does the sentence with its pronoun resolved follow from the first? Levesque et al. 2012."""
    return _read("wnli", split, raw_root)


def qnli(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Does the sentence answer the question? From SQuAD."""
    return _read("qnli", split, raw_root)


def mrpc(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Do two sentences say the same? Dolan and Brockett 2005. Its files are msr_paraphrase_train.txt and the part of
    it that GLUE holds out, named train.tsv and dev.tsv.
    """
    return _read("mrpc", split, raw_root)


def rte(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Does the second sentence follow from the first? Dagan et al. 2006 and its successors."""
    return _read("rte", split, raw_root)


def sst2(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Is what a film review says bad or good? Socher et al. 2013."""
    return _read("sst2", split, raw_root)


def cola(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Is a sentence unacceptable or acceptable English? Warstadt et al. 2019, arXiv:1805.12471."""
    return _read("cola", split, raw_root)


def _read(name: str, split: str, raw_root: Path) -> Texts:
    """A split, tokenised. Raises DataError naming the file, and the line where one cannot be read."""
    task, path = TASKS[name], _path(name, split, raw_root)
    rows = list(_rows(name, path, task, raw_root))
    if not rows:
        raise DataError(f"{path}: no examples. Replace it")
    values = np.array([row[-1] for row in rows], dtype=np.float32)
    entry = DATASETS[name]
    columns = list(zip(*(row[0] for row in rows), strict=True))
    return tokenising.texts(
        vocabularies.tokenizer(entry.vocabulary, raw_root),
        vocabularies.VOCABULARIES[entry.vocabulary],
        *columns,
        length=entry.resolution,
        labels=np.rint(values).astype(np.int64),
        values=None if task.words else values,
    )


def _path(name: str, split: str, raw_root: Path) -> Path:
    """The file of a split. Raises DataError if one of the set's files is missing, or it has no such split."""
    check(name, raw_root)
    paths = dict(zip(("train", "test", "mismatched"), looked_for(name, raw_root), strict=False))
    if split not in paths:
        raise DataError(f"{name}: no split {split!r} (known: {', '.join(paths)})")
    return paths[split]


def _rows(name: str, path: Path, task: Task, raw_root: Path) -> Iterator[tuple[tuple[str, ...], float]]:
    """The texts of every example, and its label or score. Fields are separated by tabs; quotes mean nothing."""
    number = _score if not task.words else _numbered(task.words)
    try:
        # The byte order mark of MRPC's files is no part of their first column's name.
        with path.open(encoding="utf-8-sig") as file:
            lines = enumerate(file, start=1)
            header = task.header or next(lines, (0, ""))[1].rstrip("\n").split("\t")
            lacking = [column for column in (*task.texts, task.label) if column not in header]
            if lacking:
                raise DataError(f"{path}: no column {lacking[0]!r} (found: {', '.join(header)}). Replace it")
            places = [header.index(column) for column in task.texts]
            label = header.index(task.label) if task.label != header[-1] else -1
            for line, text in lines:
                cells = text.rstrip("\n").split("\t")
                if len(cells) < len(header) and (task.broken or cells == [""]):
                    continue
                try:
                    yield tuple(cells[place] for place in places), number(cells[label])
                except (IndexError, ValueError) as error:
                    raise DataError(f"{path}, line {line}: {one_line(error)}. Replace it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise missing(name, raw_root, one_line(error)) from error


def _numbered(words: tuple[str, ...]) -> Callable[[str], float]:
    def number(word: str) -> float:
        if word not in words:
            raise ValueError(f"label {word!r} (known: {', '.join(words)})")
        return words.index(word)

    return number


def _score(word: str) -> float:
    score = float(word)
    if not math.isfinite(score) or not 0 <= score <= 5:
        raise ValueError(f"score {word!r}, not in [0, 5]")
    return score
