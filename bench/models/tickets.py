"""Published tickets: masks from files of the released lottery-ticket studies, with the weights they start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.models.errors import ModelError
from bench.models.external import fitting
from bench.models.formats import MASK_FORMATS, first, held, known, tensors
from bench.models.network import Network, State, outline, prunable
from bench.models.unpickling import load_file
from bench.spec import Prunable, Word


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticket:
    """Bool masks by the network's names, in the order asked for, and the dense weights they were found from, if kept.

    format: the entry of formats.MASK_FORMATS under which the masks were read.
    """

    masks: dict[str, Tensor]
    weights: State | None
    format: str


def read_ticket(
    path: Path, *, architecture: Word | None, names: Sequence[str], format: str = "auto", unpickle: bool = False
) -> Ticket:
    """The ticket in a file: masks for the weights `names`, which are what the protocol prunes.

    A first convolution without a mask in the file is kept whole, as the studies that do not prune it mean; so are
    weights that a published network may lack (see `body.Body`).
    format: an entry of formats.MASK_FORMATS, or "auto", the one with most of the names.
    architecture=None: neither shapes nor the first convolution are known, nor are weights read.
    Raises ModelError for masks that are missing, misshapen or not of zeros and ones, and for masks of weights that
    the protocol does not prune.
    """
    formats = known(format, MASK_FORMATS)
    content = load_file(path, unpickle=unpickle)
    network = None if architecture is None else _outline(architecture)
    found = [(entry, tensors(content, entry) or {}) for entry in formats]
    chosen, given = max(found, key=lambda pair: len(pair[1].keys() & set(names)))
    if not given.keys() & set(names):
        tried = "; ".join(f"{entry.name}: {held(content, entry)}" for entry in formats)
        raise ModelError(f"{path} holds no masks: expected for {first(names)}; found as {tried}")
    if network is not None:
        _check_shapes(path, given, network)
    whole = _without_mask(path, given, names, network) if set(names) - given.keys() else {}
    _check_bits(path, given)
    # A mask that keeps everything says nothing.
    surplus = [name for name, mask in given.items() if name not in names and not mask.all()]
    if surplus:
        raise ModelError(
            f"{path} prunes what the protocol does not, {first(surplus)}{_option(surplus, network, value=True)}"
        )
    start = known("ticket_start")
    kept = any(isinstance(content.get(container), Mapping) for container in start[0].containers)
    return Ticket(
        masks={name: whole[name] if name in whole else given[name].bool() for name in names},
        weights=fitting(content, architecture, start, where=str(path)) if architecture is not None and kept else None,
        format=chosen.name,
    )


def _outline(architecture: Word) -> Network:
    return Network(outline(architecture, classes=2), label=str(architecture), mean=(0.0,) * 3, std=(1.0,) * 3)


def _check_shapes(path: Path, given: Mapping[str, Tensor], network: Network) -> None:
    own = {name: tensor.shape for name, tensor in network.body.named_parameters()}
    unknown = [name for name in given if name not in own]
    if unknown:
        raise ModelError(f"{path} has masks of no weights of {network.label}: {first(unknown)}")
    reshaped = [name for name in given if given[name].shape != own[name]]
    if reshaped:
        expected, found = tuple(own[reshaped[0]]), tuple(given[reshaped[0]].shape)
        raise ModelError(f"{path} has masks of another shape, {first(reshaped)}: expected {expected}, found {found}")


def _check_bits(path: Path, given: Mapping[str, Tensor]) -> None:
    odd = [name for name, mask in given.items() if not ((mask == 0) | (mask == 1)).all()]
    if odd:
        raise ModelError(f"{path} has masks with values other than 0 and 1: {first(odd)}")


def _without_mask(path: Path, given: Mapping[str, Tensor], names: Sequence[str], network: Network | None) -> State:
    """Masks that keep weights whole that may be without one. Raises ModelError for other names."""
    missing = [name for name in names if name not in given]
    if network is None or not set(missing) <= {*_optional(network)["first_conv"], *network.optional}:
        hint = _option(missing, network, value=False)
        raise ModelError(f"{path} has no masks for {len(missing)} of {len(names)} weights, {first(missing)}{hint}")
    own = dict(network.body.named_parameters())
    return {name: torch.ones(own[name].shape, dtype=torch.bool) for name in missing}


def _optional(network: Network) -> dict[str, tuple[str, ...]]:
    """Weights by the option of `Prunable` that a protocol prunes them with or without."""
    convolutions = prunable(network, Prunable(linear=False))
    linear = tuple(name for name in prunable(network, Prunable()) if name not in convolutions)
    return {"first_conv": convolutions[:1], "linear": linear}


def _option(names: Sequence[str], network: Network | None, *, value: bool) -> str:
    """What the protocol would have to say so as to prune (or leave) all of `names`, if there are words for it."""
    options = {} if network is None else _optional(network)
    needed = [option for option, covered in options.items() if set(names) & set(covered)]
    if not set(names) <= {name for option in needed for name in options[option]}:
        return ""
    return f": they fit a protocol with Prunable({', '.join(f'{option}={value}' for option in needed)})"
