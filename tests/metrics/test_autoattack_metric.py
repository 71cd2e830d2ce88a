"""AutoAttack is a worst case over its attacks, and goes on where it was stopped with the same numbers."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.metrics import autoattack
from bench.metrics.autoattack import COLUMNS
from bench.metrics.evaluation import Conditions
from bench.spec import Attack

ATTACK = Attack(epsilon_255=2.0)
OPTIONS = {"iterations": 5, "queries": 10}


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Linear(nn.Module):
    """A linear classifier of 3 classes, summed row by row: not a bit depends on the batch."""

    def __init__(self, seed=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3 * 4 * 4, generator=torch.Generator().manual_seed(seed)))

    def forward(self, images):
        return ((images - 0.5).flatten(1)[:, None] * self.weight).sum(2)


def batches(sizes):
    images = torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = Linear()(images).argmax(dim=1)
    labels[:4] = (labels[:4] + 1) % 3
    return [Batch(images[rows], labels[rows], rows) for rows in torch.arange(24).split(list(sizes))]


def evaluate(net, sizes=(10, 14), **changes):
    given = {"batches": lambda: batches(sizes), "attack": ATTACK, "seed": 1, "options": OPTIONS}
    return autoattack.evaluate(net, Conditions(**given | changes))


class Stopped(Exception):
    pass


def stop_after(calls):
    left = [calls]

    def pause():
        left[0] -= 1
        if left[0] < 0:
            raise Stopped

    return pause


def same(one, other):
    assert one.metrics == other.metrics
    assert one.details == other.details
    assert one.flags == other.flags
    assert all(np.array_equal(values, other.examples[name]) for name, values in one.examples.items())


def test_every_attack_is_run_on_what_those_before_it_left():
    found = evaluate(Linear())
    after = found.details["accuracy_after"]
    assert list(after) == ["clean", "apgd_ce", "apgd_t", "fab_t", "square"]
    assert after["clean"] == pytest.approx(20 / 24)
    for earlier, later in pairwise(COLUMNS):
        assert (found.examples[later] <= found.examples[earlier]).all()
    assert np.array_equal(found.examples["correct"], found.examples["square"])
    assert found.metrics == {"autoattack_accuracy": pytest.approx(found.examples["correct"].mean())}
    assert 0 < found.metrics["autoattack_accuracy"] < after["clean"]
    assert found.flags == ("not the standard budget: 5 steps, 10 queries",)


def test_an_evaluation_stopped_anywhere_goes_on_and_ends_with_the_same_numbers(tmp_path):
    expected = evaluate(Linear())
    for calls in range(10):  # 2 batches of 5 columns
        scratch = tmp_path / str(calls)
        with pytest.raises(Stopped):
            evaluate(Linear(), scratch=scratch, pause=stop_after(calls))
        assert [file.name for file in scratch.iterdir()] == ["autoattack.npz"]
        same(evaluate(Linear(), scratch=scratch, pause=stop_after(9 - calls)), expected)
        same(evaluate(Linear(), scratch=scratch, pause=stop_after(0)), expected)


def test_it_goes_on_with_batches_of_another_size(tmp_path):
    with pytest.raises(Stopped):
        evaluate(Linear(), scratch=tmp_path, pause=stop_after(7))
    same(evaluate(Linear(), sizes=(3, 9, 12), scratch=tmp_path), evaluate(Linear()))


def test_nothing_is_computed_twice(tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        evaluate(Linear(), scratch=tmp_path, pause=stop_after(7))  # the second batch is through APGD-T
    names, real = [], autoattack.attacked

    def attacked(name, *arguments, **named):
        names.append(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(autoattack, "attacked", attacked)
    evaluate(Linear(), scratch=tmp_path)
    assert names == ["fab_t", "square"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"attack": Attack(epsilon_255=1.0)},
        {"attack": Attack(norm="l2", epsilon_255=2.0)},
        {"options": {"iterations": 4, "queries": 10}},
    ],
    ids=["seed", "epsilon", "norm", "budget"],
)
def test_partial_results_of_other_conditions_are_not_taken(tmp_path, changes):
    evaluate(Linear(), scratch=tmp_path)
    same(evaluate(Linear(), scratch=tmp_path, **changes), evaluate(Linear(), **changes))
    with pytest.raises(Stopped):  # nothing was known
        evaluate(Linear(), scratch=tmp_path, pause=stop_after(0))


def test_partial_results_of_another_network_are_not_taken(tmp_path):
    evaluate(Linear(), scratch=tmp_path)
    same(evaluate(Linear(seed=1), scratch=tmp_path), evaluate(Linear(seed=1)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short"])
def test_an_unreadable_partial_file_is_computed_again(tmp_path, content):
    (tmp_path / "autoattack.npz").write_bytes(content)
    same(evaluate(Linear(), scratch=tmp_path), evaluate(Linear()))


def test_a_partial_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        evaluate(Linear(), scratch=tmp_path / "file")


def test_square_breaking_more_than_the_others_is_flagged(monkeypatch):
    """A stand-in for the white-box attacks that finds nothing."""
    real = autoattack.attacked

    def attacked(name, network, images, *arguments, **named):
        return real(name, network, images, *arguments, **named) if name == "square" else images

    monkeypatch.setattr(autoattack, "attacked", attacked)
    found = evaluate(Linear(), attack=Attack(epsilon_255=16.0), options={"iterations": 1, "queries": 200})
    gain = found.details["accuracy_after"]["fab_t"] - found.details["accuracy_after"]["square"]
    assert gain > 0.2
    assert found.flags[0] == f"Square broke {gain:.1%} more than the white-box attacks: gradient masking suspected"


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match="of 1 or more"):
        evaluate(Linear(), options={"queries": 0})


def test_the_published_budget_is_the_default(monkeypatch):
    budgets = []

    def attacked(name, network, images, *arguments, budget, **named):
        budgets.append((budget.steps, budget.queries, budget.targets))
        return images

    monkeypatch.setattr(autoattack, "attacked", attacked)
    assert evaluate(Linear(), options={}).flags == ()
    assert set(budgets) == {(100, 5000, 9)}
