"""SQuAD v1.1 (Rajpurkar et al. 2016, arXiv:1606.05250): questions, and the windows of the passages that answer them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.catalog import DATASETS
from bench.data import vocabularies
from bench.data.errors import DataError
from bench.data.places import looked_for
from bench.data.records import Questions, Texts
from bench.data.sources.files import Options, check

if TYPE_CHECKING:
    from tokenizers import Tokenizer

QUESTION = 64  # tokens of a question that are kept
STRIDE = 128  # tokens of the passage between the beginnings of two windows

Offsets = NDArray[np.int32]


class Question(NamedTuple):
    """answer: first character and one past the last of the answer that is trained on; -1, -1: the passage lacks it."""

    id: str
    text: str
    passage: str
    answers: tuple[str, ...]
    answer: tuple[int, int]


class Window(NamedTuple):
    """A feature: tokens (l,) with [CLS] and [SEP], offsets (l, 2), where the passage begins, and the answer's place."""

    tokens: NDArray[np.uint16]
    offsets: Offsets
    second: int
    start: int
    end: int


def squad(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Windows of 384 tokens, a question of up to 64 of them and a part of its passage, every 128 tokens of the passage.

    Training uses the first answer, and leaves out questions whose passage does not hold it where it says, as Hugging
    Face does; a line on stderr says how many. dev-v1.1.json tests, with all answers.
    Raises DataError naming the file, and the question that cannot be read.
    """
    check("squad", raw_root)
    path = looked_for("squad", raw_root)[split == "test"]
    questions = list(read(path))
    if split != "test":
        found = [question for question in questions if question.answer[0] >= 0]
        if len(found) < len(questions):
            print(f"{path}: {len(questions) - len(found)} answers are not where it says, left out", file=sys.stderr)
        questions = found
    if not questions:
        raise DataError(f"{path}: no questions. Replace it")
    return features(questions, DATASETS["squad"].vocabulary, raw_root, length=DATASETS["squad"].resolution)


def features(questions: Sequence[Question], vocabulary: str, raw_root: Path, *, length: int) -> Texts:
    """The windows of all questions, in their order, of at most `length` tokens."""
    tokenizer, special = vocabularies.tokenizer(vocabulary, raw_root), vocabularies.VOCABULARIES[vocabulary]

    @functools.lru_cache(maxsize=64)  # the questions about a passage follow each other
    def passage(text: str) -> tuple[list[int], Offsets]:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        return encoding.ids, np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)

    found: list[Window] = []
    question_of: list[int] = []
    for number, question in enumerate(questions):
        asked = tokenizer.encode(question.text, add_special_tokens=False).ids[:QUESTION]
        own = list(windows(asked, *passage(question.passage), question.answer, special, length))
        found += own
        question_of += [number] * len(own)
    zeros = np.zeros(len(found), np.int64)
    return Texts(
        labels=zeros,
        second=np.array([window.second for window in found], dtype=np.int64),
        tokens=lambda i: found[i].tokens,
        questions=Questions(
            question=np.array(question_of, dtype=np.int64),
            start=np.array([window.start for window in found], dtype=np.int64),
            end=np.array([window.end for window in found], dtype=np.int64),
            offsets=np.concatenate([window.offsets for window in found]),
            passages=[question.passage for question in questions],
            answers=[question.answers for question in questions],
            ids=[question.id for question in questions],
        ),
    )


def n_tokens(question: Question, tokenizer: Tokenizer) -> int:
    """Tokens of a question and its passage, without [CLS] and [SEP]."""
    return sum(len(tokenizer.encode(text).ids) for text in (question.text, question.passage))


def windows(
    asked: list[int],
    passage: list[int],
    offsets: Offsets,
    answer: tuple[int, int],
    special: vocabularies.Vocabulary,
    length: int,
) -> Iterator[Window]:
    """[CLS] question [SEP] window [SEP], each window STRIDE tokens after the one before, until one ends the passage.

    With less room than STRIDE tokens they follow each other without a gap.
    """
    asked = asked[: length - 4]
    room = length - 3 - len(asked)
    second = len(asked) + 2
    # Tokens that hold the answer's first and last character.
    first = int(np.searchsorted(offsets[:, 1], answer[0], side="right"))
    last = int(np.searchsorted(offsets[:, 0], answer[1] - 1, side="right")) - 1
    for begin in range(0, max(len(passage), 1), min(STRIDE, room)):
        own = passage[begin : begin + room]
        inside = answer[0] >= 0 and begin <= first <= last < begin + len(own)
        beside = np.full((1, 2), -1, np.int32)
        yield Window(
            np.array([special.cls, *asked, special.sep, *own, special.sep], dtype=np.uint16),
            np.concatenate([beside.repeat(second, axis=0), offsets[begin : begin + len(own)], beside]),
            second,
            first - begin + second if inside else 0,
            last - begin + second if inside else 0,
        )
        if begin + len(own) >= len(passage):
            return


def read(path: Path) -> Iterator[Question]:
    """The questions of a file in SQuAD's layout. Raises DataError naming the file and the question."""
    where = "its head"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    where = f"question {asked['id']}"
                    answers = tuple(str(answer["text"]) for answer in asked["answers"])
                    if not answers:
                        raise ValueError("no answers")
                    place = span(paragraph["context"], answers[0], int(asked["answers"][0]["answer_start"]))
                    yield Question(str(asked["id"]), str(asked["question"]), paragraph["context"], answers, place)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        kind = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}, {where}: not in the layout of SQuAD v1.1 ({kind}). Replace it") from error


def span(passage: str, answer: str, start: int) -> tuple[int, int]:
    """First character and one past the last of an answer that begins at `start`; -1, -1 if something else is there.

    White space may differ. An answer that is elsewhere in the same words is found there, as by Hugging Face.
    """
    end = min(start + len(answer), len(passage))
    if not answer.strip() or not 0 <= start < end:
        return -1, -1
    if passage[start:end].split() == answer.split():
        return start, end
    low, high = start, end
    while low > 0 and not passage[low - 1].isspace():
        low -= 1
    while high < len(passage) and not passage[high].isspace():
        high += 1
    shifted = passage.find(answer, low, high)
    return (shifted, shifted + len(answer)) if shifted >= 0 else (-1, -1)
