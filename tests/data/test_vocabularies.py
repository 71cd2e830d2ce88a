"""Vocabularies: whose files they are, the pieces of words, and how the embedded one is made."""

from collections import Counter

import numpy as np
import pytest

from bench.data import DataError, python_corpus, vocabularies, wordpiece


def test_special_tokens_of_both_vocabularies_are_where_the_table_says(raw, embedded_raw):
    for name, root in (("uncased", raw), ("embedded", embedded_raw)):
        pieces, table = vocabularies.read(name, root), vocabularies.VOCABULARIES[name]
        assert len(pieces) == table.size
        ids = (table.pad, table.unk, table.cls, table.sep, table.mask)
        assert [pieces[place] for place in ids] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        assert ids == ((0, 1, 2, 3, 4) if name == "embedded" else (0, 100, 101, 102, 103))


@pytest.mark.parametrize(
    "text",
    [
        "The cat sat!",
        "unwanted Kindness",
        "d\u00e9j\u00e0 vu",
        "a-b don't",
        "  ",
        "\u4e2d\u6587",
        "tab\tnew\nline\u00a0x",
        "x" * 101,
    ],
)
def test_words_are_cut_into_pieces_as_by_hugging_face(raw, hugging_face, text):
    found = vocabularies.tokenizer("uncased", raw).encode(text).ids
    assert found == hugging_face("uncased", raw)(text, add_special_tokens=False)["input_ids"]


def test_special_tokens_written_in_a_text_are_not_special(raw):
    pieces = vocabularies.read("uncased", raw)
    ids = vocabularies.tokenizer("uncased", raw).encode("the [SEP] cat [MASK]").ids
    assert not {101, 102, 103} & set(ids)
    assert [pieces[i] for i in ids] == ["the", "[", "s", "##e", "##p", "]", "cat", "[", "m", "##a", "##s", "##k", "]"]


def test_a_missing_vocabulary_says_how_it_gets_there(tmp_path):
    with pytest.raises(DataError, match=r"no readable .*vocab\.txt\. Run `python -m bench\.prepare huggingface:bert"):
        vocabularies.tokenizer("uncased", tmp_path)


def test_another_models_vocabulary_is_refused(raw):
    path = raw / "bert-base-uncased" / "vocab.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match="30521 different lines, not 30522"):
        vocabularies.tokenizer("uncased", raw)
    lines[100], lines[101] = lines[101], lines[100]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"vocab\.txt, line 101: '\[CLS\]', not '\[UNK\]'"):
        vocabularies.tokenizer("uncased", raw)


def test_an_unknown_vocabulary_is_named_with_those_known(tmp_path):
    with pytest.raises(DataError, match=r"'cased' is not known \(known: uncased, embedded\)"):
        vocabularies.tokenizer("cased", tmp_path)


def test_the_embedded_vocabulary_knows_every_text_that_tests(embedded_raw):
    pieces = vocabularies.read("embedded", embedded_raw)
    assert len(pieces) == 4096
    # Too small by far for all words, so that none is left unused.
    assert not any(piece.startswith("[unused") for piece in pieces)
    tokenizer = vocabularies.tokenizer("embedded", embedded_raw)
    documents = python_corpus.part("test", embedded_raw)
    ids = tokenizer.encode(" ".join(sentence for d in documents for text in d.paragraphs for sentence in text)).ids
    assert np.mean(np.array(ids) == vocabularies.VOCABULARIES["embedded"].unk) < 1e-3


def counted_anew(counts, size):
    """Pieces by counting all pairs again after every merge."""
    words = {word: [word[0], *(f"##{letter}" for letter in word[1:])] for word in counts}
    found = sorted({piece for pieces in words.values() for piece in pieces})
    while len(found) < size:
        totals = Counter()
        for word, pieces in words.items():
            for i in range(len(pieces) - 1):
                totals[pieces[i], pieces[i + 1]] += counts[word]
        if not totals or max(totals.values()) < 2:
            return found
        best = min(totals, key=lambda pair: (-totals[pair], pair))
        piece = best[0] + best[1][2:]
        found += [piece] * (piece not in found)
        for word, pieces in words.items():
            i, merged = 0, []
            while i < len(pieces):
                fits = tuple(pieces[i : i + 2]) == best
                merged.append(piece if fits else pieces[i])
                i += 2 if fits else 1
            words[word] = merged
    return found


def test_pieces_are_the_most_frequent_pairs_counted_anew_after_every_merge():
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abc"), size=length)) for length in draw.integers(1, 9, size=60)]
    counts = {word: int(n) for word, n in zip(words, draw.integers(1, 5, size=60), strict=True)}
    for size in (6, 20, 60, 500):
        assert wordpiece.pieces(counts, size) == counted_anew(counts, size)


def test_of_pairs_that_occur_equally_often_the_first_by_text_is_merged():
    # (a, ##b) and (c, ##d) occur twice each, (##b, ##e) once.
    assert wordpiece.pieces({"cd": 2, "ab": 1, "abe": 1}, 6) == ["##b", "##d", "##e", "a", "c", "ab"]
    assert wordpiece.pieces({"cd": 2, "ab": 1, "abe": 1}, 100)[5:] == ["ab", "cd"]


def test_characters_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 characters do not fit a vocabulary of 2"):
        wordpiece.pieces({"abc": 1}, 2)
