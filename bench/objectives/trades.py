"""TRADES: cross-entropy on clean images, and agreement of their predictions with those on attacked ones."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.models.modes import evaluation_mode
from bench.spec import Recipe


def loss(
    network: nn.Module, images: Tensor, labels: Tensor, *, recipe: Recipe, seed: int, step: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """CE(clean, label) + trades_beta * KL(clean || attacked), means over the batch, and the clean logits (n, classes).

    images (n, 3, h, w) in [0, 1], labels (n,) and indices (n,) int64. The attack maximises the divergence, from a
    random start in its ball (the released code starts 0.001 away: the gradient is zero at the image itself).
    Raises ValueError if the recipe has no attack, or one without a random start. Zhang et al. 2019, arXiv:1901.08573.
    """
    attack = recipe.attack
    if attack is None or not attack.random_start:
        raise ValueError(f"TRADES needs a recipe with an attack that starts at random, found {attack}")
    with torch.no_grad(), evaluation_mode(network) if attack.batchnorm == "eval" else nullcontext():
        clean = network(images).softmax(dim=1)
    noise = random_noise(tuple(images.shape), attack, seed=seed, indices=indices, draw=step, device=images.device)
    # Cross-entropy against the clean prediction differs from the divergence by a constant.
    attacked = network(pgd(network, images, clean, attack, noise=noise))
    logits = network(images)
    divergence = F.kl_div(
        attacked.log_softmax(dim=1), logits.log_softmax(dim=1), reduction="batchmean", log_target=True
    )
    value = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
    return value + recipe.trades_beta * divergence, logits
