"""Tasks made of the embedded corpus: subjects of passages, order of sentences, similarity of passages.

Pure functions of a part's documents and of a seed; nothing of a part leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bench.data.python_corpus import TOPICS, Document
from bench.data.records import Integers, Reals

# Class -> packages and modules; the help topics are about the language. A module that Python lacks is not there.
SUBJECTS = {
    "language": (TOPICS,),
    "mail": ("email", "mailbox", "smtplib", "smtpd", "imaplib", "poplib", "nntplib", "mailcap"),
    "network": (
        "http", "urllib", "xmlrpc", "wsgiref", "cgi", "cgitb", "ftplib", "telnetlib", "webbrowser", "socket",
        "socketserver", "ssl", "asyncore", "asynchat", "ipaddress",
    ),
    "concurrency": (
        "asyncio", "threading", "_threading_local", "multiprocessing", "concurrent", "queue", "subprocess", "sched",
    ),
    "graphics": ("tkinter", "turtle", "curses", "colorsys"),
    "imports": (
        "importlib", "distutils", "pkgutil", "runpy", "imp", "zipimport", "modulefinder", "venv", "site", "sysconfig",
        "zipapp", "py_compile", "compileall",
    ),
    "numbers": ("_pydecimal", "statistics", "fractions", "random", "numbers", "_pylong"),
    "testing": ("unittest", "doctest"),
    "debugging": (
        "pdb", "bdb", "traceback", "inspect", "dis", "trace", "tracemalloc", "profile", "cProfile", "pstats",
        "warnings", "linecache", "timeit",
    ),
    "text": (
        "json", "csv", "configparser", "xml", "plistlib", "tomllib", "html", "string", "re", "difflib", "textwrap",
        "codecs", "gettext", "locale", "pprint", "shlex", "tokenize",
    ),
    "files": (
        "os", "shutil", "tarfile", "zipfile", "pathlib", "tempfile", "gzip", "bz2", "lzma", "_pyio", "glob", "fnmatch",
        "posixpath", "ntpath", "genericpath", "filecmp", "fileinput", "wave", "aifc", "sunau", "chunk", "_compression",
    ),
    "types": (
        "typing", "collections", "enum", "dataclasses", "abc", "datetime", "functools", "_collections_abc", "types",
        "copy", "weakref", "contextlib", "operator", "_weakrefset", "uuid", "calendar",
    ),
}  # fmt: skip
SUBJECT_OF = {name: label for label, names in enumerate(SUBJECTS.values()) for name in names}
NAMES = re.compile(rf"\b(?:{'|'.join(sorted(SUBJECT_OF))})\b", re.IGNORECASE)
PASSAGE = (8, 16)  # words: a passage of a subject has the first number, and ends with the sentence that has the second
# Words of an excerpt, of the text around it that is compared, and from one such text to the next.
EXCERPT, CONTEXT, STEP = 20, 60, 15
ANCHOR = "graphics"  # the subject of the first excerpt of every pair
DIMENSIONS = 6
TRIES = 40  # pairs that are drawn for one that is kept
BINS = 10  # of the scores, equally many pairs in each
TOP = 5.0  # the highest score


class Examples(NamedTuple):
    """Texts, second texts of pairs, labels (n,), and scores (n,) of regression."""

    first: list[str]
    second: list[str] | None
    labels: Integers
    values: Reals | None = None


def subjects(documents: Sequence[Document], n: int, draw: np.random.Generator) -> Examples:
    """At most n passages, equally many of every subject while there are; the subject's place in SUBJECTS is the label.

    The names of all modules of SUBJECTS are taken out of every passage, so that none says its own.
    """
    chosen = []
    for label, texts in enumerate(by_subject(documents)):
        quota = n // len(SUBJECTS) + (label < n % len(SUBJECTS))
        chosen += [(texts[i], label) for i in draw.permutation(len(texts))[:quota]]
    shuffled = [chosen[i] for i in draw.permutation(len(chosen))]
    return Examples([text for text, _ in shuffled], None, np.array([label for _, label in shuffled], dtype=np.int64))


def by_subject(documents: Sequence[Document]) -> list[list[str]]:
    """The passages of every subject."""
    found: list[list[str]] = [[] for _ in SUBJECTS]
    for document in documents:
        label = SUBJECT_OF.get(document.name.split("/")[0])
        if label is not None:
            found[label] += [text for paragraph in document.paragraphs for text in passages(paragraph)]
    return found


def passages(paragraph: Sequence[str]) -> Iterator[str]:
    """Sentences that follow each other, as many as make 16 words, without the names of modules; none of under 8."""
    words: list[str] = []
    for i, sentence in enumerate(paragraph, start=1):
        words += NAMES.sub("", sentence).split()
        if len(words) >= PASSAGE[1] or i == len(paragraph):
            if len(words) >= PASSAGE[0]:
                yield " ".join(words)
            words = []


def ordered(documents: Sequence[Document], n: int, draw: np.random.Generator) -> Examples:
    """At most n pairs of a paragraph's first sentence and one of the next two: half of them in that order (1), half the
    other way round (0).

    What a pair is about says nothing of its label: both sentences are there either way.
    """
    pairs = [
        (paragraph[0], later) for document in documents for paragraph in document.paragraphs for later in paragraph[1:3]
    ]
    chosen = [pairs[i] for i in draw.permutation(len(pairs))[: min(n, len(pairs)) // 2 * 2]]
    labels = draw.permutation(np.arange(len(chosen), dtype=np.int64) % 2)
    first = [pair[1 - label] for pair, label in zip(chosen, labels, strict=True)]
    second = [pair[label] for pair, label in zip(chosen, labels, strict=True)]
    return Examples(first, second, labels)


def similar(documents: Sequence[Document], training: Sequence[Document], n: int, draw: np.random.Generator) -> Examples:
    """At most n pairs of excerpts of 20 words, and how similar the 60 words around them are, 0 to 5.

    The first excerpt is about graphics, so that the second alone tells a part of the score: a small network learns
    nothing from thousands of pairs that it must compare word by word. The similarity is 2.5 (1 + cosine) in the space
    of latent semantic analysis (Deerwester et al. 1990) of the training part: six dimensions of TF-IDF vectors, without
    the first, which all texts share. Pairs are drawn until all tenths of the scores are equally full.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    known = [text for _, text in contexts(training)]
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=3, stop_words="english").fit(known)
    space = TruncatedSVD(1 + DIMENSIONS, random_state=0).fit(vectors.transform(known))
    subject, texts = (list(column) for column in zip(*contexts(documents), strict=True))
    places = normalize(space.transform(vectors.transform(texts))[:, 1:])
    about = np.flatnonzero(np.array(subject) == list(SUBJECTS).index(ANCHOR))
    left, right = about[draw.integers(len(about), size=TRIES * n)], draw.integers(len(texts), size=TRIES * n)
    cosines = np.einsum("nd,nd->n", places[left], places[right])
    scores = np.round(TOP / 2 * (1 + cosines), 2).clip(0, TOP).astype(np.float32)
    tenth = np.minimum((scores * BINS / TOP).astype(np.int64), BINS - 1)
    rows = draw.permutation(np.concatenate([np.flatnonzero(tenth == each)[: n // BINS] for each in range(BINS)]))
    first, second = ([excerpt(texts[place]) for place in side[rows]] for side in (left, right))
    return Examples(first, second, np.rint(scores[rows]).astype(np.int64), scores[rows])


def contexts(documents: Sequence[Document]) -> Iterator[tuple[int, str]]:
    """Subject and text of 60 words of every document of a subject, from every 15th word on."""
    for document in documents:
        label = SUBJECT_OF.get(document.name.split("/")[0])
        words = [word for paragraph in document.paragraphs for sentence in paragraph for word in sentence.split()]
        if label is not None:
            for begin in range(0, len(words) - CONTEXT + 1, STEP):
                yield label, " ".join(words[begin : begin + CONTEXT])


def excerpt(context: str) -> str:
    """The 20 words in the middle."""
    return " ".join(context.split()[(CONTEXT - EXCERPT) // 2 :][:EXCERPT])
