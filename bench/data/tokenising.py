"""Token ids of texts, pairs and blocks, with [CLS] and [SEP], cut to a length as Hugging Face's tokenizers cut them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.records import Integers, Reals, Texts
from bench.data.vocabularies import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Tokens = NDArray[np.uint16]

CHUNK = 8192  # texts that are tokenised at once, by as many threads as there are cores


class Flat(NamedTuple):
    """Tokens of n texts one after the other: those of text i are tokens[starts[i]:starts[i + 1]]."""

    tokens: Tokens
    starts: Integers

    def of(self, i: int, count: int | None = None) -> Tokens:
        """The tokens of one text, or no more of them than `count`."""
        end = self.starts[i + 1] if count is None else min(self.starts[i] + count, self.starts[i + 1])
        return self.tokens[self.starts[i] : end]


def flat(tokenizer: Tokenizer, texts: Iterable[str]) -> Flat:
    """The tokens of every text, without [CLS] and [SEP]."""
    chunks, lengths = [np.empty(0, np.uint16)], [0]
    remaining = iter(texts)
    while chunk := list(itertools.islice(remaining, CHUNK)):
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False)]
        lengths += map(len, ids)
        chunks.append(np.fromiter(itertools.chain.from_iterable(ids), dtype=np.uint16))
    return Flat(np.concatenate(chunks), np.cumsum(lengths, dtype=np.int64))


def texts(
    tokenizer: Tokenizer,
    vocabulary: Vocabulary,
    first: Iterable[str],
    second: Iterable[str] | None = None,
    *,
    length: int,
    labels: Sequence[int] | Integers,
    values: Reals | None = None,
) -> Texts:
    """[CLS] first [SEP], or [CLS] first [SEP] second [SEP], at most `length` tokens: of a pair the longer is cut."""
    left = flat(tokenizer, first)
    n_left = np.diff(left.starts)
    cls, sep = (np.array([token], np.uint16) for token in (vocabulary.cls, vocabulary.sep))
    if second is None:
        kept = np.minimum(n_left, length - 2)
        return Texts(
            labels=np.asarray(labels, dtype=np.int64),
            second=np.zeros(len(kept), np.int64),
            tokens=lambda i: np.concatenate([cls, left.of(i, kept[i]), sep]),
            values=values,
        )
    right = flat(tokenizer, second)
    kept, kept_right = longest_first(n_left, np.diff(right.starts), length - 3)
    return Texts(
        labels=np.asarray(labels, dtype=np.int64),
        second=kept + 2,
        tokens=lambda i: np.concatenate([cls, left.of(i, kept[i]), sep, right.of(i, kept_right[i]), sep]),
        values=values,
    )


def longest_first(first: Integers, second: Integers, room: int) -> tuple[Integers, Integers]:
    """How many tokens of the two texts of pairs are kept, at most `room` in all: the longer text is cut first.

    Where both are longer than half, each keeps half of an odd room, and the longer one (of equals the second) one more,
    as in the `tokenizers` library.
    """
    swapped = first > second
    short, long = np.minimum(first, second), np.maximum(first, second)
    long = np.minimum(long, np.maximum(short, room - short))
    both = short + long > room
    short, long = np.where(both, room // 2, short), np.where(both, room // 2 + room % 2, long)
    return np.where(swapped, long, short), np.where(swapped, short, long)


def blocks(tokens: Tokens, vocabulary: Vocabulary, *, length: int) -> Texts:
    """[CLS] length - 2 tokens [SEP], the blocks of a long text one after the other; a last, short block is left out."""
    size = length - 2
    count = len(tokens) // size
    cls, sep = (np.array([token], np.uint16) for token in (vocabulary.cls, vocabulary.sep))
    zeros = np.zeros(count, np.int64)
    return Texts(
        labels=zeros,
        second=zeros,
        tokens=lambda i: np.concatenate([cls, tokens[i * size : (i + 1) * size], sep]),
    )
