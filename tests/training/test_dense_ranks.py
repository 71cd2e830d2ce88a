"""Training on scenes in two processes (gloo, on this machine) against one with the same global batch."""

from collections import namedtuple

import pytest
import torch

from bench import models
from bench.data import draws
from bench.data.records import Objects
from bench.objectives import detection, segmentation
from bench.spec import Recipe, Word
from bench.training.loop import train
from bench.training.state import Run

Batch = namedtuple("Batch", "inputs labels indices")
TASKS = {"segmentation": segmentation.loss, "detection": detection.loss}
SIDE = 16


class Scenes:
    """10 random images in batches of 5; objects and counted pixels are unequally many, some images have none."""

    n_examples, steps_per_epoch = 10, 2

    def __init__(self, task, rank, world_size):
        draw = torch.Generator().manual_seed(0)
        self.images = torch.rand(10, 3, SIDE, SIDE, generator=draw, dtype=torch.float64)
        self.masks = torch.randint(0, 4, (10, SIDE, SIDE), generator=draw)
        for i in range(10):
            self.masks[i, : 2 * (i % 6)] = 255
        self.objects = [
            Objects(
                torch.tensor([[1.0, 2.0, 9.0, 12.0], [6.0, 3.0, 14.0, 9.0]], dtype=torch.float64)[: i % 3],
                torch.tensor([i % 3, 1])[: i % 3],
                torch.tensor([False, i % 2 == 1])[: i % 3],
            )
            for i in range(10)
        ]
        self.task, self.rank, self.world_size = task, rank, world_size

    def batches(self, epoch, start_step=0):
        order = draws.order(10, seed=5, epoch=epoch, shuffle=True)
        for step in range(start_step, 2):
            mine = torch.from_numpy(draws.share(order, step, batch_size=5, rank=self.rank, world_size=self.world_size))
            labels = self.masks[mine] if self.task == "segmentation" else [self.objects[i] for i in mine]
            yield Batch(self.images[mine], labels, mine)


def trained(rank, world_size, scratch, task):
    network = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=1)
    models.new_head(network, task, 4, resolution=SIDE, seed=2)
    network.double()
    history = train(
        network,
        Scenes(task, rank, world_size),
        Recipe(epochs=2, batch_size=5, lr=0.05),
        loss=TASKS[task],
        seed=3,
        run=Run(scratch=scratch, rank=rank, world_size=world_size),
    ).history
    return {name: value.clone() for name, value in models.state(network).items()}, history


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_give_the_numbers_of_one(two_as_one, task):
    """Means over the pixels, or over the places inside objects, of the whole batch; dropout and statistics too."""
    two_as_one(trained, task)
