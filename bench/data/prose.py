"""Prose from documentation: paragraphs and sentences of docstrings and of Python's help topics, without their code."""

from __future__ import annotations

import itertools
import re

FEWEST_WORDS = 5  # of a sentence
MOST_WORDS = 60
# Share of a paragraph's words that must be plain words, with at most a comma or a quote around them.
PLAIN = 0.7

_TYPOGRAPHIC = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u2026\u00a0", "''\"\"--. ")
_UNDERLINE = re.compile(r"\s*([=*~^\"'`+#_.-])\1{2,}\s*")
_BULLET = re.compile(r"\s*(?:[-*+o\u2022]|\(?\d{1,2}[.)]|\[\d+\])\s+(?=\S)")
_CODE = re.compile(r">>>|\.\.\. |.*::=|\.\. |\$ |@|Traceback|\||:param|:type|:return|from \S+ import|import \S+$")
_ROLE = re.compile(r":[a-z:]+:`[~!]?([^`]+)`")
_MARKS = re.compile(r"``|`|\*\*|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)|\s\[\d+\]")
_WORD = re.compile(r"[\"'(]*[A-Za-z][a-z]*(?:['-][a-z]+)*[\"')]*[.,;:!?]?[\"')]*")
_END = re.compile(r"(?<=[.!?])[\"')]*(?=\s+[\"'(]*[A-Z])")
_ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl|Jr|Dr|Mr|St)|\b[A-Z])\.$")


def paragraphs(text: str) -> list[list[str]]:
    """The paragraphs of prose as lists of sentences that follow each other, in order.

    Code, doctests, tables, headings and lists of fields are left out; a paragraph with something else in its middle is
    two. ASCII, one space between words, marks of reStructuredText removed.
    """
    found = []
    for block in _blocks(text.translate(_TYPOGRAPHIC).encode("ascii", "ignore").decode().expandtabs()):
        joined = _ROLE.sub(r"\1", " ".join(" ".join(block).split()))
        for prose, run in itertools.groupby(split(_MARKS.sub("", joined)), is_prose):
            if prose:
                found.append(list(run))
    return found


def split(paragraph: str) -> list[str]:
    """The paragraph's sentences. One that ends with an abbreviation goes on."""
    sentences: list[str] = []
    start = 0
    for end in [*(match.end() for match in _END.finditer(paragraph)), len(paragraph)]:
        sentence = paragraph[start:end].strip()
        if end < len(paragraph) and _ABBREVIATED.search(sentence):
            continue
        if sentence:
            sentences.append(sentence)
        start = end
    return sentences


def is_prose(sentence: str) -> bool:
    """Whether it has 5 to 60 words, most of them plain, and ends as sentences do."""
    words = sentence.split()
    if not FEWEST_WORDS <= len(words) <= MOST_WORDS or sentence[-1] not in ".!?:)\"'":
        return False
    return sum(_WORD.fullmatch(word) is not None for word in words) >= PLAIN * len(words)


def normalised(sentence: str) -> str:
    """The sentence's letters and digits, by which two sentences are the same."""
    return " ".join(re.findall(r"[a-z0-9]+", sentence.lower()))


def _blocks(text: str) -> list[list[str]]:
    """Lines between blank ones and bullets, but for code and headings."""
    blocks: list[list[str]] = [[]]
    dropping = False
    for line in text.splitlines():
        if not line.strip():
            dropping = False
            blocks.append([])
        elif _UNDERLINE.fullmatch(line):
            blocks[-1] = []
        elif dropping or _CODE.match(line.strip()):
            # The rest of a doctest, of a grammar's rule or of a table belongs to it.
            dropping = True
        elif bullet := _BULLET.match(line):
            blocks.append([line[bullet.end() :]])
        else:
            blocks[-1].append(line)
    return [block for block in blocks if block]
