"""Memory of batches is used again, and never while somebody still reads it."""

import gc

import pytest
import torch

from bench.data import buffers

SHAPE = (1, 3, 200, 200)


@pytest.fixture(autouse=True)
def nothing_idle():
    buffers._idle.cache_clear()


def test_memory_of_a_batch_that_is_gone_is_used_again():
    first = buffers.empty(SHAPE)
    address = first.data_ptr()
    del first
    gc.collect()
    assert buffers.empty(SHAPE).data_ptr() == address


@pytest.mark.parametrize("keep", [lambda t: t[:, 1], lambda t: t.numpy(), lambda t: t.detach(), lambda t: t.view(-1)])
def test_memory_that_anything_still_shares_is_left_alone(keep):
    first = buffers.empty(SHAPE).fill_(7)
    kept = keep(first)
    del first
    gc.collect()
    for _ in range(3):
        buffers.empty(SHAPE).fill_(0)
    assert (torch.as_tensor(kept) == 7).all()


def test_memory_that_a_gradient_needs_is_left_alone():
    weight = torch.ones(1, requires_grad=True)
    loss = (buffers.empty(SHAPE).fill_(2) * weight).sum()
    gc.collect()
    buffers.empty(SHAPE).fill_(0)
    loss.backward()
    assert weight.grad == 2 * 120_000


def test_batches_held_together_have_memory_of_their_own():
    held = [buffers.empty(SHAPE).fill_(i) for i in range(10)]
    assert [int(t.max()) for t in held] == list(range(10))


def test_no_more_than_a_few_idle_batches_are_kept():
    held = [buffers.empty(SHAPE) for _ in range(10)]
    del held
    gc.collect()
    assert len(buffers._idle(SHAPE)) == buffers.KEPT_BUFFERS
