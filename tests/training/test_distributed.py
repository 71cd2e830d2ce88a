"""Two processes (gloo, on this machine) against one with the same global batch."""

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

from bench.objectives import supervised
from bench.spec import Recipe
from bench.training.distributed import process_group
from bench.training.loop import Interrupted, Run, train

RECIPE = Recipe(epochs=3, batch_size=8, lr=0.1, schedule="cosine")


class Toy:
    """24 vectors, batches of 8, each rank its contiguous slice of every batch."""

    n_examples, steps_per_epoch = 24, 3

    def __init__(self, rank, world_size):
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(24, 5, generator=generator), torch.randint(0, 3, (24,), generator=generator)
        self.rank, self.world_size = rank, world_size

    def batches(self, epoch, start_step=0):
        order = torch.randperm(24, generator=torch.Generator().manual_seed(epoch))
        for chosen in order.split(8)[start_step:]:
            mine = chosen.chunk(self.world_size)[self.rank]
            yield type("Batch", (), {"images": self.x[mine], "labels": self.y[mine], "indices": mine})


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


def work(rank: int, world_size: int, port: int, folder: str, stop_at: int | None) -> None:
    torch.set_num_threads(1)
    looks = 0

    def stop() -> bool:
        nonlocal looks
        looks += 1
        # Only the last rank is told to stop: all must stop at the same step.
        return rank == world_size - 1 and looks == stop_at

    with process_group(rank, world_size, init_method=f"tcp://127.0.0.1:{port}", device="cpu"):
        model = network()
        run = Run(scratch=Path(folder) / "scratch", stop=stop, rank=rank, world_size=world_size)
        try:
            train(model, Toy(rank, world_size), RECIPE, loss=supervised.loss, seed=3, run=run)
            torch.save(model.state_dict(), Path(folder) / f"{rank}.pt")
        except Interrupted:
            pass
        leave_together(rank, world_size, Path(folder))


def leave_together(rank: int, world_size: int, folder: Path) -> None:
    """End the process once all are here, without tearing the group down: gloo's threads now and then abort that."""
    (folder / f"{rank}.here").touch()
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.here"))) < world_size and time.monotonic() < deadline:
        time.sleep(0.01)
    os._exit(0)


def launch(folder, world_size, stop_at=None):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for left in Path(folder).glob("*.here"):
        left.unlink()
    multiprocessing.spawn(work, (world_size, port, str(folder), stop_at), nprocs=world_size)
    return [torch.load(path, weights_only=True) for path in sorted(Path(folder).glob("*.pt"))]


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_and_stop_together(tmp_path):
    model = network()
    train(model, Toy(0, 1), RECIPE, loss=supervised.loss, seed=3, run=Run(scratch=tmp_path / "one"))
    (tmp_path / "two").mkdir()
    first, second = launch(tmp_path / "two", 2)
    for name, value in model.state_dict().items():
        assert torch.equal(first[name], second[name])
        # Gradients are summed in another order: 9 steps of float32 rounding.
        torch.testing.assert_close(value, first[name], rtol=1e-5, atol=1e-6)
    (tmp_path / "stopped").mkdir()
    assert launch(tmp_path / "stopped", 2, stop_at=5) == []
    again, _ = launch(tmp_path / "stopped", 2)
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_one_process_needs_no_group(tmp_path):
    with process_group(0, 1, init_method="", device="cpu"):
        model = network()
        history = train(
            model, Toy(0, 1), replace(RECIPE, epochs=1), loss=supervised.loss, seed=3, run=Run(scratch=tmp_path)
        )
    assert len(history) == 1
