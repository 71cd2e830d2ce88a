"""Text files for masked language modelling."""

import gc

import numpy as np
import pytest

from bench.catalog import DATASETS, load
from bench.data import DataError, vocabularies
from bench.data.sources import text_files

DRAW = np.random.default_rng(2)


def lay(raw, text):
    (raw / "mlm").mkdir(exist_ok=True)
    for split in ("train", "test"):
        (raw / "mlm" / f"{split}.txt").write_text(text, encoding="utf-8")


def read(split, raw):
    return load(DATASETS["mlm"].source)(split, raw, download=False, options={})


def drawn(n):
    """n words between spaces, line ends and empty lines."""
    words = DRAW.choice(["the", "unwanted", "caf\u00e9,", "don't", "\u4e2d\u6587"], size=n)
    return "".join(word + end for word, end in zip(words, DRAW.choice([" ", "\n", "\n\n", "  "], size=n), strict=True))


def test_blocks_are_the_tokens_of_the_whole_text_between_cls_and_sep(raw, hugging_face):
    text = drawn(1500)
    lay(raw, text)
    found = read("train", raw)
    tokens = hugging_face("uncased", raw)(text, add_special_tokens=False)["input_ids"]
    assert len(found.labels) == len(tokens) // 510 > 3
    for i in range(len(found.labels)):
        assert found.tokens(i).tolist() == [101, *tokens[510 * i : 510 * (i + 1)], 102]


@pytest.mark.parametrize("size", [12, 50, 10_000])
def test_a_text_read_in_pieces_has_the_same_tokens(raw, monkeypatch, size):
    text = drawn(300)
    lay(raw, text)
    monkeypatch.setattr(text_files, "PIECE", size)
    found = text_files.written(raw / "mlm" / "train.txt", "uncased", raw)
    assert found.tolist() == vocabularies.tokenizer("uncased", raw).encode(text).ids


def test_nothing_is_left_beside_the_text(raw):
    lay(raw, drawn(1000))
    found = read("test", raw)
    assert len(found.tokens(0)) == 512
    del found
    gc.collect()
    assert sorted(path.name for path in (raw / "mlm").iterdir()) == ["test.txt", "train.txt"]


def test_a_text_shorter_than_a_block_is_refused(raw):
    for text in ("", "the cat"):
        lay(raw, text)
        with pytest.raises(DataError, match=r"train\.txt: \d tokens make no block of 512"):
            read("train", raw)


def test_a_text_that_is_not_utf_8_is_refused(raw):
    lay(raw, "")
    (raw / "mlm" / "train.txt").write_bytes(b"caf\xe9 " * 10)
    with pytest.raises(DataError, match=r"train\.txt: not UTF-8"):
        read("train", raw)


def test_missing_texts_are_named(raw):
    with pytest.raises(DataError, match=r"mlm: missing or damaged files .*mlm/train\.txt.*Put two texts there"):
        read("train", raw)
