"""torchvision's architectures, one function each, without published weights (see external.py).

`stem: imagenet` is torchvision's network as it is. `stem: cifar` is its form for images of about 32 px; every
function says what it changes. Parameter names stay torchvision's.
"""

from __future__ import annotations

from torch import nn
from torchvision import models
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.vision_transformer import VisionTransformer

from bench.models.body import Body

STAGES = ("layer1", "layer2", "layer3", "layer4")  # of the residual networks


def resnet18(*, classes: int, stem: str) -> Body:
    return _resnet(models.resnet18(num_classes=classes), stem)


def resnet50(*, classes: int, stem: str) -> Body:
    return _resnet(models.resnet50(num_classes=classes), stem)


def resnet152(*, classes: int, stem: str) -> Body:
    return _resnet(models.resnet152(num_classes=classes), stem)


def wide_resnet50_2(*, classes: int, stem: str) -> Body:
    return _resnet(models.wide_resnet50_2(num_classes=classes), stem)


def vgg16_bn(*, classes: int, stem: str) -> Body:
    """cifar: 1 x 1 instead of 7 x 7 positions before the classifier, whose hidden layers have 512 units.

    All five poolings stay, so that 32 px end as one position. Liu and Deng 2015 (doi:10.1109/ACPR.2015.7486599)
    is the usual source of this form.
    """
    module = models.vgg16_bn(num_classes=classes)
    if stem == "imagenet":
        return Body(module=module, head="classifier.6", smallest=32)
    module.avgpool = nn.AdaptiveAvgPool2d(1)
    module.classifier[0], module.classifier[3], module.classifier[6] = (
        nn.Linear(512, 512), nn.Linear(512, 512), nn.Linear(512, classes)
    )  # fmt: skip
    changed = ("classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias")
    return Body(module=module, head="classifier.6", stem=changed, smallest=32)


def mobilenet_v2(*, classes: int, stem: str) -> Body:
    """cifar: the first two of five halvings (the first convolution and the 24-channel stage) have stride 1."""
    module = models.mobilenet_v2(num_classes=classes)
    if stem == "cifar":
        first_convolution, second_stage = module.features[0][0], module.features[2]
        assert isinstance(second_stage, InvertedResidual)
        depthwise = second_stage.conv[1][0]
        assert first_convolution.stride == depthwise.stride == (2, 2)
        first_convolution.stride = depthwise.stride = (1, 1)
    return Body(module=module, head="classifier.1")


def vit_b_16(*, classes: int, stem: str) -> Body:
    """cifar: 8 x 8 patches of 4 px of a 32 px image, instead of 14 x 14 patches of 16 px of a 224 px image."""
    side, patch = (224, 16) if stem == "imagenet" else (32, 4)
    module = VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=12,
        num_heads=12,
        hidden_dim=768,
        mlp_dim=3072,
        num_classes=classes,
    )
    changed = ("conv_proj.weight", "encoder.pos_embedding") if stem == "cifar" else ()
    return Body(module=module, head="heads.head", stem=changed, smallest=side, largest=side)


def convnext_tiny(*, classes: int, stem: str) -> Body:
    """cifar: the first convolution reads patches of 2 px instead of 4, so 32 px reach the last stage as 2 x 2."""
    module = models.convnext_tiny(num_classes=classes)
    if stem == "imagenet":
        return Body(module=module, head="classifier.2", smallest=32)
    patchify = nn.Conv2d(3, 96, kernel_size=2, stride=2)
    nn.init.trunc_normal_(patchify.weight, std=0.02)  # as torchvision initialises the layer this one replaces
    nn.init.zeros_(patchify.bias)  # type: ignore[arg-type]
    module.features[0][0] = patchify
    return Body(module=module, head="classifier.2", stem=("features.0.0.weight",), smallest=16)


def _resnet(module: models.ResNet, stem: str) -> Body:
    """cifar: a 3 x 3 first convolution of stride 1 and no max-pooling.

    Chen et al. 2021, arXiv:2012.06908, transfer to CIFAR with this stem.
    """
    if stem == "imagenet":
        return Body(module=module, head="fc", stages=STAGES)
    module.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(module.conv1.weight, mode="fan_out", nonlinearity="relu")
    module.maxpool = nn.Identity()
    return Body(module=module, head="fc", stem=("conv1.weight",), stages=STAGES)
