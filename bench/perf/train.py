"""PGD-10 adversarial training: the suite's step against a naive loop, torchattacks' PGD, and the arithmetic's floor.

All are `one_step` of the training loop, with the same network, batch, optimiser and constants; what differs is how the
adversarial images are made. The floor is what no implementation avoids: for every step of the attack a forward pass and
the backward pass to the images, then one forward pass and the whole backward pass; each timed bare.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import models
from bench.models import Network
from bench.models.fold import folded
from bench.objectives import adversarial
from bench.perf import timing, torchattacks
from bench.spec import Attack, Recipe, Word
from bench.training import distributed
from bench.training.loop import Loss, one_step
from bench.training.optimizers import make_optimizer

ATTACK = Attack(epsilon_255=8, step_255=2, steps=10)
RECIPE = Recipe(epochs=1, lr=1e-3, attack=ATTACK)
# Architecture, batch size on a CPU and on a GPU.
CASES = ((Word("resnet20"), 64, 128), (Word("resnet18", (("stem", "cifar"),)), 32, 128))


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """What the network reads: images (n, 3, 32, 32) in [0, 1]; labels (n,), positions (n,)."""

    inputs: Tensor
    labels: Tensor
    indices: Tensor


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows for every network, named with its batch size: images per second, then seconds a step beside the floor.

    quick: batches of 4 images.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for architecture, on_cpu, on_gpu in CASES:
        n = 4 if quick else on_gpu if device == "cuda" else on_cpu
        network = models.build(architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0).to(device).train()
        batch, benchmark = examples(n, device), f"train {architecture.name} x{n}"
        seconds = timing.interleaved(steps(network, batch) | passes(network, batch), repeats)
        rates = {case: [n / value for value in seconds[case]] for case in seconds if case not in PASSES}
        rates.setdefault(torchattacks.NAME, [])
        floors = {f"floor, {case}": floor(seconds[case], seconds[WHOLE]) for case in (TO_IMAGES, FOLDED)}
        rows += timing.rows(benchmark, "images/s", rates)
        rows += timing.rows(benchmark, "s/step", {**floors, "suite": seconds["suite"]})
    return rows


def examples(n: int, device: str) -> Examples:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(n, 3, 32, 32, generator=generator), torch.randint(10, (n,), generator=generator)
    return Examples(inputs=images.to(device), labels=labels.to(device), indices=torch.arange(n, device=device))


def steps(network: Network, batch: Examples) -> dict[str, Callable[[], object]]:
    """A training step of every case, the naive one first, each on a copy of the network."""
    # Batch statistics in the attack, which some recipes ask for, cannot be folded.
    unfolded = dataclasses.replace(RECIPE, attack=dataclasses.replace(ATTACK, batchnorm="train"))
    cases = {"naive": training(copy.deepcopy(network), batch, naive)}
    borrowed = copy.deepcopy(network)
    if attack := torchattacks.pgd(borrowed, ATTACK):
        cases[torchattacks.NAME] = training(borrowed, batch, by(attack))
    cases["suite"] = training(copy.deepcopy(network), batch, adversarial.loss)
    cases["suite, train mode"] = training(copy.deepcopy(network), batch, adversarial.loss, unfolded)
    if batch.inputs.is_cuda:
        narrow = dataclasses.replace(RECIPE, precision="bf16")
        cases["suite, bf16"] = training(copy.deepcopy(network), batch, adversarial.loss, narrow)
        cases["suite, compiled"] = training(compiled(network), batch, adversarial.loss)
        cases["suite, bf16, compiled"] = training(compiled(network), batch, adversarial.loss, narrow)
    return cases


def compiled(network: Network) -> Network:
    """A copy whose body torch.compile fuses; batch normalisation is not folded there."""
    copied = copy.deepcopy(network)
    copied.body = cast(nn.Module, torch.compile(copied.body))
    return copied


def training(network: nn.Module, batch: Examples, loss: Loss, recipe: Recipe = RECIPE) -> Callable[[], object]:
    """One update of the network after another."""
    optimizer, count = make_optimizer(list(network.parameters()), recipe), itertools.count()
    alone = functools.partial(one_step, rows=distributed.Rows(), stop=distributed.Stop(lambda: False))
    return lambda: alone(network, batch, recipe, optimizer, loss=loss, seed=0, step=next(count))


def naive(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, **rest: object
) -> tuple[Tensor, Tensor]:
    """Adversarial training as tutorials write it: training mode throughout, gradients of all parameters every time."""
    attack = recipe.attack
    assert attack is not None
    epsilon, size = attack.epsilon_255 / 255, attack.step_255 / 255
    points = (images + torch.empty_like(images).uniform_(-epsilon, epsilon)).clamp(0, 1)
    for _ in range(attack.steps):
        points = points.detach().requires_grad_()
        network.zero_grad()
        F.cross_entropy(network(points), labels).backward()  # type: ignore[no-untyped-call]
        assert points.grad is not None
        moved = points.detach() + size * points.grad.sign()
        points = (images + (moved - images).clamp(-epsilon, epsilon)).clamp(0, 1)
    logits = network(points)
    return F.cross_entropy(logits, labels), logits


def by(attack: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Training on the adversarial images of another implementation."""

    def loss(network: nn.Module, images: Tensor, labels: Tensor, **_: object) -> tuple[Tensor, Tensor]:
        logits = network(attack(images, labels))
        return F.cross_entropy(logits, labels), logits

    return loss


TO_IMAGES, FOLDED, WHOLE = PASSES = ("as built", "folded", "whole")


def passes(network: nn.Module, batch: Examples) -> dict[str, Callable[[], object]]:
    """Bare passes: forward and backward to the images, as built and folded; forward and to all parameters."""
    whole, plain, fast = copy.deepcopy(network), copy.deepcopy(network).eval(), folded(network)
    for frozen in (plain, fast):
        frozen.requires_grad_(False)
    points = batch.inputs.clone().requires_grad_()

    def to_images(frozen: nn.Module) -> object:
        return torch.autograd.grad(F.cross_entropy(frozen(points), batch.labels), points)

    def to_parameters() -> object:
        return torch.autograd.grad(F.cross_entropy(whole(batch.inputs), batch.labels), list(whole.parameters()))

    return {TO_IMAGES: lambda: to_images(plain), FOLDED: lambda: to_images(fast), WHOLE: to_parameters}


def floor(to_images: list[float], whole: list[float]) -> list[float]:
    """Seconds of a training step that is nothing but its passes."""
    return [ATTACK.steps * attack + update for attack, update in zip(to_images, whole, strict=True)]
