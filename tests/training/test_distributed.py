"""Two and three processes (gloo, on this machine) against one with the same global batch."""

import os
from collections import namedtuple
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from bench import models
from bench.data import draws
from bench.objectives import adversarial, supervised
from bench.spec import Attack, Recipe, Word
from bench.training import checkpoint
from bench.training.distributed import Disconnected, Rows, leave_group, process_group
from bench.training.loop import Diverged, Interrupted, train
from bench.training.state import Run

RECIPE = Recipe(epochs=3, batch_size=7, lr=0.1, schedule="cosine", augmentation=())
Batch = namedtuple("Batch", "inputs labels indices")


class Toy:
    """22 random images in batches of 7: slices of two processes are unequal, and the last batch has one example."""

    n_examples, steps_per_epoch = 22, 4

    def __init__(self, rank, world_size, dtype=torch.float64):
        draw = torch.Generator().manual_seed(0)
        self.x = torch.rand(22, 3, 8, 8, generator=draw, dtype=torch.float64).to(dtype)
        self.y = torch.randint(0, 3, (22,), generator=draw)
        self.rank, self.world_size = rank, world_size

    def batches(self, epoch, start_step=0):
        order = draws.order(22, seed=5, epoch=epoch, shuffle=True)
        for step in range(start_step, 4):
            mine = torch.from_numpy(draws.share(order, step, batch_size=7, rank=self.rank, world_size=self.world_size))
            yield Batch(self.x[mine], self.y[mine], mine)


def resnet8():
    return models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=1).double()


def resnet_masks():
    draw = torch.Generator().manual_seed(2)
    network = resnet8()
    names = ("conv1.weight", "layer2.0.conv1.weight")
    return {
        name: torch.rand(weight.shape, generator=draw) < 0.5 for name, weight in models.weights(network, names).items()
    }


def drawing():
    """A network whose layers draw numbers."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), StochasticDepth(0.5, "row"), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3),
    ).double()  # fmt: skip


def single():
    return resnet8().float()


def accuracy(network):
    toy = Toy(0, 1, next(network.parameters()).dtype)
    with torch.no_grad():
        return float((network(toy.x).argmax(1) == toy.y).double().mean())


def attack(**changes):
    return Attack(**{"epsilon_255": 8.0, "step_255": 2.0, "steps": 2, **changes})


TRAININGS = {
    "supervised": (resnet8, supervised.loss, replace(RECIPE, select=("best_validation",)), resnet_masks),
    "adversarial": (resnet8, adversarial.loss, replace(RECIPE, attack=attack()), resnet_masks),
    "attack in train mode": (resnet8, adversarial.loss, replace(RECIPE, attack=attack(batchnorm="train", norm="l2", epsilon_255=0.5, step_255=0.1)), None),
    "adamw": (resnet8, supervised.loss, replace(RECIPE, optimizer="adamw", lr=0.01, channels_last=True), None),
    "drawing": (drawing, supervised.loss, RECIPE, None),
    "single": (single, supervised.loss, replace(RECIPE, lr=0.01), None),
}  # fmt: skip


def trained(rank, world_size, scratch, name, stop=lambda: False, **changes):
    """State and history at the end of a training."""
    make, loss, recipe, masks = TRAININGS[name]
    network = make()
    history = train(
        network,
        Toy(rank, world_size, next(network.parameters()).dtype),
        replace(recipe, **changes),
        loss=loss,
        seed=3,
        run=Run(scratch=scratch, stop=stop, rank=rank, world_size=world_size),
        masks=masks() if masks else None,
        validate={"validation_accuracy": accuracy},
    ).history
    assert not any("forward" in vars(module) for module in network.modules())
    return {key: value.clone() for key, value in network.state_dict().items()}, history


def stopped(rank, world_size, scratch, looks):
    """The step of every process's last look; only the last process is told to stop."""
    count = 0

    def stop():
        nonlocal count
        count += 1
        return rank == world_size - 1 and count == looks

    with pytest.raises(Interrupted):
        trained(rank, world_size, scratch, "drawing", stop)
    return count


def diverged(rank, world_size, scratch):
    with pytest.raises(Diverged) as caught:
        trained(rank, world_size, scratch, "supervised", lr=1e200)
    return str(caught.value)


def deserted(rank, world_size, scratch):
    """Rank 1 leaves in its fifth step; what the others meet."""

    def stop():
        nonlocal looks
        looks += 1
        if rank == 1 and looks == 5:
            raise KeyError("rank 1's own trouble")
        return False

    looks = 0
    try:
        trained(rank, world_size, scratch, "supervised", stop)
    except (KeyError, Disconnected) as error:
        leave_group()
        return type(error).__name__


def threads_left(rank, world_size, scratch):
    """Names of the process's threads once the group is closed."""
    trained(rank, world_size, scratch, "supervised", epochs=1)
    leave_group()
    return [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "single"])
def test_two_processes_give_the_numbers_of_one(two_as_one, name):
    first, _ = two_as_one(trained, name)
    masks = TRAININGS[name][3]
    for key, mask in (masks() if masks else {}).items():
        assert not first[f"body.{key}"][~mask].any()
        assert first[f"body.{key}"][mask].all()


@pytest.mark.slow
def test_three_processes_stop_together_and_a_resumed_run_ends_bit_identical(ranks, tmp_path):
    """Three: only from there on does the order of additions matter."""
    whole = ranks(trained, 3, tmp_path / "whole", "drawing")
    looks = ranks(stopped, 3, tmp_path / "stopped", 5)
    # Asked in the fifth step, known to all in the sixth.
    assert looks == [6, 6, 6]
    assert (checkpoint.load(tmp_path / "stopped") or {})["step"] == 6
    resumed = ranks(trained, 3, tmp_path / "stopped", "drawing")
    for (state, history), (expected, expected_history) in zip(resumed, whole, strict=True):
        assert history == expected_history
        assert all(torch.equal(value, state[key]) for key, value in expected.items())


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_all_processes_alike(ranks, tmp_path):
    first, second = ranks(diverged, 2, tmp_path)
    assert first == second
    assert first.startswith("the training loss became nan in epoch 1 of 3")


@pytest.mark.slow
def test_a_process_that_leaves_disconnects_the_others_at_once(ranks, tmp_path):
    assert ranks(deserted, 2, tmp_path) == ["Disconnected", "KeyError"]


@pytest.mark.slow
def test_no_thread_of_the_group_outlives_it(ranks, tmp_path):
    """One that asks for Python's lock while the interpreter ends would abort the process."""
    for names in ranks(threads_left, 2, tmp_path):
        assert not [name for name in names if "gloo" in name]


def test_one_process_needs_no_group(tmp_path):
    with process_group(0, 1, store=None, device="cpu"):
        _, history = trained(0, 1, tmp_path, "drawing", epochs=1)
    assert len(history) == 1


@pytest.mark.parametrize(("n", "world_size"), [(7, 2), (8, 3), (2, 3), (1, 2), (5, 1)])
def test_weights_of_the_shares_of_a_batch_sum_to_one(n, world_size):
    weights = []
    for rank in range(world_size):
        rows = Rows(rank=rank, world_size=world_size)
        mine = draws.share(
            draws.order(n, seed=0, epoch=0, shuffle=False), 0, batch_size=n, rank=rank, world_size=world_size
        )
        rows.set(n, len(mine))
        assert mine.tolist() == list(range(rows.first, rows.first + rows.n))
        assert rows.all_here == (n < world_size or world_size == 1)
        weights.append(rows.weight)
    assert sum(weights) == pytest.approx(1)


def first_epoch(rank, world_size, scratch, precision):
    """The running statistics and the loss after an epoch in single precision or bfloat16."""
    state, history = trained(rank, world_size, scratch, "single", epochs=1, precision=precision)
    return {key: value for key, value in state.items() if "running" in key}, history[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_statistics_are_global_in_every_precision(ranks, tmp_path, precision, tolerance):
    """Four steps with 24 (fp32) or 8 (bf16) bits of mantissa, errors multiplied by a few tens through the steps."""
    expected, expected_loss = first_epoch(0, 1, tmp_path / "one", precision)
    for found, loss in ranks(first_epoch, 2, tmp_path / "two", precision):
        assert loss == pytest.approx(expected_loss, rel=tolerance)
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)
