from collections import namedtuple

import pytest
import torch
from torch.nn import functional as F

from bench import granularity, models
from bench.pruners import snip
from bench.pruners.conditions import Conditions
from bench.pruners.gradients import first_step
from bench.spec import Word

Batch = namedtuple("Batch", "inputs labels indices")
SELECT = granularity.selector(Word("unstructured"))


def conditions(batches):
    return Conditions(keep=1, select=SELECT, resolution=4, batches=batches)


def test_scores_of_a_linear_network_are_weight_times_error_times_input(linear_toy):
    colours = torch.tensor([[0.2, 0.4, 0.6], [0.9, 0.1, 0.3]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    images = colours.view(2, 3, 1, 1).expand(2, 3, 4, 4)
    found = snip.scores(linear_toy, ("2.weight",), conditions([Batch(images, labels, None)]))["2.weight"]
    weight = linear_toy.body[2].weight.detach()
    error = (colours @ weight.T).softmax(1) - F.one_hot(labels, 2)  # the derivative of cross-entropy in the logits
    torch.testing.assert_close(found, (weight * (error.T @ colours) / 2).abs())


def test_scores_are_the_losss_derivative_in_the_mask(smooth_toy, examples):
    """Central differences of the mean loss of all examples as one mask entry moves around 1."""
    names, step = ("0.weight", "5.weight"), 1e-5
    found = snip.scores(smooth_toy, names, conditions(examples))
    for name in names:
        weight = models.weights(smooth_toy, names)[name].detach()
        for place in [tuple(place) for place in (weight == weight).nonzero()[::7].tolist()]:
            losses, original = [], weight[place].item()
            for factor in (1 + step, 1 - step):
                weight[place] = original * factor
                with torch.no_grad(), first_step(smooth_toy):
                    losses.append(
                        sum(F.cross_entropy(smooth_toy(b.inputs), b.labels, reduction="sum") for b in examples) / 8
                    )
            weight[place] = original
            difference = abs(losses[0] - losses[1]).item() / (2 * step)
            # The error of central differences is of order step^2 and rounding / step: both about 1e-10.
            assert difference == pytest.approx(found[name][place].item(), abs=1e-9), (name, place)


def test_without_batch_normalisation_batches_do_not_matter(smooth_toy, examples):
    smooth_toy.body[1] = torch.nn.Identity()
    whole = Batch(*(torch.cat(parts) for parts in zip(*examples, strict=True)))
    split, joint = (snip.scores(smooth_toy, ("5.weight",), conditions(b))["5.weight"] for b in (examples, [whole]))
    torch.testing.assert_close(split, joint)


def test_batch_normalisation_sees_the_batch_not_what_it_learnt(smooth_toy, examples):
    before = snip.scores(smooth_toy, ("0.weight",), conditions(examples))["0.weight"]
    smooth_toy.body[1].running_mean += 5
    assert torch.equal(before, snip.scores(smooth_toy, ("0.weight",), conditions(examples))["0.weight"])


def test_scores_that_say_nothing_are_refused(smooth_toy, examples):
    with pytest.raises(ValueError, match="snip scores weights by the loss of examples, found none"):
        snip.scores(smooth_toy, ("0.weight",), conditions([]))
    torch.nn.init.zeros_(smooth_toy.body[7].weight)
    with pytest.raises(ValueError, match="snip: the loss does not change with any weight to prune"):
        snip.scores(smooth_toy, ("0.weight",), conditions(examples))
