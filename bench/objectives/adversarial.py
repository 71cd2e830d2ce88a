"""Cross-entropy on PGD examples made for the network as it is: adversarial training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.spec import Recipe


def loss(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy on adversarial images, with the recipe's label smoothing, and their logits (n, classes).

    images (n, 3, h, w) in [0, 1], labels (n,) and indices (n,) int64. The random start of an example is a function
    of (seed, step, index). The attack maximises the plain cross-entropy. Raises ValueError if the recipe has no
    attack. Madry et al. 2018, arXiv:1706.06083.
    """
    attack = recipe.attack
    if attack is None:
        raise ValueError("adversarial training needs a recipe with an attack, found none")
    noise = random_noise(tuple(images.shape), attack, seed=seed, indices=indices, draw=step, device=images.device)
    logits = network(pgd(network, images, labels, attack, noise=noise))
    return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing), logits
