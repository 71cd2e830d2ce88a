"""The embedded corpus and the sets made of it: what tests was never seen, and tasks are what they say."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from bench.catalog import DATASETS, load
from bench.data import DataError, python_corpus, python_tasks, vocabularies
from bench.data.prose import normalised
from bench.data.python_corpus import Document, docstrings
from bench.data.sources.documentation import generator

SETS = ("python_docs", "python_topics", "python_next", "python_similarity")
SOURCE = b'''"""Module."""
def f():
    """Function."""
    class C:
        """Class."""
        async def g(self): "Method."
x = """no docstring"""
if x:
    def h():
        """Inside."""
'''


def read(name, split, raw):
    return load(DATASETS[name].source)(split, raw, download=False, options={})


def sentences(documents):
    return [sentence for document in documents for paragraph in document.paragraphs for sentence in paragraph]


def test_docstrings_come_in_the_order_of_the_source_and_broken_files_have_none():
    assert list(docstrings(SOURCE)) == ["Module.", "Function.", "Class.", "Method.", "Inside."]
    assert list(docstrings(b'def f(:\n    """Broken."""')) == []
    assert list(docstrings(b"x = 1")) == []


def test_no_sentence_of_the_test_part_is_in_the_training_part(embedded_raw):
    train, test = (sentences(python_corpus.part(split, embedded_raw)) for split in ("train", "test"))
    assert len(train) > 3 * len(test) > 3000
    assert not {normalised(text) for text in train} & {normalised(text) for text in test}


def test_every_fifth_run_of_1500_characters_tests():
    runs = [f"number {i} ".ljust(1500, "x") for i in range(10)]
    train, test = python_corpus._parts((Document("a", tuple((text,) for text in runs)),))
    places = [runs.index(text) for text in sentences(test)]
    assert places in [[first, first + 5] for first in range(5)]
    assert sentences(train) == [text for i, text in enumerate(runs) if i not in places]


def test_a_paragraph_that_occurred_before_is_left_out():
    train, test = python_corpus._parts((Document("a", (("One.",), ("ONE!",))), Document("b", (("one",), ("Two.",)))))
    assert sorted(sentences(train) + sentences(test)) == ["One.", "Two."]


def test_a_paragraph_of_the_test_is_broken_at_a_sentence_of_the_training_part():
    assert python_corpus._unknown((("One.", "Two.", "Three.", "Four."),), {"two"}) == (("One.",), ("Three.", "Four."))


def test_the_gathered_text_is_kept_with_the_version_of_python(embedded_raw):
    content = json.loads((embedded_raw / "python_docs" / "corpus.json").read_text())
    assert re.fullmatch(r"3\.\d+\.\d+\S*", content["python"])
    assert python_corpus.corpus(embedded_raw) == python_corpus.gather()


def test_kept_text_is_read_again_and_not_gathered(tmp_path, monkeypatch):
    path = tmp_path / "python_docs" / "corpus.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"python": "3.99.0", "documents": [["topics/x", [["One.", "Two."], ["Three."]]]]}))
    monkeypatch.setattr(python_corpus, "gather", lambda: pytest.fail("gathered"))
    assert python_corpus.corpus(tmp_path) == (Document("topics/x", (("One.", "Two."), ("Three.",))),)
    path.write_text("{")
    with pytest.raises(DataError, match=r"corpus\.json: not the text that was gathered there .*Delete .*python_docs"):
        python_corpus.corpus(tmp_path)


def test_of_two_that_write_the_first_one_wins_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "folder" / "file"
    python_corpus.once(path, lambda file: file.write_text("first"))
    python_corpus.once(path, lambda file: file.write_text("second"))
    assert path.read_text() == "first"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("name", SETS)
def test_sets_have_the_catalogs_shape_and_are_the_same_again(name, embedded_raw):
    entry = DATASETS[name]
    found = read(name, "test", embedded_raw)
    tokens = [found.tokens(i).tolist() for i in range(len(found.labels))]
    assert {row[0] for row in tokens} == {2}
    assert {row[-1] for row in tokens} == {3}
    assert max(map(len, tokens)) <= entry.resolution == 64
    assert found.second.any() == (name in ("python_next", "python_similarity"))
    if entry.task == "sentence_classification":
        assert set(found.labels.tolist()) == set(range(entry.classes))
    again = read(name, "test", embedded_raw)
    assert [again.tokens(i).tolist() for i in range(len(again.labels))] == tokens
    assert again.labels.tolist() == found.labels.tolist()


def test_blocks_are_the_sentences_of_the_part_one_after_the_other(embedded_raw):
    found = read("python_docs", "test", embedded_raw)
    ids = (
        vocabularies.tokenizer("embedded", embedded_raw)
        .encode(" ".join(sentences(python_corpus.part("test", embedded_raw))))
        .ids
    )
    assert len(found.labels) == len(ids) // 62
    assert found.tokens(7).tolist() == [2, *ids[7 * 62 : 8 * 62], 3]


def test_passages_of_a_subject_do_not_say_the_names_of_modules(embedded_raw):
    documents = python_corpus.part("test", embedded_raw)
    found = python_tasks.subjects(documents, 100_000, generator(0, "test"))
    names = {name.lower() for names in python_tasks.SUBJECTS.values() for name in names}
    assert not any(names & set(re.findall(r"\w+", text.lower())) for text in found.first)
    assert min(len(text.split()) for text in found.first) >= 8
    # At least what a test of 800 examples needs of each of the twelve.
    assert min(Counter(found.labels.tolist()).values()) >= 67


def test_subjects_are_drawn_equally_often(embedded_raw):
    found = python_tasks.subjects(python_corpus.part("test", embedded_raw), 100, generator(0, "test"))
    assert sorted(Counter(found.labels.tolist()).values()) == [8] * 8 + [9] * 4


def test_half_of_the_pairs_begin_with_the_sentence_that_comes_first():
    # Sentence dps is number s of paragraph p of document d: 2 + 0 + 1 and 2 pairs.
    shape = {"a": (4, 1, 2), "b": (3,)}
    documents = [
        Document(name, tuple(tuple(f"{name}{p}{i}" for i in range(n)) for p, n in enumerate(lengths)))
        for name, lengths in shape.items()
    ]
    everything = {("a00", "a01"), ("a00", "a02"), ("a20", "a21"), ("b00", "b01"), ("b00", "b02")}
    seen = set()
    for seed in range(20):
        found = python_tasks.ordered(documents, 100, np.random.default_rng(seed))
        assert sorted(found.labels.tolist()) == [0, 0, 1, 1]  # an odd pair is left out
        pairs = [
            pair[:: 1 if label else -1] for *pair, label in zip(found.first, found.second, found.labels, strict=True)
        ]
        assert len(set(map(tuple, pairs))) == 4
        seen |= set(map(tuple, pairs))
    assert seen == everything


def test_of_many_pairs_the_number_asked_for_is_drawn(embedded_raw):
    found = python_tasks.ordered(python_corpus.part("test", embedded_raw), 100, generator(1, "test"))
    assert (len(found.first), found.labels.sum()) == (100, 50)


def test_similarities_are_cosines_of_the_texts_around_and_evenly_spread(embedded_raw):
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    documents, training = (python_corpus.part(split, embedded_raw) for split in ("test", "train"))
    found = python_tasks.similar(documents, training, 100, generator(2, "test"))
    assert np.histogram(found.values, bins=10, range=(0, 5))[0].tolist() == [10] * 10
    assert found.labels.tolist() == np.rint(found.values).astype(int).tolist()

    def around(documents):
        """Every 20 words in the middle of 60, the 60 words, and whether they are about graphics."""
        cut = []
        for name, paragraphs in documents:
            words = " ".join(sentence for paragraph in paragraphs for sentence in paragraph).split()
            top = name.split("/")[0]
            if any(top in names for names in python_tasks.SUBJECTS.values()):
                for begin in range(0, len(words) - 59, 15):
                    graphics = top in python_tasks.SUBJECTS["graphics"]
                    middle, text = (" ".join(words[begin + i : begin + 60 - i]) for i in (20, 0))
                    cut.append((middle, text, graphics))
        return cut

    texts = [text for _, text, _ in around(training)]
    vectors = TfidfVectorizer(sublinear_tf=True, min_df=3, stop_words="english").fit(texts)
    space = TruncatedSVD(7, random_state=0).fit(vectors.transform(texts))
    cut = {middle: (text, graphics) for middle, text, graphics in around(documents)}
    assert all(cut[text][1] for text in found.first)
    for first, second, value in zip(found.first, found.second, found.values, strict=True):
        a, b = space.transform(vectors.transform([cut[first][0], cut[second][0]]))[:, 1:]
        # Rounded to hundredths.
        assert value == pytest.approx(2.5 + 2.5 * a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=0.006)
