"""DeepLabV3+ on a body's feature maps. Chen et al. 2018, arXiv:1802.02611."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.dense import measured
from bench.models.network import Network

# A body of coarser maps than this has its last stage dilated.
OUTPUT_STRIDE = 16
# Of the bodies with at least BIG channels, and of small ones, on whose last maps objects cover a few positions.
BIG = 256
WIDTHS = {True: 256, False: 64}
RATES = {True: (6, 12, 18), False: (1, 2, 3)}
DROPOUT = 0.1  # as in the authors' code


class Segmenter(nn.Module):
    """Maps of the stages (n, c, h, h), from fine to coarse -> logits (n, classes, side, side) float32 or wider.

    The last map goes through atrous spatial pyramid pooling, is upsampled to the `fine` one, joined with it and
    upsampled to the image, bilinearly with aligned corners: any side works.
    """

    def __init__(
        self, pooling: nn.Module, lateral: nn.Module, join: nn.Module, classifier: nn.Module, *, fine: int
    ) -> None:
        super().__init__()
        self.pooling, self.lateral, self.join, self.classifier = pooling, lateral, join, classifier
        self.fine = fine

    def forward(self, maps: Sequence[Tensor], images: Tensor) -> Tensor:
        fine = self.lateral(maps[self.fine])
        context = resized(self.pooling(maps[-1]), fine.shape[-1])
        logits = self.classifier(self.join(torch.cat([context, fine], dim=1)))
        return resized(logits if logits.dtype == torch.float64 else logits.float(), images.shape[-1])


def resized(maps: Tensor, side: int) -> Tensor:
    return F.interpolate(maps, size=(side, side), mode="bilinear", align_corners=True)


def segmenter(network: Network, classes: int) -> Segmenter:
    """A fresh head of torch's default initialisation. The fine map has a quarter of the last one's stride, or 2.

    The last stage of a body of output stride 32 loses its stride and is dilated, in place.
    """
    # It takes seconds to import.
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    stages = measured(network)
    if stages[-1].stride > OUTPUT_STRIDE:
        dilate(network.body.get_submodule(network.stages[-1]))
        stages = measured(network)
    channels, strides = [stage.channels for stage in stages], [stage.stride for stage in stages]
    big = channels[-1] >= BIG
    fine = next(place for place, stride in enumerate(strides) if stride >= max(2, strides[-1] // 4))
    decoder = DeepLabV3PlusDecoder(
        encoder_channels=(0, 0, channels[fine], channels[-1]),
        encoder_depth=3,
        out_channels=WIDTHS[big],
        atrous_rates=RATES[big],
        output_stride=16,
        aspp_separable=True,
        aspp_dropout=DROPOUT,
    )
    classifier = nn.Conv2d(WIDTHS[big], classes, kernel_size=1)
    # The decoder's own forward upsamples by a fixed factor, which fits few sides.
    return Segmenter(decoder.aspp, decoder.block1, decoder.block2, classifier, fine=fine)


def dilate(stage: nn.Module) -> None:
    """Take the stride of 2 from a stage and space its later kernels accordingly, in place.

    Every second position of its output is what the stage put out before. Chen et al. 2017, arXiv:1706.05587.
    """
    for module in stage.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        if module.stride == (2, 2):
            module.stride = (1, 1)
        elif module.kernel_size == (3, 3):
            module.dilation = module.padding = (2, 2)
