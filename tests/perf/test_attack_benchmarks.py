"""The benchmarks of adversarial training and robust evaluation compare like with like."""

import sys
import types

import pytest
import torch
from torch.nn import functional as F

from bench import models
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.perf import attack as evaluation
from bench.perf import torchattacks, train
from bench.spec import Attack, Recipe, Word


class PGD:
    """Stands in for torchattacks': called with the same arguments, it draws its start as that does."""

    def __init__(self, network, eps, alpha, steps):
        self.network, self.eps, self.alpha, self.steps = network, eps, alpha, steps

    def __call__(self, images, labels):
        points = (images + torch.empty_like(images).uniform_(-self.eps, self.eps)).clamp(0, 1)
        for _ in range(self.steps):
            points = points.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(self.network(points), labels), points)
            moved = points.detach() + self.alpha * gradient.sign()
            points = (images + (moved - images).clamp(-self.eps, self.eps)).clamp(0, 1).detach()
        return points


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchattacks", types.SimpleNamespace(PGD=PGD))


@pytest.fixture
def absent(monkeypatch):
    # What Python itself puts there for a module that must not be found.
    monkeypatch.setitem(sys.modules, "torchattacks", None)


def cases_of(rows, unit):
    return [(row["case"], row["value"]) for row in rows if row["unit"] == unit]


@pytest.mark.slow
def test_training_is_compared_with_the_naive_loop_and_the_floor(installed, monkeypatch):
    monkeypatch.setattr(train, "CASES", ((Word("resnet8"), 4, 4),))
    rows = train.run(repeats=1, quick=True)
    assert {row["benchmark"] for row in rows} == {"train resnet8 x4"}
    rates, seconds = cases_of(rows, "images/s"), cases_of(rows, "s/step")
    assert [case for case, _ in rates] == ["naive", "torchattacks", "suite", "suite, train mode"]
    assert [case for case, _ in seconds] == ["floor, as built", "floor, folded", "suite"]
    assert dict(rates)["suite"] == pytest.approx(4 / dict(seconds)["suite"])
    assert min(value for _, value in rates + seconds) > 0


def test_a_missing_package_leaves_its_rows_empty(absent, monkeypatch):
    monkeypatch.setattr(train, "CASES", ((Word("resnet8"), 4, 4),))
    monkeypatch.setattr(evaluation, "ATTACKS", (Attack(epsilon_255=51, step_255=13, steps=2),))
    rows = train.run(repeats=1, quick=True) + evaluation.run(repeats=1, quick=True)
    empty = [(row["benchmark"], row["case"], row["unit"]) for row in rows if row["value"] is None]
    assert empty == [
        ("train resnet8 x4", "torchattacks", "not installed"),
        ("attack eps 51/255", "torchattacks", "not installed"),
    ]


def test_a_package_that_breaks_on_import_is_not_taken_for_a_missing_one(tmp_path, monkeypatch):
    (tmp_path / "torchattacks.py").write_text("import a_module_that_it_needs\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchattacks", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_it_needs"):
        torchattacks.pgd(torch.nn.Identity(), Attack())


def toy():
    network = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0).double()
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(6, 3, 8, 8, generator=generator).double(), torch.arange(6)
    return network, images, labels


def test_the_borrowed_attack_starts_where_the_suite_does(installed):
    network, images, labels = toy()
    attack = Attack(steps=5)
    noise = random_noise(tuple(images.shape), attack, seed=0, indices=torch.arange(6), draw=0)
    borrowed = torchattacks.pgd(network.eval(), attack)
    found = torchattacks.from_start(borrowed, images, labels, noise.double())
    # Doubles: the order of additions, and normalisation folded or not.
    assert (found - pgd(network, images, labels, attack, noise=noise.double())).abs().max() < 1e-9
    assert not torch.allclose(borrowed(images, labels), found)


def test_the_naive_loop_makes_pgd_examples_in_training_mode():
    network, images, labels = toy()
    # One step from any start ends at the border of a ball that is smaller than half the step.
    attack = Attack(epsilon_255=1.0, step_255=4.0, steps=1, batchnorm="train")
    torch.manual_seed(0)
    start = torch.empty_like(images).uniform_(-1 / 255, 1 / 255)
    attacked = pgd(network.train(), images, labels, attack, noise=start)
    expected = F.cross_entropy(network(attacked), labels)
    torch.manual_seed(0)
    loss, _ = train.naive(network, images, labels, recipe=Recipe(epochs=1, attack=attack))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-9)


def test_the_floor_of_a_step_is_the_sum_of_its_passes():
    assert train.floor([0.5, 0.25], [1.0, 2.0]) == [6.0, 4.5]


@pytest.mark.slow
def test_the_metric_is_no_kinder_than_the_borrowed_attack(installed):
    rows = evaluation.run(repeats=1, quick=True)
    for size in (24, 51):
        found = dict(cases_of([row for row in rows if row["benchmark"] == f"attack eps {size}/255"], "accuracy"))
        assert list(found) == ["torchattacks", "suite, same runs", "suite"]
        assert 0 < found["suite"] <= found["suite, same runs"] <= found["torchattacks"] < 1
