"""Losses over two views: against loops over pairs, and step by step on toys."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import models
from bench.models.contrastive import Contrastive
from bench.models.rows import AllRows, OwnRows
from bench.objectives import moco, simclr
from bench.spec import Contrast, Recipe, Word
from bench.training import batchwide
from bench.training.distributed import Rows

RECIPE = Recipe(epochs=1, contrast=Contrast(temperature=0.2, dimensions=4))
QUEUED = replace(RECIPE, contrast=Contrast(temperature=0.2, dimensions=4, queue=5, momentum=0.9))


def run(module, network, images, *, recipe, seed=0, step=0):
    n = len(images) // 2
    return module.loss(
        network, images, torch.zeros(n, dtype=torch.int64), recipe=recipe, seed=seed, step=step, indices=torch.arange(n)
    )


def two_views(n=4):
    return torch.rand(2 * n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network(recipe):
    encoder = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    return Contrastive(encoder, recipe.contrast, seed=1)


def test_nt_xent_is_the_mean_over_a_loop_of_pairs():
    draw = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(3, 4, generator=draw, dtype=torch.float64), dim=1) for _ in range(2))
    views = [*first, *second]
    losses = []
    for i, view in enumerate(views):
        shares = {j: math.exp(float(view @ other) / 0.2) for j, other in enumerate(views) if j != i}
        losses.append(-math.log(shares[(i + 3) % 6] / sum(shares.values())))
    assert float(simclr.nt_xent(first, second, temperature=0.2)) == pytest.approx(sum(losses) / 6, rel=1e-12)


def test_nt_xent_of_perfect_pairs_by_hand():
    """Two examples, both views alike, at right angles: every view sees its partner at 1 and two others at 0."""
    views = torch.eye(2)
    assert float(simclr.nt_xent(views, views, temperature=1.0)) == pytest.approx(math.log(math.e + 2) - 1)


def test_simclr_compares_the_projections_of_both_views():
    model, images = network(RECIPE).eval(), two_views()
    value, projections = run(simclr, model, images, recipe=RECIPE)
    torch.testing.assert_close(value, simclr.nt_xent(model(images[:4]), model(images[4:]), temperature=0.2))
    assert projections.shape == (8, 4)


class Line(nn.Module):
    """A one-dimensional network: the encoder multiplies by its weight, and the momentum one by its own."""

    def __init__(self, weight, momentum_weight, queue):
        super().__init__()
        self.weight, self.momentum_weight = nn.Parameter(torch.tensor(weight)), torch.tensor(momentum_weight)
        self.queue, self.all_rows, self.own_rows = torch.tensor([queue]), AllRows(), OwnRows()
        self.told = []

    def forward(self, images):
        return self.weight * images

    def follow(self, momentum):
        self.momentum_weight = momentum * self.momentum_weight + (1 - momentum) * self.weight.detach()

    def keys(self, images, *, shuffle):
        self.told.append(("keys", shuffle))
        return self.momentum_weight * images

    def enqueue(self, keys):
        self.told.append(("enqueue", keys.flatten().tolist()))
        self.queue[0, : len(keys)] = keys.flatten()


def test_a_step_of_moco_by_hand():
    """Queries 2 and 4; the copy moves from 0 to 0.5 * 0 + 0.5 * 2 = 1 before it makes keys 3 and 5; queue -1, 1."""
    model = Line(2.0, 0.0, [-1.0, 1.0])
    recipe = replace(QUEUED, contrast=Contrast(temperature=2.0, queue=2, momentum=0.5, groups=2))
    value, logits = run(moco, model, torch.tensor([[1.0], [2.0], [3.0], [5.0]]), recipe=recipe, seed=7, step=9)
    assert logits.tolist() == [[3.0, -1.0, 1.0], [10.0, -2.0, 2.0]]
    expected = [math.log(sum(map(math.exp, row))) - row[0] for row in logits.tolist()]
    assert value.item() == pytest.approx(sum(expected) / 2, rel=1e-5)
    # The negatives of this step were the queue before it.
    assert model.told == [("keys", (7, 9)), ("enqueue", [3.0, 5.0])]
    assert model.queue.tolist() == [[3.0, 5.0]]
    # Keys are constants: d loss / d weight is the mean of (p - right) . candidates * x / temperature over the queries.
    value.backward()
    p = logits.detach().softmax(dim=1)
    candidates = torch.tensor([[3.0, -1.0, 1.0], [5.0, -1.0, 1.0]])
    slopes = ((p - torch.tensor([1.0, 0, 0])) * candidates).sum(1) * torch.tensor([1.0, 2.0]) / 2.0
    assert float(model.weight.grad) == pytest.approx(float(slopes.mean()), rel=1e-4)


def test_moco_on_a_network_enqueues_the_keys_of_the_second_views():
    model, images = network(QUEUED), two_views()
    copies = [parameter.clone() for parameter in model.momentum_encoder.parameters()]
    with torch.no_grad():
        model.encoder.body.conv1.weight.mul_(2)
    before = model.queue.clone()
    value, logits = run(moco, model, images, recipe=QUEUED)
    assert logits.shape == (4, 6)
    torch.testing.assert_close(logits[:, 1:], model(images[:4]) @ before / 0.2)
    assert torch.isfinite(value)
    torch.testing.assert_close(model.queue[:, :4].T, model.keys(images[4:]))
    assert model.queue[:, 4].equal(before[:, 4])
    # conv1 comes first: 0.9 w + 0.1 (2 w).
    torch.testing.assert_close(next(model.momentum_encoder.parameters()), 1.1 * copies[0])


def test_groups_of_batch_normalisation_have_statistics_of_their_own():
    """What the parts give when they pass one after another; running statistics move to the average of theirs."""
    recipe = replace(RECIPE, contrast=replace(RECIPE.contrast, groups=2))
    images = two_views(5)[:5]
    grouped = network(recipe)
    rows = Rows()
    rows.set(5, 5)
    with batchwide.over_all_processes(grouped, rows):
        found = grouped(images)
    parts = [network(recipe), network(recipe)]
    torch.testing.assert_close(found[:2], parts[0](images[:2]))
    torch.testing.assert_close(found[2:], parts[1](images[2:]))
    for name, buffer in grouped.encoder.body.named_buffers():
        if "running" in name:
            each = [dict(part.encoder.body.named_buffers())[name] for part in parts]
            torch.testing.assert_close(buffer, (each[0] + each[1]) / 2)
    assert not any("forward" in vars(module) for module in grouped.modules())


def test_both_views_of_an_example_are_in_the_same_group():
    recipe = replace(RECIPE, contrast=replace(RECIPE.contrast, groups=2))
    images = two_views(4)
    grouped = network(recipe)
    rows = Rows()
    rows.set(4, 4)
    with batchwide.over_all_processes(grouped, rows):
        found = grouped(images)
    torch.testing.assert_close(found[[0, 1, 4, 5]], network(recipe)(images[[0, 1, 4, 5]]))


@pytest.mark.parametrize(("module", "recipe"), [(simclr, Recipe(epochs=1)), (moco, Recipe(epochs=1)), (moco, RECIPE)])
def test_a_recipe_without_what_the_loss_needs_is_an_error(module, recipe):
    with pytest.raises(ValueError, match="needs a recipe with contrast"):
        run(module, network(RECIPE), two_views(), recipe=recipe)
