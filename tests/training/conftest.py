"""What the tests of trainings in several processes share: the processes."""

import multiprocessing
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

from bench.training.distributed import process_group

# Doubles: rounding is 1e-16 of a value; the steps of these trainings multiply it by less than a million.
SAME_UP_TO_ROUNDING = {"rtol": 1e-9, "atol": 1e-10}


def work(connection, rank):
    """A process's life: run cases, each in a process group of its own, until it is told to end."""
    torch.set_num_threads(1)
    for case, world_size, port, arguments in iter(connection.recv, None):
        try:
            store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=60))
            with process_group(rank, world_size, store=store, device="cpu", timeout_min=3):
                connection.send((True, case(rank, world_size, *arguments)))
        except BaseException:
            connection.send((False, traceback.format_exc()))


@pytest.fixture(scope="module")
def ranks():
    """Runs a case in so many processes, which are started once; returns what each found."""
    # Forked from a server that has imported what they need.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.training.batchwide", "bench.training.loop", "torch._dynamo"])
    pipes = [context.Pipe() for _ in range(3)]
    processes = [
        context.Process(target=work, args=(theirs, rank), daemon=True) for rank, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()

    def run(case, world_size, *arguments):
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        for ours, _ in pipes[:world_size]:
            ours.send((case, world_size, store.port, arguments))
        found = []
        for ours, _ in pipes[:world_size]:
            assert ours.poll(240), "no answer within 240 s"
            found.append(ours.recv())
        assert all(good for good, _ in found), found
        return [content for _, content in found]

    yield run
    for (ours, _), process in zip(pipes, processes, strict=True):
        ours.send(None)
        process.join(120)
        assert process.exitcode == 0


@pytest.fixture
def two_as_one(ranks, tmp_path):
    """Asserts that two processes train to the numbers of one; returns the weights and the history of two."""

    def compare(trained, *arguments):
        expected, expected_history = trained(0, 1, tmp_path / "one", *arguments)
        (first, history), (second, second_history) = ranks(trained, 2, tmp_path / "two", *arguments)
        assert history == second_history
        for name, value in expected.items():
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], value, **SAME_UP_TO_ROUNDING)
        for record, expected_record in zip(history, expected_history, strict=True):
            assert record == pytest.approx(expected_record, rel=1e-9)
        return first, history

    return compare
