"""Texts and pairs as [CLS] first [SEP] second [SEP], and blocks, against Hugging Face's tokenizer."""

import numpy as np
import pytest

from bench.data import tokenising, vocabularies
from bench.data.vocabularies import VOCABULARIES

DRAW = np.random.default_rng(0)


def drawn(n, fewest=0):
    words = ["the", "cat", "unwanted", "sitting", "Paris,", "don't"]
    return [" ".join(DRAW.choice(words, size=length)) for length in DRAW.integers(fewest, 9, size=n)]


@pytest.mark.parametrize("length", [8, 9, 12, 64])
def test_pairs_are_cut_longest_first_as_by_hugging_face(raw, hugging_face, length):
    first, second = drawn(120), drawn(120, fewest=1)
    found = tokenising.texts(
        vocabularies.tokenizer("uncased", raw), VOCABULARIES["uncased"], first, second, length=length, labels=[0] * 120
    )
    oracle = hugging_face("uncased", raw)(first, second, truncation="longest_first", max_length=length)
    for i in range(120):
        assert found.tokens(i).tolist() == oracle["input_ids"][i]
        assert found.second[i] == oracle["token_type_ids"][i].index(1)
        assert found.tokens(i).dtype == np.uint16


@pytest.mark.parametrize("length", [5, 64])
def test_single_texts_are_cut_at_their_end(raw, hugging_face, length):
    texts = drawn(50)
    found = tokenising.texts(
        vocabularies.tokenizer("uncased", raw), VOCABULARIES["uncased"], texts, length=length, labels=range(50)
    )
    oracle = hugging_face("uncased", raw)(texts, truncation=True, max_length=length)
    assert [found.tokens(i).tolist() for i in range(50)] == oracle["input_ids"]
    assert found.second.tolist() == [0] * 50
    assert found.labels.tolist() == list(range(50))


def test_the_longer_text_of_a_pair_is_cut_first():
    first, second = np.array([2, 9, 9, 3, 5]), np.array([9, 2, 9, 4, 5])
    left, right = tokenising.longest_first(first, second, 7)
    assert left.tolist() == [2, 5, 3, 3, 3]
    assert right.tolist() == [5, 2, 4, 4, 4]


def test_many_texts_are_tokenised_in_chunks_as_one_by_one(raw, monkeypatch):
    monkeypatch.setattr(tokenising, "CHUNK", 7)
    tokenizer, texts = vocabularies.tokenizer("uncased", raw), drawn(30)
    found = tokenising.flat(tokenizer, iter(texts))
    assert [found.of(i).tolist() for i in range(30)] == [tokenizer.encode(text).ids for text in texts]


def test_blocks_leave_out_the_short_rest():
    tokens = np.arange(200, 211, dtype=np.uint16)
    found = tokenising.blocks(tokens, VOCABULARIES["embedded"], length=6)
    assert [found.tokens(i).tolist() for i in range(len(found.labels))] == [
        [2, 200, 201, 202, 203, 3],
        [2, 204, 205, 206, 207, 3],
    ]
    assert found.labels.tolist() == found.second.tolist() == [0, 0]
