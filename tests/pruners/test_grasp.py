from collections import namedtuple

import pytest
import torch
from torch.nn import functional as F

from bench import granularity, models
from bench.pruners import grasp
from bench.pruners.conditions import Conditions
from bench.pruners.gradients import first_step
from bench.spec import Word

Batch = namedtuple("Batch", "inputs labels indices")
SELECT = granularity.selector(Word("unstructured"))


def conditions(batches, temperature=200):
    return Conditions(keep=1, select=SELECT, resolution=4, batches=batches, options={"temperature": temperature})


def test_scores_of_a_linear_network_for_one_example(linear_toy):
    """With p the probabilities, e = p - y and S = diag(p) - pp', g = e x' and Hg = S e x' |x|^2."""
    colour = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)
    batch = Batch(colour.view(1, 3, 1, 1).expand(1, 3, 4, 4), torch.tensor([1]), None)
    found = grasp.scores(linear_toy, ("2.weight",), conditions([batch], temperature=1))["2.weight"]
    weight = linear_toy.body[2].weight.detach()
    p = (weight @ colour).softmax(0)
    s = torch.diag(p) - p.outer(p)
    expected = weight * (s @ (p - torch.tensor([0.0, 1.0]))).outer(colour) * colour.dot(colour)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("temperature", [1, 200])
def test_scores_are_the_derivative_of_half_the_squared_gradient_norm(smooth_toy, examples, temperature):
    """Central differences of |g|^2 / 2, g over both layers and all examples, as one mask entry moves around 1."""
    names, step = ("0.weight", "5.weight"), 1e-4
    found = grasp.scores(smooth_toy, names, conditions(examples, temperature))
    weights = models.weights(smooth_toy, names)

    def half_squared_norm():
        with first_step(smooth_toy):
            loss = sum(F.cross_entropy(smooth_toy(b.inputs) / temperature, b.labels, reduction="sum") for b in examples)
            gradients = torch.autograd.grad(loss / 8, list(weights.values()))
        return sum(g.square().sum().item() for g in gradients) / 2

    for name in names:
        weight = weights[name].detach()
        for place in [tuple(place) for place in (weight == weight).nonzero()[::11].tolist()]:
            values, original = [], weight[place].item()
            for factor in (1 + step, 1 - step):
                weight[place] = original * factor
                values.append(half_squared_norm())
            weight[place] = original
            largest = found[name].abs().max().item()
            # Errors of order step^2 = 1e-8, relative to the largest score.
            assert (values[0] - values[1]) / (2 * step) == pytest.approx(found[name][place].item(), abs=1e-6 * largest)


def test_a_weight_that_holds_up_the_gradient_is_kept_before_one_that_holds_it_down(linear_toy):
    """The published rule removes the highest of -w * Hg; setting our lowest to zero raises the gradient's norm."""
    batch = Batch(torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64), torch.tensor([0]), None)
    weight = linear_toy.body[2].weight.data
    weight *= 0.01  # so small that first order decides
    scores = grasp.scores(linear_toy, ("2.weight",), conditions([batch], temperature=1))["2.weight"].flatten()

    def norm_without(place):
        changed = weight.flatten().clone()
        changed[place] = 0
        logits = changed.view(2, 3) @ torch.full((3,), 0.5, dtype=torch.float64)
        return (logits.softmax(0) - torch.tensor([1.0, 0.0])).norm().item()

    norms = [norm_without(place) for place in range(6)]
    assert norms[int(scores.argmax())] == min(norms)
    assert norms[int(scores.argmin())] == max(norms)


def test_attention_has_the_second_derivative_that_grasp_needs(make_network, examples):
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attention, self.head = torch.nn.MultiheadAttention(4, 2, batch_first=True), torch.nn.Linear(4, 3)

        def forward(self, images):
            tokens = images.mean(1)
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    net = make_network(Attention(), "head")
    scores = grasp.scores(net, ("attention.in_proj_weight",), conditions(examples))["attention.in_proj_weight"]
    assert scores.shape == (12, 4)
    assert (scores != 0).all()


def test_what_grasp_cannot_use_is_said(smooth_toy, examples):
    with pytest.raises(ValueError, match="grasp needs a temperature > 0, found 0"):
        grasp.scores(smooth_toy, ("0.weight",), conditions(examples, 0))
    with pytest.raises(ValueError, match="pruner option temperature is a number, found 'hot'"):
        grasp.scores(smooth_toy, ("0.weight",), conditions(examples, "hot"))
    with pytest.raises(ValueError, match="grasp scores weights by the loss of examples, found none"):
        grasp.scores(smooth_toy, ("0.weight",), conditions([]))
