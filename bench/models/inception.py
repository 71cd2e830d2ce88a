"""The Inception network of the classical Frechet inception distance (FID), with the weights published for it.

The file is `pt_inception-2015-12-05-6726825d.pth` of mseitzer/pytorch-fid: TensorFlow's Inception of 2015 under
torchvision's names. Its network differs from torchvision's `inception_v3` in how it pools inside its blocks.
Szegedy et al. 2016, arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import inception_v3

from bench.models.errors import ModelError
from bench.models.network import misfits
from bench.models.unpickling import load_file

SIDE, CLASSES = 299, 1008
# Of the blocks that pool: what goes on beside the pooling, as chains of layers; "|" parts the two ends of a fork.
A = ("branch1x1", "branch5x5_1 branch5x5_2", "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3")
C = (
    "branch1x1",
    "branch7x7_1 branch7x7_2 branch7x7_3",
    "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5",
)
E = (
    "branch1x1",
    "branch3x3_1 branch3x3_2a|branch3x3_2b",
    "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a|branch3x3dbl_3b",
)
CHAINS = {
    "Mixed_5b": A,
    "Mixed_5c": A,
    "Mixed_5d": A,
    "Mixed_6b": C,
    "Mixed_6c": C,
    "Mixed_6d": C,
    "Mixed_6e": C,
    "Mixed_7b": E,
    "Mixed_7c": E,
}


class Inception(nn.Module):
    """Images (n, 3, h, h) float in [0, 1], of any side -> `features`, the 2048 means of the last feature maps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = inception_v3(
            weights=None, num_classes=CLASSES, aux_logits=False, transform_input=False, init_weights=False
        )

    def features(self, images: Tensor) -> Tensor:
        """(n, 2048): images resized to 299 px (bilinear, without antialiasing) and scaled to [-1, 1]."""
        maps = 2 * F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", align_corners=False) - 1
        for name, block in self.body.named_children():
            if name == "avgpool":
                break
            maps = _pooling_block(block, maps, name) if name in CHAINS else block(maps)
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 1008)."""
        return cast(Tensor, self.body.fc(self.features(images)))


def inception(path: Path) -> Inception:
    """The network with the weights of a file, in evaluation mode, on the CPU.

    Only tensors are loaded, never code. Raises ModelError that names what was expected and found.
    """
    with torch.device("meta"):
        network = Inception()
    own = network.body.state_dict()
    given = {name: tensor for name, tensor in load_file(path).items() if isinstance(tensor, Tensor)}
    # Files of older versions of torch do not count batches.
    counters = {name: torch.zeros((), dtype=torch.int64) for name in own if name.endswith("num_batches_tracked")}
    given = counters | given
    misfit = misfits({name: tensor.shape for name, tensor in own.items()}, given)
    if misfit:
        raise ModelError(
            f"{path} does not hold the weights of the FID Inception network: {misfit}. "
            "Expected pt_inception-2015-12-05-6726825d.pth of mseitzer/pytorch-fid"
        )
    network.body.load_state_dict(given, assign=True)
    return network.eval()


def _pooling_block(block: nn.Module, maps: Tensor, name: str) -> Tensor:
    branches = [branch for chain in CHAINS[name] for branch in _chain(block, maps, chain)]
    # TensorFlow's mean does not count the padding, and the last block takes the maximum.
    if name == "Mixed_7c":
        pooled = F.max_pool2d(maps, kernel_size=3, stride=1, padding=1)
    else:
        pooled = F.avg_pool2d(maps, kernel_size=3, stride=1, padding=1, count_include_pad=False)
    return torch.cat([*branches, block.get_submodule("branch_pool")(pooled)], dim=1)


def _chain(block: nn.Module, maps: Tensor, chain: str) -> list[Tensor]:
    *layers, last = chain.split()
    for layer in layers:
        maps = block.get_submodule(layer)(maps)
    return [block.get_submodule(end)(maps) for end in last.split("|")]
