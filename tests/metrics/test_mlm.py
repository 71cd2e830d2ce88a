"""Masked tokens: against a double loop, and by hand."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import catalog, models
from bench.metrics import mlm
from bench.metrics.evaluation import Conditions
from bench.spec import Word

NOT = -100  # not chosen


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Table(nn.Module):
    """Logits of a place are a row of a table, that of its token; what is decoded is counted."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.as_tensor(logits)
        self.dropout, self.decoded = nn.Dropout(0.5), 0

    @property
    def top(self):
        return self

    def maps(self, inputs):
        return [self.dropout(self.logits[inputs[:, 0]])]

    def at(self, hidden, chosen):
        self.decoded += int(chosen.sum())
        return hidden[chosen]


def evaluate(network, tokens, labels, sizes=None, order=None):
    inputs = torch.stack([tokens, torch.zeros_like(tokens)], dim=1)
    positions = torch.arange(len(tokens)) if order is None else torch.tensor(order)
    parts = [Batch(inputs[part], labels[part], part) for part in positions.split(sizes or len(tokens))]
    return mlm.evaluate(network, Conditions(batches=lambda: parts))


def drawn(n=20, length=9, vocabulary=6):
    draw = torch.Generator().manual_seed(0)
    tokens, truth = torch.randint(vocabulary, (2, n, length), generator=draw)
    labels = torch.where(torch.rand(n, length, generator=draw) < 0.2, truth, NOT)
    labels[3] = NOT
    return torch.randn(vocabulary, vocabulary, generator=draw), tokens, labels


def test_three_tokens_by_hand():
    network = Table([[0.0, 0.0], [0.0, math.log(3)]])
    found = evaluate(network, torch.tensor([[0, 1, 1], [0, 0, 1]]), torch.tensor([[0, 1, NOT], [NOT, NOT, 0]]))
    # Odds of 1 to 1, of 3 to 1 and of 1 to 3; of equal logits the first counts.
    assert found.metrics == {"accuracy": 2 / 3, "perplexity": pytest.approx((2 * 4 / 3 * 4) ** (1 / 3))}
    assert found.details == {"n_tokens": 3}
    assert found.examples["right"].tolist() == [2, 0]
    assert found.examples["chosen"].tolist() == [2, 1]
    assert found.examples["nll"].tolist() == pytest.approx([math.log(2) + math.log(4 / 3), math.log(4)])
    assert [found.examples[name].dtype for name in ("right", "chosen", "nll")] == [np.int32, np.int32, np.float64]
    assert list(found.metrics) == list(catalog.METRICS["mlm"].reports)


def test_random_texts_agree_with_a_double_loop():
    logits, tokens, labels = drawn()
    right, chosen, nll = np.zeros(20), np.zeros(20), np.zeros(20)
    for i in range(20):
        for j in range(9):
            if labels[i, j] != NOT:
                row = logits[tokens[i, j]].double().numpy()
                chosen[i] += 1
                right[i] += row.argmax() == labels[i, j].item()
                nll[i] += math.log(sum(math.exp(value) for value in row)) - row[labels[i, j]]
    found = evaluate(Table(logits), tokens, labels)
    assert found.examples["right"].tolist() == right.tolist()
    assert found.examples["chosen"].tolist() == chosen.tolist()
    assert found.examples["nll"].tolist() == pytest.approx(nll.tolist(), abs=1e-12)
    assert found.metrics["accuracy"] == right.sum() / chosen.sum()
    assert found.metrics["perplexity"] == pytest.approx(math.exp(nll.sum() / chosen.sum()))


def test_neither_batches_nor_their_order_matter_and_the_network_is_left_as_it_was():
    logits, tokens, labels = drawn()
    network = Table(logits).train()
    one = evaluate(network, tokens, labels)
    assert network.decoded == one.details["n_tokens"]
    order = np.random.default_rng(0).permutation(20).tolist()
    many = evaluate(network, tokens, labels, sizes=[11, 2, 7], order=order)
    assert one.metrics == pytest.approx(many.metrics, rel=1e-12)
    assert all(values.tolist() == many.examples[name].tolist() for name, values in one.examples.items())
    assert network.training
    assert network.dropout.training


def test_bert_is_measured_by_the_logits_of_its_forward_pass():
    network = models.build(Word("bert_tiny", (("vocabulary", "embedded"),)), classes=2, mean=(0,), std=(1,), seed=0)
    models.new_head(network, "masked_language_modelling", 1, resolution=9, seed=1)
    _, _, labels = drawn()
    tokens = torch.randint(5, 4096, labels.shape, generator=torch.Generator().manual_seed(1))
    tokens[::2, 6:] = 0
    inputs = torch.stack([tokens, torch.zeros_like(tokens)], dim=1)
    with torch.no_grad():
        logits = network.eval()(inputs).double()
    chosen = labels != NOT
    nll = -logits.log_softmax(-1)[chosen].gather(1, labels[chosen][:, None])
    found = evaluate(network.train(), tokens, labels)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(nll.mean().item()), rel=1e-5)
    assert found.details["n_tokens"] == int(chosen.sum())
    assert network.training


def test_texts_without_chosen_tokens_no_examples_and_infinite_outputs_are_refused():
    logits, tokens, labels = drawn()
    with pytest.raises(ValueError, match="none of the tokens of 20 examples is chosen"):
        evaluate(Table(logits), tokens, torch.full_like(labels, NOT))
    with pytest.raises(ValueError, match="no examples"):
        mlm.evaluate(Table(logits), Conditions(batches=list))
    with pytest.raises(ValueError, match="not finite"):
        evaluate(Table(logits / 0), tokens, labels)


def test_the_perplexity_of_hopeless_predictions_is_a_number():
    found = evaluate(Table([[0.0, 5000.0], [0.0, 5000.0]]), torch.tensor([[0, 1]]), torch.tensor([[0, 0]]))
    assert found.metrics == {"accuracy": 0.0, "perplexity": math.exp(700)}
    assert found.examples["nll"].tolist() == [10_000]
