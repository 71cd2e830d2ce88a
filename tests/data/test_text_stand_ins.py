"""Stand-ins of text sets: the task, the classes and the form of the set, in short texts."""

import numpy as np
import pytest

from bench.catalog import DATASETS
from bench.data import DataError, python_corpus, vocabularies
from bench.data.stand_ins import toy

TEXTS = [name for name, entry in DATASETS.items() if entry.vocabulary]
SINGLE = ("sst2", "cola", "mlm", "python_docs", "python_topics")


def read(of, split, raw):
    return toy(split, raw, options={"of": of})


@pytest.mark.parametrize("of", TEXTS)
def test_a_stand_in_has_the_task_and_the_form_of_the_set(of, embedded_raw):
    entry = DATASETS[of]
    for split, size in (("train", 96), *((name, 32) for name in ("test", *entry.splits))):
        found = read(of, split, embedded_raw)
        tokens = [found.tokens(i).tolist() for i in range(len(found.labels))]
        assert len(tokens) == size
        assert max(map(len, tokens)) <= 32
        assert max(map(max, tokens)) < 4096
        assert {(row[0], row[-1]) for row in tokens} == {(2, 3)}
        assert (found.second > 0).all() == (of not in SINGLE)
        assert all(tokens[i][second - 1] == 3 for i, second in enumerate(found.second) if second)
        assert (found.values is not None) == (entry.task == "sentence_regression")
        assert (found.questions is not None) == (entry.task == "question_answering")
        if entry.task == "sentence_classification":
            assert found.labels.tolist() == [i % entry.classes for i in range(size)]


def test_training_test_and_mismatched_texts_are_different_ones(embedded_raw):
    found = {}
    for split in ("train", "test", "mismatched"):
        texts = read("mnli", split, embedded_raw)
        found[split] = {tuple(texts.tokens(i).tolist()) for i in range(len(texts.labels))}
    assert len(set.union(*found.values())) == 96 + 32 + 32


def test_test_texts_are_of_the_test_part(embedded_raw):
    texts = read("python_docs", "test", embedded_raw)
    documents = python_corpus.part("test", embedded_raw)
    first = next(sentence for d in documents for text in d.paragraphs for sentence in text)
    ids = vocabularies.tokenizer("embedded", embedded_raw).encode(first).ids
    assert texts.tokens(0).tolist()[1:-1][: len(ids)] == ids[:30]


def test_an_answer_is_marked_where_its_words_are(embedded_raw):
    found = read("squad", "train", embedded_raw)
    asked, pieces = found.questions, vocabularies.read("embedded", embedded_raw)
    starts = np.cumsum([0, *(len(found.tokens(i)) for i in range(96))])
    assert asked.question.tolist() == list(range(96))
    for i in range(96):
        assert 0 < asked.start[i] <= asked.end[i] < len(found.tokens(i)) - 1
        left, right = asked.offsets[starts[i] + asked.start[i], 0], asked.offsets[starts[i] + asked.end[i], 1]
        # The tokenizer's words may be shorter than those between spaces, but an answer has whole ones.
        assert asked.passages[i][left:right] == asked.answers[i][0]
        assert asked.answers[i][1].startswith(asked.answers[i][0])
    assert pieces[int(found.tokens(0)[1])] == "what"


def test_scores_say_how_many_words_a_pair_shares(embedded_raw):
    found = read("stsb", "test", embedded_raw)
    assert found.values.tolist() == [i % 6 for i in range(32)]
    for i in range(5, 32, 6):
        tokens, second = found.tokens(i).tolist(), int(found.second[i])
        shorter = min(second - 2, len(tokens) - second - 1)
        assert tokens[1 : 1 + shorter] == tokens[second : second + shorter]


def test_a_split_that_the_set_lacks_is_refused(embedded_raw):
    with pytest.raises(DataError, match=r"toy\(of=rte\): no split 'mismatched' \(known: train, test\)"):
        read("rte", "mismatched", embedded_raw)
