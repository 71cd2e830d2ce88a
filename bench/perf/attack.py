"""Robust evaluation, PGD-20 with 3 restarts: the metric against torchattacks on whole batches, from the same starts.

Both attack the same adversarially trained network. torchattacks is used as in its examples: every restart attacks every
image, and the worst of them counts. The metric stops at the first wrong iterate and drops what is broken, so what it
saves depends on how many images break: hence two sizes of the ball. By default it adds a run with the margin loss.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from bench import models
from bench.attacks.noise import random_noise
from bench.metrics import robust
from bench.metrics.evaluation import Conditions
from bench.perf import Unavailable, timing, torchattacks
from bench.perf.cluster import CHECKOUT
from bench.spec import Attack, Word

MODEL = CHECKOUT / "tests" / "attacks" / "official_model.safetensors"
# It was trained on the digits before this one.
FIRST = 797
N, BATCH, SEED = 1000, 250, 0
# A step of epsilon / 4, as the studies have it.
ATTACKS = tuple(Attack(epsilon_255=size, step_255=size / 4, steps=20, restarts=3) for size in (24.0, 51.0))


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


Accuracy = Callable[[], float]


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows for both balls: images per second, then robust accuracy. `quick` takes 20 images.

    Raises Unavailable outside a checkout, where the network is.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net, found = network(device), batches(20 if quick else N, device)
    n = sum(len(batch.labels) for batch in found)
    rows = []
    for attack in ATTACKS:
        benchmark = f"attack eps {attack.epsilon_255:.0f}/255"
        accuracies: dict[str, list[float]] = {}
        cases = {
            case: functools.partial(noted, accuracies.setdefault(case, []), body)
            for case, body in evaluations(net, found, attack).items()
        }
        seconds = timing.interleaved(cases, repeats)
        rates = {case: [n / value for value in values] for case, values in seconds.items()}
        rates.setdefault(torchattacks.NAME, [])
        rows += timing.rows(benchmark, "images/s", rates)
        rows += timing.rows(benchmark, "accuracy", accuracies)
    return rows


def network(device: str) -> nn.Module:
    if not MODEL.is_file():
        raise Unavailable(f"the attacked network is not there: {MODEL} (run from a checkout)")
    found = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    stored = load_file(MODEL)
    models.load_state(
        found, {name: part.float() if part.is_floating_point() else part for name, part in stored.items()}
    )
    return found.to(device).eval().requires_grad_(False)


def batches(n: int, device: str) -> list[Batch]:
    """Digits that the network was not trained on, 8 px."""
    digits = load_digits()
    images = torch.tensor(digits.images[FIRST:][:n] / 16, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1).to(device)
    labels, indices = torch.tensor(digits.target[FIRST:][:n]).to(device), torch.arange(n, device=device)
    starts = range(0, n, BATCH)
    return [Batch(*(part[first : first + BATCH] for part in (images, labels, indices))) for first in starts]


def noted(accuracies: list[float], evaluate: Accuracy) -> None:
    accuracies.append(evaluate())


def evaluations(net: nn.Module, found: list[Batch], attack: Attack) -> dict[str, Accuracy]:
    """Case -> robust accuracy, computed anew at every call; torchattacks first where it is installed."""
    cases: dict[str, Accuracy] = {}
    if borrowed := torchattacks.pgd(net, attack):
        starts = [[start(batch, attack, restart) for restart in range(attack.restarts)] for batch in found]
        cases[torchattacks.NAME] = lambda: worst_case(net, found, starts, borrowed)
    cases["suite, same runs"] = lambda: suite(net, found, attack, margin=False)
    cases["suite"] = lambda: suite(net, found, attack, margin=True)
    if found[0].inputs.is_cuda:
        # No case is compiled: the batch shrinks from step to step, and every size is compiled anew.
        cases["suite, bf16"] = lambda: narrow(net, found, attack)
    return cases


def start(batch: Batch, attack: Attack, restart: int) -> Tensor:
    """The metric's noise, so that both start where the other does."""
    noise = random_noise(tuple(batch.inputs.shape), attack, seed=SEED, indices=batch.indices, draw=restart)
    assert noise is not None
    return noise


def suite(net: nn.Module, found: list[Batch], attack: Attack, *, margin: bool) -> float:
    conditions = Conditions(batches=lambda: found, seed=SEED, attack=attack, options={"margin": margin})
    return robust.evaluate(net, conditions).metrics["pgd_accuracy"]


def narrow(net: nn.Module, found: list[Batch], attack: Attack) -> float:
    with torch.autocast("cuda", torch.bfloat16):
        return suite(net, found, attack, margin=True)


def worst_case(
    net: nn.Module, found: list[Batch], starts: list[list[Tensor]], attack: Callable[[Tensor, Tensor], Tensor]
) -> float:
    """Share of the images that are right clean and after every restart."""
    right = []
    for batch, noises in zip(found, starts, strict=True):
        images = [batch.inputs] + [
            torchattacks.from_start(attack, batch.inputs, batch.labels, noise) for noise in noises
        ]
        with torch.no_grad():
            right.append(torch.stack([net(points).argmax(dim=1) == batch.labels for points in images]).all(dim=0))
    return torch.cat(right).double().mean().item()
