"""Small networks in double precision, for derivatives that are checked by differences."""

from collections import namedtuple
from collections.abc import Callable

import pytest
import torch
from torch import nn

from bench.models import Network
from bench.models.body import Body

Batch = namedtuple("Batch", "inputs labels indices")


@pytest.fixture
def make_network() -> Callable[[nn.Module, str], Network]:
    """A network around a body, without normalisation of the images."""

    def make(body: nn.Module, head: str) -> Network:
        return Network(Body(module=body, head=head), label="toy", mean=(0.0,) * 3, std=(1.0,) * 3).double()

    return make


@pytest.fixture
def linear_toy(make_network: Callable[[nn.Module, str], Network]) -> Network:
    """Logits W x of the mean colour x of an image: two classes, three weights each."""
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2, bias=False))
    body[2].weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.0, 1.0, 3.0]])
    return make_network(body, "2")


@pytest.fixture
def smooth_toy(make_network: Callable[[nn.Module, str], Network]) -> Network:
    """Convolution, batch normalisation, dropout and a hidden layer; smooth, so that differences converge."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3)
    )  # fmt: skip
    return make_network(body, "7")


@pytest.fixture
def examples() -> list[Batch]:
    """Two batches of 5 and 3 images of 4 px, three classes."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(8, 3, 4, 4, dtype=torch.float64, generator=generator)
    labels, indices = torch.arange(8) % 3, torch.arange(8)
    return [
        Batch(*(part[:5] for part in (images, labels, indices))),
        Batch(*(part[5:] for part in (images, labels, indices))),
    ]
