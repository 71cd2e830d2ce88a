"""Residual networks for small images: 6n + 2 layers, widths 16, 32 and 64, one function per architecture.

He et al. 2016, arXiv:1512.03385, section 4.2, with the shortcuts used there for CIFAR (option A: subsample, then
pad the channels with zeros), which have no weights. Names follow torchvision's residual networks.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.body import Body

STAGES = ("layer1", "layer2", "layer3")


def resnet8(*, classes: int) -> Body:
    return Body(module=CifarResNet(blocks=1, classes=classes), head="fc", stages=STAGES)


def resnet20(*, classes: int) -> Body:
    return Body(module=CifarResNet(blocks=3, classes=classes), head="fc", stages=STAGES)


class CifarResNet(nn.Module):
    """Three stages of `blocks` blocks on square images of any side; logits (n, classes)."""

    def __init__(self, *, blocks: int, classes: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, 16, stride=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks=blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks=blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks=blocks, stride=2)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.fc(out.mean((2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels_out, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3x3(channels_out, channels_out, stride=1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.extra = stride, channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))
        return F.relu(out + x)


def _stage(channels_in: int, channels_out: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(channels_in, channels_out, stride=stride)
    return nn.Sequential(first, *(_Block(channels_out, channels_out, stride=1) for _ in range(blocks - 1)))


def _conv3x3(channels_in: int, channels_out: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, stride=stride, padding=1, bias=False)
