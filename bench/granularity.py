"""Which weights are pruned together: how masks are chosen from scores, one function per granularity."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from bench import masks

# A new granularity is a function (scores, keep, *, within) -> Masks that keeps whole groups of weights.
SELECT: dict[str, Callable[..., masks.Masks]] = {"unstructured": masks.keep_top}


def keep_top(
    scores: Mapping[str, Tensor], keep: int, *, granularity: str, within: Mapping[str, Tensor] | None = None
) -> masks.Masks:
    """Masks that keep the groups of highest scores, `keep` weights in all; see `masks.keep_top`.

    Raises ValueError for an unknown granularity.
    """
    if granularity not in SELECT:
        raise ValueError(f"granularity {granularity!r} (known: {', '.join(SELECT)})")
    return SELECT[granularity](scores, keep, within=within)
