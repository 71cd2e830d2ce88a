"""SQuAD: windows of passages and the places of answers, against Hugging Face's tokenizer and by eye."""

import json

import numpy as np
import pytest

from bench.catalog import DATASETS, load
from bench.data import DataError, vocabularies
from bench.data.sources import question_answering
from bench.data.sources.question_answering import Question, features, span

PASSAGE = "The Tower of London is in Paris, France. The cat sat on the unwanted mat."
DRAW = np.random.default_rng(1)


def lay(raw, questions, passage=PASSAGE):
    """Both files of the set, with these questions: (id, text, answers with their beginnings)."""
    folder = raw / "squad"
    folder.mkdir(exist_ok=True)
    asked = [
        {"id": key, "question": text, "answers": [{"text": answer, "answer_start": start} for answer, start in answers]}
        for key, text, answers in questions
    ]
    content = {"version": "1.1", "data": [{"title": "x", "paragraphs": [{"context": passage, "qas": asked}]}]}
    for name in ("train", "dev"):
        (folder / f"{name}-v1.1.json").write_text(json.dumps(content))
    return folder


def read(split, raw):
    return load(DATASETS["squad"].source)(split, raw, download=False, options={})


def test_a_short_passage_is_one_feature_with_its_answer_marked(raw):
    pieces = vocabularies.read("uncased", raw)
    lay(raw, [("q1", "Where is it?", [("Paris", 26), ("Paris, France", 26)])])
    found = read("test", raw)
    assert len(found.labels) == 1
    shown = [pieces[token] for token in found.tokens(0)]
    assert shown[:6] == ["[CLS]", "where", "is", "it", "?", "[SEP]"]
    assert found.second.tolist() == [6]
    asked = found.questions
    assert shown[asked.start[0] : asked.end[0] + 1] == ["paris"]
    assert asked.passages == [PASSAGE]
    assert asked.answers == [("Paris", "Paris, France")]
    assert asked.ids == ["q1"]
    # Of the passage's tokens, the characters that they are of; of the question's and the special ones, none.
    assert len(asked.offsets) == len(shown)
    assert asked.offsets[[0, 5, -1]].tolist() == [[-1, -1]] * 3
    assert [PASSAGE[a:b].lower() for a, b in asked.offsets[6:-1]] == [piece.removeprefix("##") for piece in shown[6:-1]]


@pytest.mark.parametrize("length", [160, 384])
def test_windows_are_those_of_hugging_face(raw, hugging_face, length):
    oracle = hugging_face("uncased", raw)
    words = ["the", "unwanted", "cat", "Paris,", "sitting", "don't"]
    questions = []
    for i, n in enumerate((3, 120, 200, 700)):
        passage = " ".join(DRAW.choice(words, size=n))
        questions.append(Question(str(i), "Where did she sit?", passage, ("x",), (0, 1)))
    found = features(questions, "uncased", raw, length=length)
    begin, counted = 0, 0
    for number, question in enumerate(questions):
        n_asked = len(oracle(question.text, add_special_tokens=False)["input_ids"])
        # Hugging Face counts the tokens that two windows share.
        windows = oracle(
            question.text, question.passage, max_length=length, truncation="only_second",
            stride=length - 3 - n_asked - 128, return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        for ids, segments, offsets in zip(
            windows["input_ids"], windows["token_type_ids"], windows["offset_mapping"], strict=True
        ):
            assert found.tokens(counted).tolist() == ids
            second = segments.index(1)
            assert found.second[counted] == second
            ours = found.questions.offsets[begin : begin + len(ids)]
            assert [tuple(pair) for pair in ours[second:-1].tolist()] == offsets[second:-1]
            assert (ours[:second] == -1).all()
            assert found.questions.question[counted] == number
            begin, counted = begin + len(ids), counted + 1
    assert counted == len(found.labels)
    assert begin == len(found.questions.offsets)


def test_an_answer_is_marked_in_every_window_that_has_it_whole_and_at_cls_in_others(raw):
    # Tokens 0..299 of the passage; the room for them is 384 - 3 - 2 (the question's): one word a token.
    words = ["the"] * 500
    words[300], words[301] = "paris", "france"
    passage = " ".join(words)
    begin = passage.index("paris")
    lay(raw, [("q", "where ?", [("paris france", begin)])], passage)
    found = read("train", raw)
    paris, france = vocabularies.tokenizer("uncased", raw).encode("paris france").ids
    assert len(found.labels) == 2  # windows 0..378 and 128..499
    for i, first in enumerate((0, 128)):
        start, end = int(found.questions.start[i]), int(found.questions.end[i])
        assert (start, end) == (4 + 300 - first, 4 + 301 - first)
        assert found.tokens(i)[[start, end]].tolist() == [paris, france]
    begin = len(" ".join(words[:378])) + 1
    lay(raw, [("q", "where ?", [("the the", begin)])], passage)
    found = read("train", raw)
    # Its second word, token 379, is only in the second window.
    assert found.questions.start.tolist() == [0, 4 + 378 - 128]
    assert found.questions.end.tolist() == [0, 4 + 379 - 128]


def test_a_question_keeps_its_first_64_tokens(raw):
    lay(raw, [("q", "the " * 100, [("Paris", 26)])])
    assert read("train", raw).second.tolist() == [1 + 64 + 1]


def test_training_leaves_out_answers_that_the_passage_lacks_and_the_test_does_not(raw, capsys):
    questions = [("a", "Where?", [("Paris", 26)]), ("b", "Where?", [("London", 26)]), ("c", "Who?", [("cat", 45)])]
    lay(raw, questions)
    assert read("train", raw).questions.ids == ["a", "c"]
    assert "train-v1.1.json: 1 answers are not where it says, left out" in capsys.readouterr().err
    test = read("test", raw)
    assert test.questions.ids == ["a", "b", "c"]
    assert (test.questions.start[1], test.questions.end[1]) == (0, 0)
    assert test.questions.question.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("passage", "answer", "start", "expected"),
    [
        ("He, in Paris", "in", 4, (4, 6)),
        ("He, in\nParis", "in Paris", 4, (4, 12)),  # white space differs
        ("In Paris (1990).", "1990", 9, (10, 14)),  # elsewhere in the same word
        ("He, in Paris", "Paris", 0, (-1, -1)),
        ("He, in Paris", "Paris", 99, (-1, -1)),
        ("He, in Paris", " ", 3, (-1, -1)),
    ],
)
def test_an_answer_is_found_where_it_is_said_to_be(passage, answer, start, expected):
    assert span(passage, answer, start) == expected


def test_a_file_in_another_layout_is_refused_with_the_question(raw):
    folder = lay(raw, [("q7", "Where?", [])])
    with pytest.raises(
        DataError, match=r"train-v1\.1\.json, question q7: not in the layout of SQuAD v1\.1 \(no answers\)"
    ):
        read("train", raw)
    (folder / "train-v1.1.json").write_text("{}")
    with pytest.raises(DataError, match=r"train-v1\.1\.json, its head: .*\(no 'data'\)"):
        read("train", raw)


def test_missing_files_say_where_they_come_from(raw):
    with pytest.raises(DataError, match=r"squad: missing .*squad/dev-v1\.1\.json.*Put the two files of rajpurkar"):
        read("train", raw)


def test_the_sizes_are_those_of_bert():
    assert (question_answering.QUESTION, question_answering.STRIDE, DATASETS["squad"].resolution) == (64, 128, 384)
