"""Answers: official definitions transcribed, spans against a loop over all pairs, and whatever the batches."""

import collections
import re
import string
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import catalog, models
from bench.data.records import Passage
from bench.metrics import squad
from bench.metrics.answers import Question, Span, best_spans, by_question
from bench.metrics.evaluation import Conditions
from bench.spec import Word


class Batch(NamedTuple):
    inputs: Tensor
    labels: list
    indices: Tensor


# The definitions of the official evaluation of version 1.1.
def normalised(text):
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def official_f1(prediction, truth):
    predicted, true = normalised(prediction).split(), normalised(truth).split()
    same = sum((collections.Counter(predicted) & collections.Counter(true)).values())
    if same == 0:
        return 0
    precision, recall = same / len(predicted), same / len(true)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "answers", "f1", "exact"),
    [
        ("The Eiffel Tower!", ("eiffel tower",), 1, 1),
        ("in an  old house", ("the old house",), 4 / 5, 0),
        ("Saint Bernadette", ("Bernadette", "Saint Bernadette Soubirous", "nobody"), 4 / 5, 0),
        ("to be or not to be", ("to be",), 2 * (2 / 6) / (1 + 2 / 6), 0),
        ("", ("nothing",), 0, 0),
        ("twelve", ("12", "Twelve."), 1, 1),
        ("north-west", ("north west",), 0, 0),
    ],
)
def test_answers_are_compared_as_officially_defined(text, answers, f1, exact):
    assert f1 == pytest.approx(max(official_f1(text, answer) for answer in answers))
    assert exact == max(normalised(text) == normalised(answer) for answer in answers)
    # torchmetrics computes in single precision.
    assert squad.compared([Question(0, "q", text, answers)], squad.official()) == [(pytest.approx(f1, rel=1e-6), exact)]


def window(draw, length, *, question=0, before=4, words=60):
    """An input of `length` tokens: `before` and the last one are not the passage's, the others are its words."""
    passage = " ".join(f"w{i}" for i in range(words))
    ends = np.cumsum([len(word) + 1 for word in passage.split()]) - 1
    starts = ends - [len(word) for word in passage.split()]
    offsets = np.full((length, 2), -1, dtype=np.int32)
    first = int(draw.integers(0, words - length))
    inside = slice(before, length - 1)
    offsets[inside] = np.stack([starts, ends], axis=1)[first : first + length - 1 - before]
    return Passage(0, 0, question, str(question), offsets, passage, (f"w{question}",))


def all_pairs(logits, passage):
    """Best (score, text) of all starts and ends among the 20 best of each, one pair at a time."""
    length = len(passage.offsets)
    starts, ends = (sorted(range(length), key=lambda t, row=row: -row[t].item())[:20] for row in logits)
    best = (-np.inf, "")
    for start in starts:
        for end in ends:
            if passage.offsets[start, 0] < 0 or passage.offsets[end, 0] < 0 or not start <= end <= start + 29:
                continue
            score = logits[0, start].item() + logits[1, end].item()
            if score > best[0]:
                best = score, passage.passage[passage.offsets[start, 0] : passage.offsets[end, 1]]
    return best


def test_spans_of_random_logits_agree_with_a_loop_over_all_pairs():
    draw = np.random.default_rng(0)
    passages = [window(draw, int(draw.integers(6, 56)), before=int(draw.integers(2, 5))) for _ in range(40)]
    logits = torch.from_numpy(draw.normal(size=(40, 2, 60)))
    # Rounded ones are often equal: the first of them counts.
    logits[20:] = logits[20:].round()
    for found, row, passage in zip(best_spans(logits, passages), logits, passages, strict=True):
        assert found == all_pairs(row, passage)


def test_padding_and_tokens_outside_of_the_passage_answer_nothing():
    offsets = np.array([[-1, -1], [-1, -1], [0, 3], [4, 6], [-1, -1]], np.int32)
    passage = Passage(0, 0, 0, "0", offsets, "one is", ("one",))
    logits = torch.zeros(1, 2, 8, dtype=torch.float64)
    logits[0, :, [0, 1, 4, 5, 6, 7]] = 9.0
    logits[0, 0, 3] = logits[0, 1, 2] = 5.0
    # The best start comes after the best end: either alone is worth as much as both.
    logits[0, 0, 2] = 1.0
    assert best_spans(logits, [passage]) == [Span(6.0, "one")]


def test_answers_have_at_most_thirty_tokens():
    passage = window(np.random.default_rng(0), 50, before=4)
    logits = torch.zeros(1, 2, 50, dtype=torch.float64)
    logits[0, 0, 10], logits[0, 1, 40], logits[0, 1, 39] = 5, 5, 4
    (found,) = best_spans(logits, [passage])
    assert found.score == 9
    assert len(found.text.split()) == 30


def test_without_a_valid_pair_the_answer_is_empty():
    passage = window(np.random.default_rng(0), 50, before=4)
    logits = torch.zeros(1, 2, 50, dtype=torch.float64)
    # Twenty starts at the end, twenty ends at the beginning.
    logits[0, 0, 29:49], logits[0, 1, 4:24] = 1, 1
    assert best_spans(logits, [passage]) == [Span(-np.inf, "")]


def test_the_best_input_of_a_question_answers_it():
    one = [Passage(0, 0, 7, "seven", None, "", ("x",)), Passage(0, 0, 2, "two", None, "", ("y",))]
    found = [(4, one[1], Span(3.0, "d")), (2, one[0], Span(5.0, "c")), (3, one[1], Span(3.0, "b")), (1, one[0], Span(-np.inf, ""))]  # fmt: skip
    assert by_question(found) == [Question(1, "seven", "c", ("x",)), Question(3, "two", "b", ("y",))]


class Written(nn.Module):
    """Logits are what the tokens and segments say; drops half of them while it is trained."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.dropout(inputs.float() / 100)


def split_of(n=12):
    """Inputs of 20 tokens, up to three of a question, and random logits."""
    draw = np.random.default_rng(1)
    questions = [5, 5, 0, 9, 9, 9, 1, 2, 2, 3, 4, 4][:n]
    passages = [window(draw, 20, question=question, words=30) for question in questions]
    logits = torch.from_numpy(draw.integers(0, 300, (n, 2, 20)))
    truth = {}
    for row, passage in zip(logits, passages, strict=True):
        score, text = all_pairs(row / 100, passage)
        if score > truth.get(passage.question, (-np.inf,))[0]:
            truth[passage.question] = score, text
    # Every second question is answered rightly, the others by all of their words and two more.
    answers = {
        question: (text if k % 2 == 0 else f"{text} but not", "zzz")
        for k, (question, (_, text)) in enumerate(truth.items())
    }
    return logits, [passage._replace(answers=answers[passage.question]) for passage in passages], truth, answers


def evaluate(logits, passages, *, network=None, order=None, sizes=None):
    positions = torch.arange(len(passages)) if order is None else torch.tensor(order)
    parts = [Batch(logits[part], [passages[i] for i in part], part) for part in positions.split(sizes or len(passages))]
    return squad.evaluate(network or Written(), Conditions(batches=lambda: parts))


def test_questions_are_counted_once_whatever_their_inputs():
    logits, passages, truth, answers = split_of()
    found = evaluate(logits, passages)
    texts = [(text, answers[question]) for question, (_, text) in truth.items()]
    f1 = [max(official_f1(text, answer) for answer in true) for text, true in texts]
    assert found.examples["f1"].tolist() == pytest.approx(f1, rel=1e-6)
    assert found.examples["exact_match"].tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert 0 < min(f1) < 1
    assert found.metrics == {"f1": pytest.approx(np.mean(f1), rel=1e-6), "exact_match": 4 / 7}
    assert found.n_examples == 7
    assert found.details == {"n_inputs": 12}
    assert list(found.metrics) == list(catalog.METRICS["squad"].reports)


def test_neither_batches_nor_their_order_matter_and_the_network_is_left_as_it_was():
    logits, passages, _, _ = split_of()
    network = Written().train()
    one = evaluate(logits, passages, network=network)
    order = [11, 4, 0, 7, 2, 9, 1, 10, 3, 5, 8, 6]
    many = evaluate(logits, passages, order=order, sizes=[1, 6, 5], network=network)
    assert one.metrics == many.metrics
    assert all(values.tolist() == many.examples[name].tolist() for name, values in one.examples.items())
    assert network.training
    assert network.dropout.training


def test_bert_is_measured_with_padded_inputs():
    network = models.build(Word("bert_tiny", (("vocabulary", "embedded"),)), classes=2, mean=(0,), std=(1,), seed=0)
    models.new_head(network, "question_answering", 1, resolution=30, seed=1)
    draw = np.random.default_rng(2)
    passages = [window(draw, length, question=k) for k, length in enumerate([30, 12, 21])]
    inputs = torch.zeros(3, 2, 30, dtype=torch.int64)
    for row, passage in zip(inputs, passages, strict=True):
        row[0, : len(passage.offsets)] = torch.from_numpy(draw.integers(5, 4096, len(passage.offsets)))
    with torch.no_grad():
        logits = network.eval()(inputs)
    right = [
        passage._replace(answers=(all_pairs(row, passage)[1],)) for row, passage in zip(logits, passages, strict=True)
    ]
    found = evaluate(inputs, right, network=network)
    assert found.metrics == {"f1": 1.0, "exact_match": 1.0}
    assert found.n_examples == 3


def test_no_examples_and_infinite_outputs_are_refused():
    logits, passages, _, _ = split_of()
    with pytest.raises(ValueError, match="no examples"):
        squad.evaluate(Written(), Conditions(batches=list))

    class Diverged(nn.Module):
        def forward(self, inputs):
            return inputs / 0

    with pytest.raises(ValueError, match="not finite"):
        evaluate(logits, passages, network=Diverged())


def test_without_torchmetrics_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.text.squad", None)
    # Before any batch is read.
    with pytest.raises(ValueError, match=r"pip install 'ticketbench\[text\]'"):
        squad.evaluate(Written(), Conditions(batches=lambda: pytest.fail("batches were read")))
