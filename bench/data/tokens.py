"""How a text is stored: the ids of its tokens, two bytes each, as its source gives them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.data.errors import DataError
from bench.data.layout import TOKEN
from bench.data.records import Integers, Texts
from bench.data.vocabularies import Vocabulary


def encode(texts: Texts, lengths: Integers, *, vocabulary: Vocabulary, resolution: int, task: str) -> Iterator[bytes]:
    """The texts in order; fills `lengths` (n,) with their numbers of tokens.

    Raises DataError naming a text that is longer than `resolution` tokens or not the vocabulary's, or does not fit what
    it is for.
    """
    for i in range(len(texts.labels)):
        tokens = texts.tokens(i)
        if wrong := fault(tokens, int(texts.second[i]), vocabulary=vocabulary, resolution=resolution, task=task):
            raise DataError(f"text {i}: {wrong}")
        lengths[i] = len(tokens)
        yield tokens.astype(TOKEN).tobytes()


def fault(
    tokens: NDArray[np.integer], second: int, *, vocabulary: Vocabulary, resolution: int, task: str
) -> str | None:
    """What is wrong with a text, or None."""
    n = len(tokens)
    if not 2 <= n <= resolution:
        return f"{n} tokens, where 2 to {resolution} are expected"
    if tokens.min() < 0 or tokens.max() >= vocabulary.size:
        return f"token {tokens.max()} in a vocabulary of {vocabulary.size}"
    if tokens[0] != vocabulary.cls or tokens[-1] != vocabulary.sep:
        return f"it reads {tokens[0]} ... {tokens[-1]}, not [CLS] {vocabulary.cls} ... [SEP] {vocabulary.sep}"
    if not 0 <= second < n:
        return f"its second part begins at {second} of {n} tokens"
    if task == "masked_language_modelling" and n == special(tokens, vocabulary).sum():
        return "no token that could be masked"
    return None


def special(tokens: NDArray[np.integer], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Which tokens no text consists of: [CLS], [SEP] and [PAD]. They are never masked."""
    found: NDArray[np.bool_] = (tokens == vocabulary.cls) | (tokens == vocabulary.sep) | (tokens == vocabulary.pad)
    return found
