"""Masked tokens: 15 %, of which 80 % are masked and 10 % replaced."""

import numpy as np
import pytest

from bench.data import masking
from bench.data.vocabularies import VOCABULARIES

VOCABULARY = VOCABULARIES["embedded"]
# Nothing in it is below 5, where the special ones are.
TEXT = np.concatenate([[VOCABULARY.cls], np.arange(5, 505), [VOCABULARY.sep]])


def masked(tokens=TEXT, seed=0, epoch=0, example=0):
    return masking.mask(tokens, VOCABULARY, seed=seed, epoch=epoch, example=example)


def within(found, n, p):
    """Is a count of n draws of probability p within five standard deviations? It fails once in 1.7 million seeds."""
    return abs(found - n * p) < 5 * np.sqrt(n * p * (1 - p))


def test_rates_over_a_hundred_thousand_tokens_are_those_of_bert():
    read, original = (np.stack(each) for each in zip(*(masked(example=i) for i in range(200)), strict=True))
    chosen = original != masking.NOT_CHOSEN
    n, k = 200 * 500, int(chosen.sum())
    assert within(k, n, 0.15)
    hidden, same = read[chosen] == VOCABULARY.mask, read[chosen] == original[chosen]
    # A random token is [MASK] or itself once in 4,096 times.
    assert within(hidden.sum(), k, 0.8 + 0.1 / 4096)
    assert within(same.sum(), k, 0.1 + 0.1 / 4096)
    random = read[chosen][~hidden & ~same]
    # The mean of m uniform ids has a standard deviation of 4096 / sqrt(12 m).
    assert abs(random.mean() - 2047.5) < 5 * 4096 / np.sqrt(12 * len(random))
    assert (random.min() < 100, random.max() > 3996) == (True, True)


def test_tokens_are_chosen_independently_of_their_place():
    chosen = np.stack([masked(example=i).original != masking.NOT_CHOSEN for i in range(200)])
    by_place = chosen[:, 1:-1].sum(axis=0)
    # 500 binomial counts of 200 draws: the sum of squared standard scores has mean 500 and variance 1,000 and a little.
    assert abs((np.square(by_place - 30) / 25.5).sum() - 500) < 5 * np.sqrt(1010)
    assert not chosen[:, [0, -1]].any()


def test_places_that_are_not_chosen_read_as_before():
    read, original = masked()
    kept = original == masking.NOT_CHOSEN
    assert (read[kept] == TEXT[kept]).all()
    assert (original[~kept] == TEXT[~kept]).all()


def test_every_epoch_seed_and_example_is_masked_anew_and_always_alike():
    first = masked().original
    assert (first == masked().original).all()
    for change in ({"seed": 1}, {"epoch": 1}, {"example": 1}):
        assert (first != masked(**change).original).any()


@pytest.mark.parametrize("example", range(40))
def test_a_short_text_has_at_least_one_token_to_find(example):
    # Of one token alone 0.85 would have none.
    _, original = masked(np.array([VOCABULARY.cls, 9, VOCABULARY.sep]), example=example)
    assert original.tolist() == [masking.NOT_CHOSEN, 9, masking.NOT_CHOSEN]


def test_one_token_of_many_is_chosen_where_none_was_by_itself():
    tokens = np.array([VOCABULARY.cls, 7, 8, 9, VOCABULARY.sep])
    counts = [int((masked(tokens, example=i).original != masking.NOT_CHOSEN).sum()) for i in range(2_000)]
    # P(none or one) = 0.85 ** 3 + 3 * 0.15 * 0.85 ** 2.
    assert min(counts) == 1
    assert within(counts.count(1), 2_000, 0.85**3 + 3 * 0.15 * 0.85**2)


def test_a_text_of_special_tokens_has_nothing_to_find():
    tokens = np.array([VOCABULARY.cls, VOCABULARY.sep, VOCABULARY.pad])
    read, original = masked(tokens)
    assert (read.tolist(), set(original.tolist())) == (tokens.tolist(), {masking.NOT_CHOSEN})
