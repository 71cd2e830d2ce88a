"""What every objective of the catalog promises, and what each minimises."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bench import catalog, models
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.objectives import adversarial, smoothing, supervised, trades
from bench.spec import Attack, Recipe, Word

ATTACK = Attack(epsilon_255=16.0, step_255=8.0, steps=3)
RECIPE = Recipe(epochs=1, attack=ATTACK, label_smoothing=0.1)
RECIPES = {"smoothing": Recipe(epochs=1, sigma=0.1), "trades": Recipe(epochs=1, attack=ATTACK, trades_beta=6.0)}
# Those of scenes, of texts and of views have tests of their own.
OTHERS = {task.loss for task in catalog.TASKS.values()} | {"simclr", "moco"}
NAMES = [name for name in catalog.LOSSES if name not in OTHERS]
INDICES = torch.tensor([7, 3, 11, 0])


def network():
    return models.build(Word("resnet8"), classes=5, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)


def examples():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 2, 3])


def run(module, net, *, seed=0, step=0, recipe=RECIPE, indices=INDICES):
    return module.loss(net, *examples(), recipe=recipe, seed=seed, step=step, indices=indices)


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_gives_a_finite_loss_logits_and_gradients(name):
    net = network()
    loss, logits = run(catalog.load(catalog.LOSSES[name].module), net, recipe=RECIPES.get(name, RECIPE))
    assert torch.isfinite(loss)
    assert logits.shape == (4, 5)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in net.body.parameters() if p.dim() > 1)
    assert net.training


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_is_a_function_of_seed_and_step(name):
    module = catalog.load(catalog.LOSSES[name].module)
    recipe = RECIPES.get(name, RECIPE)
    first, again = run(module, network(), recipe=recipe)[0], run(module, network(), recipe=recipe)[0]
    assert torch.equal(first, again)
    others = [run(module, network(), recipe=recipe, **changed)[0] for changed in ({"seed": 1}, {"step": 1})]
    assert all(torch.equal(first, other) == (name == "standard") for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_is_left_alone(name):
    state = torch.get_rng_state()
    run(catalog.load(catalog.LOSSES[name].module), network(), recipe=RECIPES.get(name, RECIPE))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_standard_loss_is_smoothed_cross_entropy():
    net = network().eval()
    loss, logits = run(supervised, net)
    labels = examples()[1]
    log_p = logits.log_softmax(dim=1)
    by_hand = -(0.9 * log_p[torch.arange(4), labels] + 0.1 * log_p.mean(dim=1)).mean()
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-6)


def test_the_adversarial_loss_is_that_of_pgd_examples():
    net, (images, labels) = network(), examples()
    noise = random_noise(tuple(images.shape), ATTACK, seed=5, indices=INDICES, draw=9)
    attacked = pgd(net, images, labels, ATTACK, noise=noise)
    expected = F.cross_entropy(net(attacked), labels, label_smoothing=0.1)
    loss, _ = run(adversarial, network(), seed=5, step=9)
    assert torch.equal(loss, expected)
    assert loss > run(supervised, network())[0]


@pytest.mark.parametrize(("batchnorm", "updates"), [("eval", 1), ("train", 1 + 3)])
def test_batch_statistics_see_the_iterates_only_if_the_attack_says_so(batchnorm, updates):
    net = network()
    recipe = Recipe(epochs=1, attack=Attack(steps=3, batchnorm=batchnorm))
    run(adversarial, net, recipe=recipe)
    assert net.body.bn1.num_batches_tracked.item() == updates


def test_smoothing_adds_unclipped_gaussian_noise_of_the_recipes_deviation():
    seen = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images, labels, indices = torch.zeros(64, 3, 32, 32), torch.zeros(64, dtype=torch.int64), torch.arange(64)
    smoothing.loss(net, images, labels, recipe=Recipe(epochs=1, sigma=0.25), seed=0, step=0, indices=indices)
    (noisy,) = seen
    # 196,608 numbers: the mean within 5 sd / sqrt(n), the deviation within 5 sd / sqrt(2n).
    assert abs(float(noisy.mean())) < 5 * 0.25 / 196_608**0.5
    assert abs(float(noisy.std()) - 0.25) < 5 * 0.25 / 393_216**0.5
    assert noisy.min() < 0


def test_trades_is_clean_cross_entropy_plus_weighted_divergence():
    net, (images, labels) = network().eval(), examples()
    recipe = Recipe(epochs=1, attack=ATTACK, trades_beta=6.0)
    loss, logits = run(trades, net, recipe=recipe, seed=5, step=9)
    noise = random_noise(tuple(images.shape), ATTACK, seed=5, indices=INDICES, draw=9)
    clean = net(images).softmax(1).detach()
    attacked = net(pgd(net, images, clean, ATTACK, noise=noise)).softmax(1)
    divergence = (clean * (clean / attacked).log()).sum(1).mean()
    expected = F.cross_entropy(net(images), labels) + 6 * divergence
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence > 0
    assert torch.equal(logits, net(images))


def test_the_attack_of_trades_raises_the_divergence_without_reading_labels():
    net, (images, labels) = network().eval(), examples()
    recipe = Recipe(epochs=1, attack=ATTACK, trades_beta=1.0)
    values = [
        trades.loss(net, images, given, recipe=recipe, seed=0, step=0, indices=INDICES)[0]
        - F.cross_entropy(net(images), given)
        for given in (labels, labels.flip(0))
    ]
    assert values[0].item() == pytest.approx(values[1].item(), rel=1e-5)
    weaker = replace(recipe, attack=replace(ATTACK, steps=1, step_255=0.0))
    start, _ = trades.loss(net, images, labels, recipe=weaker, seed=0, step=0, indices=INDICES)
    assert values[0] > start - F.cross_entropy(net(images), labels)


def test_trades_without_a_random_start_is_refused():
    recipe = Recipe(epochs=1, attack=replace(ATTACK, random_start=False), trades_beta=6.0)
    with pytest.raises(ValueError, match="TRADES needs a recipe with an attack that starts at random"):
        run(trades, network(), recipe=recipe)


@pytest.mark.parametrize("fields", [{"trades_beta": 1.0}, {"sigma": 0.1, "attack": ATTACK}, {"sigma": -0.1}])
def test_objectives_that_contradict_each_other_are_refused(fields):
    with pytest.raises(ValueError, match=r"attack|sigma"):
        Recipe(epochs=1, **fields)


def test_adversarial_training_without_an_attack_is_refused():
    with pytest.raises(ValueError, match="needs a recipe with an attack, found none"):
        run(adversarial, network(), recipe=Recipe(epochs=1))


def test_a_recipe_with_restarts_in_its_attack_is_refused():
    with pytest.raises(ValueError, match="a training attack has 1 restart, not 2"):
        Recipe(epochs=1, attack=Attack(restarts=2))
