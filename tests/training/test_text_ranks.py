"""Training on texts in two processes (gloo, on this machine) against one with the same global batch."""

from collections import namedtuple

import pytest
import torch

from bench import models
from bench.data import draws
from bench.data.records import Passage
from bench.objectives import masked_language_modelling, question_answering, sentence_regression, supervised
from bench.spec import Recipe, Word
from bench.training.loop import train
from bench.training.state import Run

Batch = namedtuple("Batch", "inputs labels indices")
TASKS = {
    "masked_language_modelling": masked_language_modelling.loss,
    "question_answering": question_answering.loss,
    "sentence_regression": sentence_regression.loss,
    "sentence_classification": supervised.loss,
}
LENGTHS = torch.tensor([12, 5, 9, 3, 7, 10, 4, 11, 6, 8])


class Texts:
    """10 random texts in batches of 5, as long as the longest of all processes; chosen tokens are unequally many."""

    n_examples, steps_per_epoch = 10, 2

    def __init__(self, task, rank, world_size):
        draw = torch.Generator().manual_seed(0)
        self.tokens = torch.randint(5, 4096, (10, 12), generator=draw)
        self.tokens[torch.arange(12) >= LENGTHS[:, None]] = 0
        self.chosen = torch.where(torch.rand(10, 12, generator=draw) < 0.4, self.tokens, -100)
        # Of some texts, and so of the share of some process, no token is chosen.
        self.chosen[[i for i in range(10) if i % 3]] = -100
        self.chosen[self.tokens == 0] = -100
        self.passages = [Passage(i % 3, i % 3 + 1, i, str(i), None, "", ()) for i in range(10)]
        self.values = torch.rand(10, generator=draw, dtype=torch.float64)
        self.task, self.rank, self.world_size = task, rank, world_size

    def labels(self, mine, length):
        if self.task == "masked_language_modelling":
            return self.chosen[mine, :length]
        if self.task == "question_answering":
            return [self.passages[i] for i in mine]
        return self.values[mine] if self.task == "sentence_regression" else mine % 3

    def batches(self, epoch, start_step=0):
        order = draws.order(10, seed=5, epoch=epoch, shuffle=True)
        for step in range(start_step, 2):
            whole, mine = (
                torch.from_numpy(draws.share(order, step, batch_size=5, rank=rank, world_size=world_size))
                for rank, world_size in ((0, 1), (self.rank, self.world_size))
            )
            length = int(LENGTHS[whole].max())
            tokens = self.tokens[mine, :length]
            yield Batch(torch.stack([tokens, (tokens % 2).clamp(max=1)], dim=1), self.labels(mine, length), mine)


def trained(rank, world_size, scratch, task):
    network = models.build(Word("bert_tiny", (("vocabulary", "embedded"),)), classes=2, mean=(0,), std=(1,), seed=1)
    models.new_head(network, task, 3 if task == "sentence_classification" else 1, resolution=12, seed=2)
    network.double()
    history = train(
        network,
        Texts(task, rank, world_size),
        Recipe(epochs=2, batch_size=5, lr=0.05),
        loss=TASKS[task],
        seed=3,
        run=Run(scratch=scratch, rank=rank, world_size=world_size),
    ).history
    return {name: value.clone() for name, value in models.state(network).items()}, history


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_two_processes_give_the_numbers_of_one(two_as_one, task):
    """Means over the chosen tokens of the whole batch, or over its examples; dropout too."""
    two_as_one(trained, task)


def test_shares_without_chosen_tokens_occur():
    parts = [Texts("masked_language_modelling", rank, 2).batches(epoch) for epoch in (0, 1) for rank in (0, 1)]
    chosen = [int((batch.labels != -100).sum()) for part in parts for batch in part]
    assert 0 in chosen
    assert max(chosen) > 2


@torch.no_grad()
def test_dropout_is_on_while_training():
    network = models.build(Word("bert_tiny", (("vocabulary", "embedded"),)), classes=2, mean=(0,), std=(1,), seed=1)
    models.new_head(network, "masked_language_modelling", 1, resolution=12, seed=2)
    inputs, labels, indices = next(Texts("masked_language_modelling", 0, 1).batches(0))
    given = {"recipe": Recipe(epochs=1), "seed": 0, "step": 0, "indices": indices}
    losses = [
        masked_language_modelling.loss(network.train(training), inputs, labels, **given)[0].item()
        for training in (True, True, False, False)
    ]
    assert losses[0] != losses[1]
    assert losses[2] == losses[3]
