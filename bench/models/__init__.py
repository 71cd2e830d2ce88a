"""Networks by the catalog's words: built, pruned by name, saved and loaded.

A new architecture is one line in the catalog and one function of that name in the file the line gives:
`name(*, classes, **options) -> Body`.
"""

from bench.models.errors import ModelError
from bench.models.heads import new_head, replace_head
from bench.models.macs import uses
from bench.models.network import (
    TOP,
    Network,
    State,
    build,
    check_resolution,
    head,
    head_name,
    head_parameters,
    head_weights,
    is_normalisation,
    load_state,
    outline,
    prunable,
    state,
    weights,
)

__all__ = [
    "TOP",
    "ModelError",
    "Network",
    "State",
    "build",
    "check_resolution",
    "head",
    "head_name",
    "head_parameters",
    "head_weights",
    "is_normalisation",
    "load_state",
    "new_head",
    "outline",
    "prunable",
    "replace_head",
    "state",
    "uses",
    "weights",
]
