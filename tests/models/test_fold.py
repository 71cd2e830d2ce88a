"""Folding batch normalisation changes no output and no original."""

import pytest
import torch
from torch import nn

from bench import catalog, models
from bench.models.fold import folded
from bench.spec import Word


def network(name):
    options = (("stem", "cifar"),) if catalog.ARCHITECTURES[name].options else ()
    net = models.build(Word(name, options), classes=4, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.weight.data.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
            module.bias.data.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
    return net


@pytest.mark.parametrize(
    ("name", "normalisations"),
    [("resnet8", 7), ("resnet20", 19), ("resnet18", 20), ("mobilenet_v2", 52), ("convnext_tiny", 0)],
)
def test_all_batch_normalisations_of_an_architecture_are_folded(name, normalisations):
    net = network(name)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fast = folded(net)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.modules()) == normalisations
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())
    assert net.training
    assert not fast.training
    with torch.no_grad():
        expected, found = net.eval()(images), fast(images)
    # Single precision over up to 50 layers.
    assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_pruned_weights_stay_pruned():
    net = network("resnet8")
    mask = torch.rand(net.body.conv1.weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    net.body.conv1.weight.data *= mask
    assert torch.equal(folded(net).body.conv1.weight != 0, mask)


class Shared(nn.Module):
    """The convolution's output is also read without the normalisation."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.bn.running_mean.fill_(2.0)

    def forward(self, images):
        out = self.conv(images)
        return (self.bn(out) + out).mean((2, 3))


class Twice(Shared):
    """The convolution is used twice, once without the normalisation."""

    def forward(self, images):
        return (self.bn(self.conv(images)) + self.conv(images + 1)).mean((2, 3))


class Branching(Shared):
    """Its forward pass depends on its input, so it cannot be traced."""

    def forward(self, images):
        return self.bn(self.conv(images)).mean((2, 3)) if images.sum() > 0 else images.mean((2, 3))


@pytest.mark.parametrize("kind", [Shared, Twice, Branching])
def test_what_cannot_be_folded_is_copied(kind):
    net, images = kind().eval(), torch.rand(2, 3, 4, 4)
    assert torch.equal(folded(net)(images), net(images))
    assert isinstance(folded(net).bn, nn.BatchNorm2d)
