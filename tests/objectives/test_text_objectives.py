"""What the tasks on texts minimise."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import models
from bench.data.records import Passage
from bench.models.rows import AllRows
from bench.objectives import masked_language_modelling, question_answering, sentence_regression, supervised
from bench.spec import Recipe, Word

RECIPE = Recipe(epochs=1)
NOT = -100  # not chosen
TASKS = {
    "sentence_classification": (supervised, 3),
    "sentence_regression": (sentence_regression, 1),
    "question_answering": (question_answering, 1),
    "masked_language_modelling": (masked_language_modelling, 1),
}


@functools.cache
def built(task):
    net = models.build(Word("bert_tiny", (("vocabulary", "embedded"),)), classes=2, mean=(0,), std=(1,), seed=0)
    models.new_head(net, task, TASKS[task][1], resolution=12, seed=1)
    return net


def network(task):
    net = built(task)
    net.zero_grad()
    return net.eval()


def texts():
    """Three texts of 12, 7 and 9 tokens, each in two segments."""
    ids = torch.randint(5, 4096, (3, 12), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 2
    segments = torch.zeros_like(ids)
    for i, (length, second) in enumerate([(12, 6), (7, 3), (9, 8)]):
        ids[i, length:] = 0
        segments[i, second:length] = 1
    return torch.stack([ids, segments], dim=1)


def passage(start, end):
    return Passage(start, end, 0, "", None, "", ())


def labels(task):
    if task == "sentence_classification":
        return torch.tensor([2, 0, 1])
    if task == "sentence_regression":
        return torch.tensor([4.5, 0.0, 2.5])
    if task == "question_answering":
        return [passage(3, 5), passage(0, 0), passage(6, 6)]
    chosen = torch.full((3, 12), NOT)
    chosen[0, [2, 5, 9]] = texts()[0, 0, [2, 5, 9]]
    chosen[2, 4] = 77
    return chosen


def run(task, net, inputs=None, given=None, recipe=RECIPE):
    inputs = texts() if inputs is None else inputs
    given = labels(task) if given is None else given
    return TASKS[task][0].loss(net, inputs, given, recipe=recipe, seed=0, step=0, indices=torch.arange(len(inputs)))


class Fixed(nn.Module):
    """These logits, whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.as_tensor(logits)

    def forward(self, inputs):
        return self.logits


class Uniform(nn.Module):
    """Predicts all of 8 tokens alike; its layer across processes tells what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.all_rows = AllRows()
        self.all_rows.register_forward_hook(lambda _, inputs, __: self.seen.append(inputs[0]))

    @property
    def top(self):
        return self

    def maps(self, inputs):
        return [inputs[:, 0, :, None].float()]

    def at(self, hidden, chosen):
        return hidden[chosen] * torch.zeros(8)


def test_regression_is_the_mean_squared_error():
    loss, logits = run("sentence_regression", Fixed([[1.0], [2.0], [4.0]]), given=torch.tensor([1.5, 2.0, 1.0]))
    assert loss.item() == pytest.approx((0.25 + 0 + 9) / 3)
    assert logits.shape == (3, 1)


def test_classification_of_texts_is_the_cross_entropy_of_images():
    net = network("sentence_classification")
    loss, logits = run("sentence_classification", net)
    assert logits.shape == (3, 3)
    assert loss.item() == pytest.approx(F.cross_entropy(net(texts()), torch.tensor([2, 0, 1])).item())


def test_question_answering_is_the_mean_over_both_ends():
    # Of four tokens: starts are predicted with odds 3 to 1, ends all alike.
    ends = torch.zeros(2, 2, 4)
    ends[0, 0, 2] = ends[1, 0, 0] = math.log(3)
    loss, logits = run("question_answering", Fixed(ends), torch.zeros(2, 2, 4), [passage(2, 3), passage(1, 2)])
    starts = (math.log(6 / 3) + math.log(6)) / 2
    assert loss.item() == pytest.approx((starts + math.log(4)) / 2)
    assert torch.equal(logits, ends)


@pytest.mark.parametrize("beyond", [passage(12, 14), passage(7, 12), passage(300, 310)])
def test_an_answer_beyond_the_input_is_one_that_it_does_not_hold(beyond):
    net = network("question_answering")
    without = run("question_answering", net, given=[passage(0, 0)] * 3)[0]
    assert run("question_answering", net, given=[beyond] * 3)[0].item() == without.item()
    assert run("question_answering", net, given=[passage(7, 11)] * 3)[0].item() != without.item()


def test_masked_language_modelling_is_the_mean_over_chosen_tokens_of_all_texts():
    net = Uniform()
    chosen = torch.tensor([[3, NOT, 1], [NOT, NOT, 7]])
    loss, logits = run("masked_language_modelling", net, torch.zeros(2, 2, 3), chosen)
    assert loss.item() == pytest.approx(math.log(8))
    assert logits.shape == (3, 8)
    (rows,) = net.seen
    assert rows.sum(0).tolist() == [pytest.approx(3 * math.log(8)), 3.0]


def test_texts_without_chosen_tokens_give_a_loss_of_zero_and_no_gradient():
    net = network("masked_language_modelling")
    loss, logits = run("masked_language_modelling", net, given=torch.full((3, 12), NOT))
    loss.backward()
    assert loss.item() == 0
    assert logits.shape == (0, 4096)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_decoding_chosen_tokens_alone_gives_the_loss_of_all_logits(smoothing):
    net = network("masked_language_modelling")
    recipe = Recipe(epochs=1, label_smoothing=smoothing)
    loss, logits = run("masked_language_modelling", net, recipe=recipe)
    given = labels("masked_language_modelling")
    full = net(texts())
    expected = F.cross_entropy(full.flatten(0, 1), given.flatten(), ignore_index=NOT, label_smoothing=smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits, full[given != NOT])


def test_gradients_of_masked_language_modelling_are_those_of_transformers():
    from transformers.models.bert.modeling_bert import BertForMaskedLM

    net = network("masked_language_modelling")
    config = net.body.bert.config.__class__.from_dict(net.body.bert.config.to_dict() | {"tie_word_embeddings": True})
    config._attn_implementation = "eager"
    reference = BertForMaskedLM(config).eval()
    state = models.state(net)
    names = {name: name.replace("top.transform", "cls.predictions.transform") for name in state}
    names["top.bias"] = "cls.predictions.bias"
    own = {names[name]: value for name, value in state.items() if not name.startswith("bert.pooler")}
    missing = set(reference.load_state_dict(own, strict=False).missing_keys)
    assert missing <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    inputs = texts()
    loss, _ = run("masked_language_modelling", net)
    expected = reference(
        input_ids=inputs[:, 0],
        token_type_ids=inputs[:, 1],
        attention_mask=(inputs[:, 0] != 0).long(),
        labels=labels("masked_language_modelling"),
    ).loss
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = {name: value.grad for name, value in reference.named_parameters()}
    compared = 0
    for name, parameter in [*net.body.named_parameters(), *net.top.named_parameters(prefix="top")]:
        if not name.startswith("bert.pooler"):
            torch.testing.assert_close(parameter.grad, gradients[names[name]], rtol=1e-4, atol=1e-6)
            compared += 1
    assert compared == len(gradients)


class Others(AllRows):
    """As in a second process: the rows of `other` follow."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, rows):
        return torch.cat([rows, self.other])


def test_parts_of_a_batch_give_the_loss_of_the_whole(monkeypatch):
    net = network("masked_language_modelling")
    given = labels("masked_language_modelling")
    whole, _ = run("masked_language_modelling", net)
    seen = []
    hook = net.all_rows.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    run("masked_language_modelling", net, texts()[1:], given[1:])
    hook.remove()
    monkeypatch.setitem(net._modules, "all_rows", Others(seen[0]))
    part, _ = run("masked_language_modelling", net, texts()[:1], given[:1])
    assert part.item() == pytest.approx(whole.item(), rel=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_that_is_read_is_trained_and_the_global_generator_left_alone(task):
    net = network(task)
    state = torch.get_rng_state()
    run(task, net)[0].backward()
    assert torch.equal(torch.get_rng_state(), state)
    pooled = () if task.startswith("sentence") else ("body.bert.pooler.dense.weight", "body.bert.pooler.dense.bias")
    # Where nothing reads the pooled state, its layer is not trained.
    assert tuple(name for name, parameter in net.named_parameters() if parameter.grad is None) == pooled
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_changes_the_loss_by_its_rounding(task):
    """Eight bits of mantissa, in two layers: within 2 %."""
    net = network(task)
    exact = run(task, net)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = run(task, net)[0]
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    assert rounded.item() != exact.item()
