"""How many weights each layer keeps: decided by the scores over all layers together, or by a rule beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

ALLOCATIONS = ("global", "layerwise", "erk")


def counts(
    shapes: Mapping[str, Sequence[int]], keep: int, *, allocation: str, available: Mapping[str, int] | None = None
) -> dict[str, int] | None:
    """Name -> weights that the layer keeps, `keep` in all; None for "global", where scores decide.

    "layerwise": every layer has the density keep / total. "erk" (Erdos-Renyi-Kernel): a layer's density is
    proportional to the sum of its weight's dimensions (in + out + kernel height + width) over their product; layers
    that would need more than all their weights are dense, and the others share the rest in the same proportion.
    Both are exact shares, rounded down, and the weights left over go to the largest remainders.
    available: the weights each layer still has to choose from (default: all). Raises ValueError for an unknown
    allocation and for `keep` outside 0..available. Evci et al. 2020, arXiv:1911.11134.
    """
    if allocation not in ALLOCATIONS:
        raise ValueError(f"allocation {allocation!r} (known: {', '.join(ALLOCATIONS)})")
    if allocation == "global":
        return None
    caps = {name: math.prod(shape) for name, shape in shapes.items()} if available is None else dict(available)
    if not 0 <= keep <= sum(caps.values()):
        raise ValueError(f"cannot keep {keep} of {sum(caps.values())} weights")
    size = math.prod if allocation == "layerwise" else sum
    return _rounded(_shares({name: size(shape) for name, shape in shapes.items()}, caps, keep))


def _shares(parts: Mapping[str, int], caps: Mapping[str, int], keep: int) -> dict[str, Fraction]:
    """`keep` divided in proportion to `parts`, no share above its cap."""
    shares = {name: Fraction(0) for name in parts}
    free, left = set(parts), keep
    while free:
        scale = Fraction(left, sum(parts[name] for name in free) or 1)
        full = {name for name in free if scale * parts[name] >= caps[name]}
        # A capped layer leaves more for the others, which may then be capped too.
        for name in full or free:
            shares[name] = Fraction(caps[name]) if full else scale * parts[name]
        left -= sum(caps[name] for name in full)
        free = free - full if full else set()
    return shares


def _rounded(shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole numbers of the same sum, each less than one away from its share; of equal remainders the earlier gains."""
    whole = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: whole[name] - shares[name])
    for name in by_remainder[: int(sum(shares.values())) - sum(whole.values())]:
        whole[name] += 1
    return whole
