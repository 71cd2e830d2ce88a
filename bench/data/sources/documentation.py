"""Sets made of the documentation that ships with Python: what tests comes from the corpus' test part alone.

Masked language modelling and the embedded vocabulary are of its training part, so that no text that tests was seen
before. Other versions of Python give sets of other sizes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.catalog import DATASETS
from bench.data import python_tasks, tokenising, vocabularies
from bench.data.python_corpus import part
from bench.data.records import Texts
from bench.data.sources.files import Options

SIZES = {"train": 3000, "test": 800}
SEED = 20_180_710


def python_docs(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """All sentences, one after the other, in blocks for masked language modelling."""
    entry = DATASETS["python_docs"]
    tokenizer = vocabularies.tokenizer(entry.vocabulary, raw_root)
    sentences = (sentence for document in part(split, raw_root) for text in document.paragraphs for sentence in text)
    tokens = tokenising.flat(tokenizer, sentences).tokens
    return tokenising.blocks(tokens, vocabularies.VOCABULARIES[entry.vocabulary], length=entry.resolution)


def python_topics(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Which of twelve subjects a passage is about, without the names of modules."""
    examples = python_tasks.subjects(part(split, raw_root), SIZES[split], generator(0, split))
    return tokenised(examples, "python_topics", raw_root)


def python_next(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """Does the second sentence of a pair follow the first (1), or come before it (0)?"""
    examples = python_tasks.ordered(part(split, raw_root), SIZES[split], generator(1, split))
    return tokenised(examples, "python_next", raw_root)


def python_similarity(split: str, raw_root: Path, *, download: bool = False, options: Options | None = None) -> Texts:
    """How similar the texts are that two excerpts are of, 0 to 5; the first is about graphics."""
    documents = part(split, raw_root), part("train", raw_root)
    examples = python_tasks.similar(*documents, SIZES[split], generator(2, split))
    return tokenised(examples, "python_similarity", raw_root)


def generator(number: int, split: str) -> np.random.Generator:
    """The draws of one (set, split)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([SEED, number, split == "test"])))


def tokenised(examples: python_tasks.Examples, name: str, raw_root: Path) -> Texts:
    """Examples at the length and with the vocabulary of a set."""
    entry = DATASETS[name]
    return tokenising.texts(
        vocabularies.tokenizer(entry.vocabulary, raw_root),
        vocabularies.VOCABULARIES[entry.vocabulary],
        *(side for side in (examples.first, examples.second) if side is not None),
        length=entry.resolution,
        labels=examples.labels,
        values=examples.values,
    )
