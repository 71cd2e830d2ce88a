"""Seeds derived from what they are for, so that no two uses share a stream."""

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) that is a function of the seed and the purpose only."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_step(seed: int, step: int) -> None:
    """Set torch's global generators (dropout, stochastic depth) to a function of (seed, step)."""
    torch.manual_seed(derive(seed, "step", step))
