"""Folding batch normalisation changes no output and no original."""

import pytest
import torch
from torch import nn

from bench import catalog, models
from bench.models.fold import folded, folding
from bench.pruners import lmp
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


def test_a_network_is_folded_in_place_for_a_while():
    net, images = network("resnet8").eval(), torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    modules, state = dict(net.named_modules()), {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        expected = net(images)
        with folding(net):
            found = net(images)
            assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5
    assert list(net.named_modules()) == list(modules.items())
    assert list(net.state_dict()) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_folding_ends_where_the_body_raises():
    net = network("resnet8").eval()
    before = list(net.named_modules())
    with pytest.raises(KeyError, match="stop"), folding(net):
        raise KeyError("stop")
    assert list(net.named_modules()) == before


def test_folding_reads_the_weights_anew_every_time():
    net, images = network("resnet8").eval(), torch.rand(2, 3, 16, 16)
    with torch.no_grad(), folding(net):
        before = net(images)
    with torch.no_grad():
        net.body.conv1.weight.mul_(2)
        net.body.bn1.running_mean.add_(1)
        expected = net(images)
        with folding(net):
            found = net(images)
    assert (expected - before).abs().max() > 0.1
    assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5


def test_masks_that_are_chosen_at_the_forward_pass_are_not_folded():
    net, images = network("resnet8").eval(), torch.rand(2, 3, 16, 16)
    names = ("conv1.weight",)
    (scores,) = lmp.attach(net, names, keep=200, granularity=Word("unstructured"), allocation="global", seed=0)
    with torch.no_grad():
        with folding(net):
            before = net(images)
        scores.copy_(scores.flatten().flip(0).view_as(scores))
        with folding(net):
            found = net(images)
        expected = net(images)
    assert (expected - before).abs().max() > 1e-2
    assert ((found - expected).abs().max() / expected.abs().max()).item() < 1e-5
