"""Masked language modelling: which tokens are to be found, and what the network reads in their place.

Devlin et al. 2019, arXiv:1810.04805.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from bench.data.records import Integers
from bench.data.tokens import special
from bench.data.vocabularies import Vocabulary

CHOSEN = 0.15  # of the tokens
MASKED, REPLACED = 0.8, 0.1  # of the chosen ones; the others stay as they are
NOT_CHOSEN = -100  # what torch's cross-entropy does not count
MASKING = 48  # kind of draws; bench.data.draws, views and dense have others


class Masked(NamedTuple):
    """tokens (l,): what is read. original (l,): the tokens where they are to be found, elsewhere NOT_CHOSEN."""

    tokens: Integers
    original: Integers


def mask(tokens: Integers, vocabulary: Vocabulary, *, seed: int, epoch: int, example: int) -> Masked:
    """Tokens (l,) of one text with 15 % of them chosen, each by itself, and at least one: 80 % of these read [MASK].

    10 % read a uniformly random token of the vocabulary, 10 % themselves. [CLS], [SEP] and [PAD] are never chosen. A
    function of (seed, epoch, example). A text of which nothing else is left has nothing chosen.
    """
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, MASKING, example])))
    read, original = tokens.astype(np.int64), np.full(len(tokens), NOT_CHOSEN, np.int64)
    uniform = draw.random((3, len(tokens)))
    uniform[0, special(tokens, vocabulary)] = 1.0
    hide(read, original, uniform, vocabulary.mask, vocabulary.size)
    return Masked(read, original)


@numba.njit(nogil=True, cache=True)
def hide(read, original, uniform, mask_id, size):  # type: ignore[no-untyped-def]
    """Choose places by uniform[0] (l,), where 1 is never, and change both arrays (l,) there as `mask` says."""
    # The smallest draw is that of a random token, which is chosen also where none is below the share.
    smallest = uniform[0].min()
    for i in range(len(read)):
        if uniform[0, i] < 1.0 and (uniform[0, i] < CHOSEN or uniform[0, i] == smallest):
            original[i] = read[i]
            if uniform[1, i] < MASKED:
                read[i] = mask_id
            elif uniform[1, i] < MASKED + REPLACED:
                read[i] = int(uniform[2, i] * size)
