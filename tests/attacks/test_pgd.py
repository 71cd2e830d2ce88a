"""PGD finds the examples that plain implementations find, stays in its ball, and leaves the network alone."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from bench import models
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd, pgd_until_broken
from bench.spec import Attack, Word

LINF = Attack(norm="linf", epsilon_255=8.0, step_255=2.0, steps=7)
L2 = Attack(norm="l2", epsilon_255=0.5, step_255=0.2, steps=7)
ATTACKS = pytest.mark.parametrize("attack", [LINF, L2], ids=["linf", "l2"])


def network(dtype=torch.float32):
    """A small residual network whose running statistics have seen data."""
    net = models.build(Word("resnet8"), classes=5, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).to(dtype)
    with torch.no_grad():
        net(torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype))
    return net


def examples(n=6, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, 3, 8, 8, generator=generator, dtype=dtype)
    return images, torch.randint(5, (n,), generator=generator)


def start(images, attack, draw=0):
    return random_noise(tuple(images.shape), attack, seed=0, indices=torch.arange(len(images)), draw=draw)


def linear_reference(weight, bias, image, label, attack, noise):
    """PGD on softmax regression, one example, from the closed-form gradient W^T (p - y), in plain numpy."""
    linf = attack.norm == "linf"
    epsilon, size = (attack.epsilon_255 / 255, attack.step_255 / 255) if linf else (attack.epsilon_255, attack.step_255)

    def project(x):
        delta = x - image
        if linf:
            delta = np.minimum(np.maximum(delta, -epsilon), epsilon)
        elif np.sqrt((delta**2).sum()) > epsilon:
            delta = delta * epsilon / np.sqrt((delta**2).sum())
        return np.clip(image + delta, 0, 1)

    x = project(image + noise)
    for _ in range(attack.steps):
        logits = weight @ x + bias
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[label] -= 1
        gradient = weight.T @ p
        x = project(x + size * (np.sign(gradient) if linf else gradient / np.sqrt((gradient**2).sum())))
    return x


@ATTACKS
def test_softmax_regression_is_attacked_as_by_hand(attack):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)).double()
    images, labels = examples(dtype=torch.float64)
    noise = start(images, attack).double()
    found = pgd(net, images, labels, attack, noise=noise)
    weight, bias = (parameter.detach().numpy() for parameter in net[1].parameters())
    for k in range(len(images)):
        image, shift = images[k].flatten().numpy(), noise[k].flatten().numpy()
        expected = linear_reference(weight, bias, image, int(labels[k]), attack, shift)
        # Doubles: rounding of 7 steps of order 1.
        assert np.abs(found[k].flatten().numpy() - expected).max() < 1e-12


def plain_reference(net, images, labels, attack, noise, objective=nn.functional.cross_entropy):
    """One example at a time, the whole backward pass, as tutorials write it."""
    linf = attack.norm == "linf"
    epsilon, size = (attack.epsilon_255 / 255, attack.step_255 / 255) if linf else (attack.epsilon_255, attack.step_255)
    found = []
    for image, label, shift in zip(images.split(1), labels.split(1), noise.split(1), strict=True):
        x = (image + shift).clamp(0, 1)
        for step in range(attack.steps + 1):
            delta = x - image
            if linf:
                delta = delta.clamp(-epsilon, epsilon)
            elif delta.norm() > epsilon:
                delta = delta * epsilon / delta.norm()
            x = (image + delta).clamp(0, 1)
            if step < attack.steps:
                x = x.detach().requires_grad_()
                objective(net(x), label).backward()
                direction = x.grad.sign() if linf else x.grad / x.grad.norm()
                x = (x + size * direction).detach()
        found.append(x.detach())
    return torch.cat(found)


@ATTACKS
def test_a_residual_network_is_attacked_as_by_a_plain_implementation(attack):
    net = network(torch.float64)
    images, labels = examples(dtype=torch.float64)
    # Noise that leaves [0, 1] is clipped by the reference before the ball; start inside both, where orders agree.
    images = images * 0.8 + 0.1 if attack is LINF else images * 0.2 + 0.4
    noise = start(images, attack).double()
    found = pgd(net, images, labels, attack, noise=noise)
    expected = plain_reference(net.eval(), images, labels, attack, noise)
    assert (found - images).abs().max() > 0.01
    # Batched and single convolutions differ in the last bits of a double, which 7 steps amplify a little.
    assert (found - expected).abs().max() < 1e-9


def plain_margin(logits, label):
    """The largest wrong logit less the right one, of one example."""
    wrong = [logits[0, k] for k in range(logits.shape[1]) if k != label]
    return torch.stack(wrong).max() - logits[0, label[0]]


@ATTACKS
def test_the_margin_is_attacked_as_by_a_plain_implementation(attack):
    net = network(torch.float64)
    images, labels = examples(dtype=torch.float64)
    images = images * 0.8 + 0.1 if attack is LINF else images * 0.2 + 0.4
    noise = start(images, attack).double()
    found = pgd(net, images, labels, dataclasses.replace(attack, loss="margin"), noise=noise)
    expected = plain_reference(net.eval(), images, labels, attack, noise, plain_margin)
    assert (found - expected).abs().max() < 1e-9
    assert not torch.allclose(found, pgd(net, images, labels, attack, noise=noise))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_one_full_step_without_a_random_start_is_the_fast_gradient_method(norm):
    net = network(torch.float64).eval()
    images, labels = examples(dtype=torch.float64)
    attack = Attack(norm=norm, epsilon_255=4.0, step_255=4.0, steps=1, random_start=False)
    x = images.clone().requires_grad_()
    nn.functional.cross_entropy(net(x), labels).backward()
    if norm == "linf":
        expected = images + 4 / 255 * x.grad.sign()
    else:
        expected = images + 4 * x.grad / x.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    found = pgd(net, images, labels, attack, noise=None)
    assert (found - expected.clamp(0, 1)).abs().max() < 1e-12


@ATTACKS
def test_until_broken_keeps_the_first_wrong_iterate_and_else_the_last(attack):
    net = network(torch.float64).eval()
    images, _ = examples(n=40, dtype=torch.float64)
    labels = net(images).argmax(dim=1)
    attack = dataclasses.replace(attack, epsilon_255=attack.epsilon_255 / 8, step_255=attack.step_255 / 16)
    noise = start(images, attack).double() / 10
    found = pgd_until_broken(net, images, labels, attack, noise=noise)
    # Zero steps are the projected start: a step of size zero.
    iterates = [pgd(net, images, labels, dataclasses.replace(attack, steps=1, step_255=0.0), noise=noise)]
    iterates += [pgd(net, images, labels, dataclasses.replace(attack, steps=k), noise=noise) for k in range(1, 8)]
    firsts = []
    for row in range(40):
        wrong = [k for k in range(8) if net(iterates[k][row : row + 1]).argmax() != labels[row]]
        firsts.append(wrong[0] if wrong else 7)
        assert (found[row] - iterates[firsts[-1]][row]).abs().max() < 1e-9
    assert 0 < sum(first < 7 for first in firsts) < 40


@ATTACKS
def test_single_precision_finds_nearly_the_same_examples(attack):
    images, labels = examples(n=16)
    noise = start(images, attack)
    found = pgd(network(), images, labels, attack, noise=noise).double()
    expected = pgd(network(torch.float64), images.double(), labels, attack, noise=noise.double())
    # A gradient that is nearly zero may round to the other sign and move a pixel by 2 x step: rare, never typical.
    assert ((found - expected).abs() < 1e-4).double().mean() > 0.99


@pytest.mark.parametrize("seed", range(12))
def test_examples_never_leave_the_ball_or_the_valid_pixels(seed):
    generator = np.random.default_rng(seed)
    norm = ("linf", "l2")[seed % 2]
    epsilon = float(generator.choice([0.0, 1.0, 8.0, 64.0, 300.0])) * (1 if norm == "linf" else 0.02)
    attack = Attack(
        norm=norm,
        epsilon_255=epsilon,
        step_255=epsilon * float(generator.uniform(0.1, 4)),
        steps=int(generator.integers(1, 6)),
        random_start=bool(generator.integers(2)),
        batchnorm=("eval", "train")[seed % 4 // 2],
    )
    images, labels = examples(seed=seed)
    images = images.round() if seed % 3 == 0 else images  # all pixels at the border
    net = network()
    if seed % 5 == 0:  # saturated: gradients are zero or tiny
        models.head(net).weight.data *= 1e4
    noise = start(images, attack)
    # Noise of any size is accepted.
    found = pgd(net, images, labels, attack, noise=None if noise is None else noise * float(generator.choice([1, 5])))
    assert found.min() >= 0
    assert found.max() <= 1
    delta = (found - images).flatten(1)
    # One rounding of a number below 2, per pixel; in L2 over 192 pixels, relative to the norm.
    if norm == "linf":
        assert delta.abs().max() <= epsilon / 255 + 1.2e-7
    else:
        assert delta.norm(dim=1).max() <= epsilon * (1 + 1e-5) + 1.2e-7 * 192**0.5


@ATTACKS
def test_the_loss_rises(attack):
    net, (images, labels) = network().eval(), examples(n=16)
    before = nn.functional.cross_entropy(net(images), labels)
    after = nn.functional.cross_entropy(net(pgd(net, images, labels, attack, noise=None)), labels)
    assert after > before + 0.1


def test_gradients_too_small_to_square_still_give_a_full_step():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    net[1].weight.data *= 1e-24  # squares underflow in single precision
    images, labels = examples()
    attack = Attack(norm="l2", epsilon_255=0.5, step_255=0.1, steps=1, random_start=False)
    images = images * 0.2 + 0.4
    delta = pgd(net, images, labels, attack, noise=None) - images
    assert delta.flatten(1).norm(dim=1).tolist() == pytest.approx([0.1] * 6, rel=1e-4)


@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_the_network_comes_back_as_it_was(batchnorm):
    net = network().train()
    net.body.bn1.eval()  # a frozen layer
    net.body.conv1.weight.requires_grad_(False)
    net.body.fc.weight.grad = torch.ones_like(net.body.fc.weight)
    modes = [module.training for module in net.modules()]
    asks = [parameter.requires_grad for parameter in net.parameters()]
    before = {name: value.clone() for name, value in models.state(net).items()}
    attack = Attack(steps=2, batchnorm=batchnorm)
    found = pgd(net, *examples(), attack, noise=None)
    assert not found.requires_grad
    assert [module.training for module in net.modules()] == modes
    assert [parameter.requires_grad for parameter in net.parameters()] == asks
    assert torch.equal(net.body.fc.weight.grad, torch.ones_like(net.body.fc.weight))
    assert sum(parameter.grad is not None for parameter in net.parameters()) == 1
    changed = {name for name, value in before.items() if not torch.equal(models.state(net)[name], value)}
    learnt = {name for name in changed if "running" in name or "batches" in name}
    assert changed == learnt  # weights never change
    assert bool(changed) == (batchnorm == "train")
    assert not any(name.startswith("bn1.") for name in changed)
    if batchnorm == "train":
        seen = models.state(net)["layer1.0.bn1.num_batches_tracked"] - before["layer1.0.bn1.num_batches_tracked"]
        assert seen == 2  # one per step


def test_no_parameter_asks_for_a_gradient_during_the_attack():
    net, asked = network(), set()
    net.register_forward_hook(lambda *_: asked.update(parameter.requires_grad for parameter in net.parameters()))
    pgd(net, *examples(), LINF, noise=None)
    assert asked == {False}


def test_the_network_comes_back_as_it_was_after_an_error():
    net = network().train()
    with pytest.raises(RuntimeError):
        pgd(net, torch.rand(2, 4, 8, 8), torch.tensor([0, 1]), LINF, noise=None)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_callers_without_gradients_get_the_same_examples():
    net, (images, labels) = network(), examples()
    with torch.no_grad():
        found = pgd(net, images, labels, LINF, noise=None)
    assert torch.equal(found, pgd(net, images, labels, LINF, noise=None))


def test_images_and_noise_are_not_written_to():
    net, (images, labels) = network(), examples()
    for attack in (LINF, L2):
        noise = start(images, attack)
        copies = images.clone(), noise.clone()
        pgd(net, images, labels, attack, noise=noise)
        assert torch.equal(images, copies[0])
        assert torch.equal(noise, copies[1])
        assert not images.requires_grad


def test_an_example_does_not_depend_on_its_batch_in_evaluation_mode():
    net, (images, labels) = network(torch.float64), examples(dtype=torch.float64)
    whole = pgd(net, images, labels, LINF, noise=None)
    alone = pgd(net, images[2:3], labels[2:3], LINF, noise=None)
    assert (whole[2:3] - alone).abs().max() < 1e-9


def test_the_memory_format_stays():
    net, (images, labels) = network().to(memory_format=torch.channels_last), examples()
    images = images.to(memory_format=torch.channels_last)
    for attack in (LINF, L2):
        found = pgd(net, images, labels, attack, noise=start(images, attack))
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("batchnorm", "calls"), [("eval", 0), ("train", 3)])
def test_batch_normalisation_is_folded_only_in_evaluation_mode(batchnorm, calls):
    net, seen = network(), []
    net.body.bn1.register_forward_hook(lambda *_: seen.append(1))
    pgd(net, *examples(), Attack(steps=3, batchnorm=batchnorm), noise=None)
    assert len(seen) == calls
    assert net.training
