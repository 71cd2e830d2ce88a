"""Contrastive training in two processes (gloo, on this machine) against one with the same global batch."""

from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from bench import models
from bench.data import draws
from bench.models.contrastive import Contrastive
from bench.models.rows import AllRows, OwnRows
from bench.objectives import moco, simclr
from bench.spec import Contrast, Recipe, Word
from bench.training import batchwide
from bench.training.distributed import Rows
from bench.training.loop import Interrupted, train
from bench.training.state import Run

Batch = namedtuple("Batch", "inputs labels indices")
# Batches of 7 divide neither the queue of 10 nor, equally, among processes or groups.
RECIPE = Recipe(
    epochs=2, batch_size=7, lr=0.1, warmup_epochs=1, contrast=Contrast(temperature=0.2, dimensions=5, probe_every=2)
)
QUEUED = replace(RECIPE.contrast, queue=10, momentum=0.9)
TRAININGS = {
    "simclr": (simclr.loss, RECIPE),
    "simclr in groups": (simclr.loss, replace(RECIPE, contrast=replace(RECIPE.contrast, groups=2))),
    "simclr by lars": (simclr.loss, replace(RECIPE, optimizer="lars", lr=10.0)),
    "moco": (moco.loss, replace(RECIPE, contrast=QUEUED)),
    "moco in groups": (moco.loss, replace(RECIPE, contrast=replace(QUEUED, groups=2))),
}


class Toy:
    """18 pairs of random views in batches of 7: shares of two processes are unequal, the last batch has four."""

    n_examples, steps_per_epoch = 18, 3

    def __init__(self, rank, world_size):
        draw = torch.Generator().manual_seed(0)
        self.views = torch.rand(2, 18, 3, 8, 8, generator=draw, dtype=torch.float64)
        self.rank, self.world_size = rank, world_size

    def batches(self, epoch, start_step=0):
        order = draws.order(18, seed=5, epoch=epoch, shuffle=True)
        for step in range(start_step, 3):
            mine = torch.from_numpy(draws.share(order, step, batch_size=7, rank=self.rank, world_size=self.world_size))
            yield Batch(self.views[:, mine].flatten(0, 1), torch.zeros(len(mine), dtype=torch.int64), mine)


def made(recipe):
    encoder = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=1).double()
    return Contrastive(encoder, recipe.contrast, seed=2)


def masks():
    draw = torch.Generator().manual_seed(2)
    return {"layer2.0.conv1.weight": torch.rand(32, 16, 3, 3, generator=draw) < 0.5}


def trained(rank, world_size, scratch, name, stop=lambda: False, masks=None):
    """State and history at the end of a training; what is probed is a weight, which is the same everywhere."""
    loss, recipe = TRAININGS[name]
    network = made(recipe)
    history = train(
        network,
        Toy(rank, world_size),
        recipe,
        loss=loss,
        seed=3,
        run=Run(scratch=scratch, stop=stop, rank=rank, world_size=world_size),
        parameters=network.trained_parameters(),
        masks=masks,
        validate={"knn_accuracy": lambda network: float(network.projection[0].weight[0, 0].detach())},
    ).history
    assert not any("forward" in vars(module) for module in network.modules())
    return {key: value.clone() for key, value in network.state_dict().items()}, history


def undivided(rank, world_size):
    """What is raised where two groups are to be shared by three processes."""
    network = made(TRAININGS["moco in groups"][1])
    with pytest.raises(ValueError, match="groups") as caught, batchwide.over_all_processes(network, Rows(rank, 3)):
        pass
    return str(caught.value)


def collected(rank, world_size):
    """Rows of all processes, this one's rows of them, and the gradient of this one's rows where row i weighs i."""
    network = torch.nn.ModuleList([AllRows(), OwnRows()])
    rows = Rows(rank, world_size)
    rows.set(5, 2 + rank)
    mine = torch.arange(5.0)[rows.first : rows.first + rows.n].requires_grad_()
    with batchwide.over_all_processes(network, rows):
        whole = network[0](mine)
        # As the loop does with every loss.
        ((whole * torch.arange(5.0)).sum() * rows.weight).backward()
        return whole.tolist(), network[1](whole).tolist(), mine.grad.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_give_the_numbers_of_one(two_as_one, name):
    first, history = two_as_one(trained, name, never, masks())
    assert [set(record) - {"epoch", "loss", "lr"} for record in history] == [set(), {"knn_accuracy"}]
    start = made(TRAININGS[name][1]).state_dict()
    assert first["encoder.body.fc.weight"].equal(start["encoder.body.fc.weight"])
    assert not torch.isclose(first["encoder.body.conv1.weight"], start["encoder.body.conv1.weight"]).all()
    if "queue" in first:
        # 2 epochs of 18 keys in a queue of 10.
        assert int(first["queue_at"]) == 36 % 10
        assert not torch.isclose(first["queue"], start["queue"]).any()


def never():
    return False


@pytest.mark.slow
def test_groups_that_processes_cannot_share_are_an_error(ranks):
    (message,) = ranks(undivided, 1)
    assert message == (
        "2 groups of batch normalisation do not divide among 3 processes: "
        "take as many processes as divide 2, or another number of groups"
    )


@pytest.mark.slow
def test_rows_are_collected_and_their_gradients_handed_back(ranks):
    first, second = ranks(collected, 2)
    assert first == ([0, 1, 2, 3, 4], [0, 1], pytest.approx([0, 1]))
    assert second == ([0, 1, 2, 3, 4], [2, 3, 4], pytest.approx([2, 3, 4]))


def test_groups_change_the_numbers(tmp_path):
    whole, _ = trained(0, 1, tmp_path / "whole", "moco")
    grouped, _ = trained(0, 1, tmp_path / "grouped", "moco in groups")
    assert not torch.isclose(whole["encoder.body.conv1.weight"], grouped["encoder.body.conv1.weight"]).all()


@pytest.mark.parametrize("name", ["simclr by lars", "moco in groups"])
def test_a_resumed_training_ends_bit_identical(tmp_path, name):
    whole, whole_history = trained(0, 1, tmp_path / "whole", name)
    for stop_at in (1, 3, 4):
        looks = iter(range(1, 100))
        with pytest.raises(Interrupted):
            trained(0, 1, tmp_path / f"{stop_at}", name, stop=lambda looks=looks, at=stop_at: next(looks) == at)
        resumed, history = trained(0, 1, tmp_path / f"{stop_at}", name)
        assert history == whole_history
        assert all(value.equal(resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize("name", ["simclr", "moco in groups"])
def test_half_precision_changes_the_first_loss_by_its_rounding(tmp_path, name):
    """Eight bits of mantissa: cosines are off by about 0.4 %, divided by a temperature of 0.2."""
    losses = []
    for precision in ("fp32", "bf16"):
        loss, recipe = TRAININGS[name]
        recipe = replace(recipe, precision=precision, epochs=1, lr=1e-6, channels_last=True)
        network = made(recipe).float()
        toy = Toy(0, 1)
        toy.views = toy.views.float()
        trained = train(
            network, toy, recipe, loss=loss, seed=3, run=Run(scratch=tmp_path / precision),
            parameters=network.trained_parameters(),
        )  # fmt: skip
        losses.append(trained.history[0]["loss"])
        assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]
