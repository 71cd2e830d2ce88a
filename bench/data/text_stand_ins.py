"""Stand-ins of text sets: a few short texts of the embedded corpus in the shape of another set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bench.catalog import DATASETS, described
from bench.data import python_tasks, tokenising, vocabularies
from bench.data.errors import DataError
from bench.data.python_corpus import part
from bench.data.records import Texts
from bench.data.sources import documentation, question_answering
from bench.data.sources.glue import TASKS
from bench.spec import Word

SCORES = 6  # 0 to 5
QUESTION_WORDS, ANSWER_WORDS, PASSAGE_WORDS = 3, 2, 10


def texts(name: str, split: str, raw_root: Path) -> Texts:
    """96 training and 32 test examples with the task, the classes and the form of the set `name`, of up to 32 tokens.

    Texts of a class are of a subject of their own; a pair with score s has 2s of its 10 words in common; an answer
    follows the words that the question names. What tests is of the corpus' test part.
    Raises DataError for a split that the set lacks.
    """
    of, entry = DATASETS[name], DATASETS["toy"]
    splits = ("train", "test", *of.splits)
    if split not in splits:
        raise DataError(f"toy(of={name}): no split {split!r} (known: {', '.join(splits)})")
    n = entry.train if split == "train" else entry.test
    word = Word("toy", (("of", name),), f"toy(of={name})")
    vocabulary, length = described(word).vocabulary, described(word).resolution
    tokenizer, special = vocabularies.tokenizer(vocabulary, raw_root), vocabularies.VOCABULARIES[vocabulary]
    documents = part("train" if split == "train" else "test", raw_root)
    if of.task == "masked_language_modelling":
        sentences = (sentence for document in documents for text in document.paragraphs for sentence in text)
        # More than enough: no sentence has under five tokens.
        tokens = tokenising.flat(tokenizer, itertools.islice(sentences, n * length)).tokens
        return tokenising.blocks(tokens[: n * (length - 2)], special, length=length)
    passages = python_tasks.by_subject(documents)
    draw = documentation.generator(10 + splits.index(split), split)
    passages = [[own[i] for i in draw.permutation(len(own))] for own in passages]
    if of.task == "question_answering":
        asked = [question for own in passages for question in questions(own)]
        asked = [question for question in asked if question_answering.n_tokens(question, tokenizer) <= length - 3]
        return question_answering.features(
            asked[: len(asked) // n * n : len(asked) // n], vocabulary, raw_root, length=length
        )
    if of.task == "sentence_regression":
        values = (np.arange(n) % SCORES).astype(np.float32)
        pairs = [alike(passages[0][i], passages[1][i], int(values[i])) for i in range(n)]
        sides = [[pair[side] for pair in pairs] for side in (0, 1)]
        return tokenising.texts(
            tokenizer, special, *sides, length=length, labels=values.astype(np.int64), values=values
        )
    labels = np.arange(n, dtype=np.int64) % of.classes
    pair = len(TASKS[name].texts) == 2 if name in TASKS else name == "python_next"
    # From the front the first texts, from the back the second ones.
    places = [range(n), range(-1, -n - 1, -1)][: 1 + pair]
    sides = [
        [passages[label][place // of.classes] for place, label in zip(side, labels, strict=True)] for side in places
    ]
    return tokenising.texts(tokenizer, special, *sides, length=length, labels=labels)


def alike(text: str, other: str, score: int) -> tuple[str, str]:
    """Ten words of a text, and twice `score` of them followed by words of the other one."""
    words, others = text.split()[:PASSAGE_WORDS], other.split()[:PASSAGE_WORDS]
    return " ".join(words), " ".join(words[: 2 * score] + others[2 * score :])


def questions(passages: Sequence[str]) -> Iterator[question_answering.Question]:
    """One question for each passage: which words follow three of its words? The answer may be longer by a word."""
    for i, text in enumerate(passages):
        words = text.split()[:PASSAGE_WORDS]
        before = i % (len(words) - QUESTION_WORDS - ANSWER_WORDS)
        begin, end = before + QUESTION_WORDS, before + QUESTION_WORDS + ANSWER_WORDS
        start = len(" ".join(words[:begin])) + 1
        answers = tuple(" ".join(words[begin:last]) for last in (end, end + 1))
        asked = f"What follows {' '.join(words[before:begin])}?"
        yield question_answering.Question(f"toy-{i}", asked, " ".join(words), answers, (start, start + len(answers[0])))
