"""Scores are trained, weights are not, and exactly what was asked for is kept."""

from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bench import granularity, masks, models
from bench.attacks.pgd import pgd
from bench.objectives import supervised
from bench.pruners import lmp
from bench.spec import Attack, Prunable, Recipe, Word
from bench.training.loop import Interrupted, train
from bench.training.state import Run

Batch = namedtuple("Batch", "inputs labels indices")
WORDS = [Word("unstructured"), Word("row"), Word("kernel"), Word("channel"), Word("n_of_m", (("m", 4),))]
UNSTRUCTURED, KERNEL = WORDS[0], WORDS[2]
RECIPE = Recipe(epochs=2, batch_size=8, lr=0.1, schedule="constant")


def resnet():
    return models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)


def attach(net, keep=37_080, word=UNSTRUCTURED, allocation="global", names=None, seed=0):
    chosen = models.prunable(net, Prunable()) if names is None else names
    return lmp.attach(net, chosen, keep=keep, granularity=word, allocation=allocation, seed=seed)


def copied(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


class Colours:
    """24 random images of 8 px in batches of 8, their order a function of the epoch."""

    n_examples, steps_per_epoch = 24, 3

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.images, self.labels = torch.rand(24, 3, 8, 8, generator=generator), torch.arange(24) % 10

    def batches(self, epoch, start_step=0):
        order = torch.from_numpy(np.random.default_rng((7, epoch)).permutation(24))
        for chosen in order.split(8)[start_step:]:
            yield Batch(self.images[chosen], self.labels[chosen], chosen)


def fit(net, parameters, scratch, recipe=RECIPE, stop=lambda: False):
    return train(
        net, Colours(), recipe, loss=supervised.loss, seed=3, run=Run(scratch=scratch, stop=stop), parameters=parameters
    )


@pytest.mark.parametrize("allocation", ["global", "layerwise", "erk"])
@pytest.mark.parametrize("word", WORDS, ids=str)
def test_the_attached_network_computes_what_its_final_mask_computes(word, allocation):
    net, images = resnet(), Colours().images
    if word.name == "n_of_m" and allocation == "erk":
        with pytest.raises(ValueError, match="not erk"):
            attach(net, word=word, allocation=allocation)
        return
    before = copied(net)
    parameters = attach(net, word=word, allocation=allocation)
    shapes = [weight.shape for weight in models.weights(resnet(), models.prunable(resnet(), Prunable())).values()]
    assert [p.shape for p in parameters] == [shape[: granularity.DIMENSIONS[word.name]] for shape in shapes]
    with torch.no_grad():
        for score in parameters:
            score += torch.randn(score.shape) * score.std()
        parameters[3] *= 1e-4  # last of all layers: of its filters one is kept
    net.eval()
    attached = net(images)
    scores = lmp.detach(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    mask = granularity.keep_top(scores, 37_080, granularity=word, allocation=allocation)
    masks.apply_(net, mask)
    assert torch.equal(net(images), attached)
    if word.name == "unstructured":
        assert masks.kept(mask) == 37_080


def test_training_finds_the_known_best_mask_and_leaves_the_weights(tmp_path, make_network):
    """The class is the largest colour. Weights: the identity and as large ones that mix the colours; three may stay."""
    body = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    )
    body[2].weight.data = torch.tensor([[5.0, 5.0, -5.0], [-5.0, 5.0, 5.0], [5.0, -5.0, 5.0]])
    body[3].weight.data = torch.eye(3)
    net = make_network(body, "3").float()
    generator = torch.Generator().manual_seed(0)
    colours = torch.rand(64, 3, generator=generator)

    class Largest:
        n_examples, steps_per_epoch = 64, 1

        def batches(self, epoch, start_step=0):
            yield Batch(colours.view(64, 3, 1, 1).expand(64, 3, 2, 2), colours.argmax(1), torch.arange(64))

    before = copied(net)
    parameters = attach(net, keep=3, names=("2.weight",))
    recipe = replace(RECIPE, epochs=200, batch_size=64, lr=0.05, weight_decay=0.0)
    train(net, Largest(), recipe, loss=supervised.loss, seed=0, run=Run(scratch=tmp_path), parameters=parameters)
    scores = lmp.detach(net)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    kept = granularity.keep_top(scores, 3, granularity=UNSTRUCTURED)["2.weight"]
    assert torch.equal(kept, torch.eye(3, dtype=torch.bool))


@pytest.mark.parametrize("word", [UNSTRUCTURED, KERNEL], ids=str)
def test_the_gradient_passes_straight_through_the_mask(word, smooth_toy, examples):
    """That of a group's score is its sign times the sum over the group of weight times the gradient of the product."""
    (scores,) = attach(smooth_toy, keep=24, word=word, names=("0.weight",))
    smooth_toy.eval()
    logits = smooth_toy(examples[0].inputs)
    nn.functional.cross_entropy(logits, examples[0].labels).backward()
    kept = smooth_toy.body[0].parametrizations.weight[0].kept.clone()
    lmp.detach(smooth_toy)
    weight = smooth_toy.body[0].weight
    weight.requires_grad_(False)
    product = (weight * granularity.spread(kept, weight)).requires_grad_()
    again = torch.func.functional_call(smooth_toy, {"body.0.weight": product}, (examples[0].inputs,))
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(again, examples[0].labels), product)
    by_group = (gradient * weight).reshape(*scores.shape, -1).sum(-1)
    torch.testing.assert_close(scores.grad, scores.detach().sign() * by_group)
    assert (scores.grad != 0).all()


@pytest.mark.parametrize("word", [UNSTRUCTURED, KERNEL], ids=str)
def test_a_resumed_training_ends_with_the_same_scores(tmp_path, word):
    def scores(folder, stop_at=None):
        net, looks = resnet(), iter(range(1, 100))
        parameters = attach(net, word=word)
        try:
            fit(net, parameters, folder, stop=lambda: next(looks) == stop_at)
        except Interrupted:
            net = resnet()
            parameters = attach(net, word=word, seed=99)  # another start, which the checkpoint overwrites
            fit(net, parameters, folder)
        return lmp.detach(net)

    whole = scores(tmp_path / "whole")
    for stop_at in (1, 4):
        resumed = scores(tmp_path / f"{stop_at}", stop_at)
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert any(not torch.equal(whole[name], value) for name, value in scores_at_start(word).items())


def scores_at_start(word):
    net = resnet()
    attach(net, word=word)
    return lmp.detach(net)


def test_the_mask_follows_the_scores_as_they_are_trained(tmp_path):
    net, images = resnet(), Colours().images
    parameters = attach(net, keep=10_000)
    seen = []
    for _ in range(3):
        fit(net, parameters, tmp_path / str(len(seen)), replace(RECIPE, epochs=1))
        net(images)
        seen.append(torch.cat([layer.kept.flatten() for layer in net.modules() if isinstance(layer, lmp.Masked)]))
        assert seen[-1].sum() == 10_000
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


def test_attacks_and_validation_work_while_scores_are_attached():
    net = resnet().eval()
    parameters = attach(net)
    images, labels = Colours().images[:4], Colours().labels[:4]
    with torch.no_grad():
        clean = nn.functional.cross_entropy(net(images), labels)
        adversarial = pgd(net, images, labels, Attack(steps=3), noise=None)
        assert nn.functional.cross_entropy(net(adversarial), labels) > clean
    assert all(score.requires_grad and score.grad is None for score in parameters)


def test_every_layer_starts_at_the_same_density_however_large_its_fan_in():
    net = resnet()
    attach(net, keep=7_416)
    kept = granularity.keep_top(lmp.detach(net), 7_416, granularity=UNSTRUCTURED)
    for name, (n, total) in masks.per_layer(kept).items():
        # Uniform scores: binomial at density 0.1, six standard deviations.
        assert abs(n - 0.1 * total) < 6 * (0.09 * total) ** 0.5, name


def test_the_network_comes_back_as_it_was():
    net = models.build(Word("mobilenet_v2", (("stem", "cifar"),)), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    net.body.features[0][0].weight.requires_grad_(False)
    parameters = [(name, id(p), p.requires_grad) for name, p in net.named_parameters()]
    names, classes = list(net.state_dict()), [type(module) for module in net.modules()]
    generator = torch.get_rng_state()
    attach(net, keep=1_000_000)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not any(p.requires_grad for name, p in net.named_parameters() if name.endswith("original"))
    lmp.detach(net)
    assert [(name, id(p), p.requires_grad) for name, p in net.named_parameters()] == parameters
    assert list(net.state_dict()) == names
    assert [type(module) for module in net.modules()] == classes
    with pytest.raises(ValueError, match="no scores are attached to mobilenet_v2"):
        lmp.detach(net)


@pytest.mark.parametrize("grad", [True, False])
def test_the_projections_of_attention_are_masked(make_network, grad):
    """Also on torch's fast path for inference."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

        def forward(self, images):
            tokens = images.mean(1)
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    net, images = make_network(Attention(), "head").float().eval(), Colours().images
    order = [name for name, _ in net.named_parameters()]
    names = models.prunable(net, Prunable())
    assert names == ("attention.in_proj_weight", "attention.out_proj.weight")
    parameters = attach(net, keep=64, names=names)
    with torch.set_grad_enabled(grad):
        logits = net(images)
    if grad:
        logits.sum().backward()
        assert all((score.grad != 0).any() for score in parameters)
    masks.apply_(net, granularity.keep_top(lmp.detach(net), 64, granularity=UNSTRUCTURED))
    assert [name for name, _ in net.named_parameters()] == order
    torch.testing.assert_close(net(images), logits)


@pytest.mark.parametrize(
    ("keep", "word", "message"),
    [
        (999_999, UNSTRUCTURED, "cannot keep 999999 of 74160 weights"),
        (100, Word("channel"), "one filter in every layer is 1611"),
        (50_000, Word("n_of_m", (("m", 4),)), "cannot have a sparsity"),
        (50_000, Word("colum"), "granularity 'colum'"),
    ],
)
@pytest.mark.parametrize("allocation", ["global", "layerwise"])
def test_what_cannot_be_kept_is_said_before_the_network_is_changed(keep, word, message, allocation):
    net = resnet()
    names = list(net.state_dict())
    with pytest.raises(ValueError, match=message):
        attach(net, keep=keep, word=word, allocation=allocation)
    assert list(net.state_dict()) == names
