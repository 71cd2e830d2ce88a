"""Cross-entropy on images with Gaussian noise: training for randomised smoothing."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.attacks.noise import gaussian_noise
from bench.spec import Recipe


def loss(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy on images + recipe.sigma * N(0, 1), with the recipe's label smoothing, and the logits.

    images (n, 3, h, w) in [0, 1], labels (n,) and indices (n,) int64. The noise of an example is a function of
    (seed, step, index); noisy pixels are not clipped. Cohen et al. 2019, arXiv:1902.02918.
    """
    noise = gaussian_noise(tuple(images.shape), seed=seed, indices=indices, draw=step, device=images.device)
    logits = network(images + recipe.sigma * noise)
    return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing), logits
