"""A network: normaliser, then the architecture's body, whose last linear layer is the head.

A top that reads the body's feature maps may take the head's place: heads.new_head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from bench import catalog
from bench.models.body import Body
from bench.models.errors import ModelError
from bench.models.normalise import Normalise
from bench.models.rows import AllRows
from bench.spec import Prunable, Word

State = dict[str, Tensor]
TOP = "top."  # begins the names of a head on feature maps
UNITS = {"images": "px", "texts": "tokens"}
Made = TypeVar("Made")


class Network(nn.Module):
    """Inputs -> logits (n, classes), or what the top makes of the feature maps.

    Inputs are square images (n, 3, h, h) float in [0, 1], or texts (n, 2, l) int64: token ids and segments. `body` is
    the architecture's own module with its own parameter names; `top` is None where its last linear layer is the head.
    Raises ModelError for images of a side, or texts of a length, that the architecture cannot read.
    """

    all_rows: AllRows  # where there is a top

    def __init__(self, body: Body, *, label: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.reads = body.reads
        self.normalise = Normalise(mean, std) if self.reads == "images" else nn.Identity()
        self.body = body.module
        self.label, self.head_name, self.linear = label, body.head, body.linear
        self.stem_names, self.optional = body.stem, body.optional
        self.smallest, self.largest = body.smallest, body.largest
        self.stages, self.blocks = body.stages, body.blocks
        self.top: nn.Module | None = None

    def forward(self, inputs: Tensor) -> Any:
        check_resolution(self, inputs.shape[-1])
        if self.top is not None:
            return self.top(self.maps(inputs), inputs)
        return self.body(self.normalise(inputs))

    def maps(self, inputs: Tensor) -> list[Tensor]:
        """Outputs of the body's stages, (n, c, h, h) each, from fine to coarse; of texts (n, l, d)."""
        seen: list[Tensor] = []
        stages = map(self.body.get_submodule, self.stages)
        hooks = [stage.register_forward_hook(lambda _, __, output: seen.append(output)) for stage in stages]
        try:
            self.body(self.normalise(inputs))
        finally:
            for hook in hooks:
                hook.remove()
        return seen

    def features(self, inputs: Tensor) -> Tensor:
        """Input of the head, (n, d): `head(network)(network.features(x))` equals `network(x)`."""
        seen: list[Tensor] = []
        hook = head(self).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            self(inputs)
        finally:
            hook.remove()
        return seen[0]

    def blank(self, resolution: int) -> Tensor:
        """An input of that size, on the network's device: a black image, or a text of one token again and again."""
        device = next(self.parameters()).device
        if self.reads == "images":
            return torch.zeros(1, 3, resolution, resolution, device=device)
        return torch.ones(1, 2, resolution, dtype=torch.int64, device=device)


def check_resolution(network: Network, resolution: int) -> None:
    """Raise ModelError unless the architecture can read images of `resolution` px, or texts of so many tokens."""
    smallest, largest, unit = network.smallest, network.largest, UNITS[network.reads]
    if smallest <= resolution <= (largest or resolution):
        return
    readable = f"{smallest} {unit} and more"
    if largest is not None:
        readable = f"exactly {smallest} {unit}" if smallest == largest else f"{smallest} to {largest} {unit}"
    stem = "stem or " if network.reads == "images" else ""
    raise ModelError(
        f"{network.label} reads {network.reads} of {readable}, found {resolution} {unit}: "
        f"set the resolution of the data set, or take another {stem}architecture"
    )


def build(architecture: Word, *, classes: int, mean: tuple[float, ...], std: tuple[float, ...], seed: int) -> Network:
    """A freshly initialised network on the CPU, a function of its arguments only.

    The global random generator is left as it was.
    """
    body = seeded(lambda: _body(architecture, classes), seed)
    return Network(body, label=str(architecture), mean=mean, std=std)


def outline(architecture: Word, *, classes: int) -> Body:
    """The architecture with names and shapes but no numbers (meta tensors): costs neither memory nor draws."""
    with torch.device("meta"):
        return _body(architecture, classes)


@functools.cache
def head_name(architecture: Word) -> str:
    """Name of the last linear layer in the body, for example "fc" or "classifier.6"."""
    return outline(architecture, classes=2).head


def head(network: Network) -> nn.Linear:
    """The last linear layer."""
    return cast(nn.Linear, network.body.get_submodule(network.head_name))


def head_parameters(network: Network) -> tuple[str, ...]:
    """Names in the state of what depends on the task: the head's weight and bias, or all tensors of the top."""
    if network.top is not None:
        return tuple(f"{TOP}{name}" for name in network.top.state_dict())
    return f"{network.head_name}.weight", f"{network.head_name}.bias"


def head_weights(network: Network) -> list[nn.Parameter]:
    """The head's parameters: those of the last linear layer, or of the head on feature maps."""
    return list((head(network) if network.top is None else network.top).parameters())


def is_normalisation(network: Network, name: str) -> bool:
    """Is the body's tensor `name` a parameter or a statistic of a normalisation layer (batch, layer or group)?"""
    owner = network.body.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)


def prunable(network: Network, rule: Prunable) -> tuple[str, ...]:
    """Names of the weights that `rule` prunes, in order of definition; the head's never.

    Convolutions count with or without the first one; linear layers include the projections of attention.
    """
    convolutions = [name for name, module in network.body.named_modules() if isinstance(module, nn.Conv2d)]
    dropped = {network.head_name} | (set() if rule.first_conv else set(convolutions[:1]))
    names: list[str] = []
    for name, module in network.body.named_modules():
        if name in dropped:
            continue
        if isinstance(module, nn.Conv2d) or (rule.linear and isinstance(module, nn.Linear)):
            names.append(f"{name}.weight")
        elif rule.linear and isinstance(module, nn.MultiheadAttention):
            names.append(f"{name}.in_proj_weight")
    return tuple(names)


def weights(network: Network, names: tuple[str, ...]) -> dict[str, nn.Parameter]:
    """The body's parameters of these names, in the order of `names`."""
    return {name: network.body.get_parameter(name) for name in names}


def state(network: Network) -> State:
    """Parameters and batch-normalisation statistics: views, not copies. The body's, and the top's as "top.<name>"."""
    return _tensors(network)


def load_state(network: Network, state: Mapping[str, Tensor], *, allow_head_mismatch: bool = False) -> None:
    """Copy `state` into the body and the top, all of it or, if it does not fit, nothing.

    allow_head_mismatch: what is needed to start from other weights. A head of another size, for another task or none
    leaves the network's own head as it is, and so does a stem of another shape (or none) where the network's `stem`
    option changed it. What published weights may lack (see Body) may be missing.
    Raises ModelError that counts what does not fit and names the first.
    """
    own = _tensors(network)
    given = dict(state)
    if allow_head_mismatch:
        given = _without_other_heads(network, given, own)
    misfit = misfits({name: tensor.shape for name, tensor in own.items()}, given)
    if misfit:
        raise ModelError(f"the weights do not fit {network.label}: {misfit}")
    network.body.load_state_dict({name: tensor for name, tensor in given.items() if not name.startswith(TOP)})
    if network.top is not None:
        network.top.load_state_dict(
            {name.removeprefix(TOP): tensor for name, tensor in given.items() if name.startswith(TOP)}
        )


def _without_other_heads(network: Network, given: State, own: State) -> State:
    """What is given for the network's own names and for unknown ones, its own where that may differ."""
    names = head_parameters(network)
    heads = (TOP, f"{network.head_name}.")
    given = {name: tensor for name, tensor in given.items() if name in names or not name.startswith(heads)}
    for kept in (names, *((name,) for name in network.stem_names)):
        if any(name not in given or given[name].shape != own[name].shape for name in kept):
            given |= {name: own[name] for name in kept}
    return {name: own[name] for name in network.optional} | given


def misfits(expected: Mapping[str, torch.Size], found: Mapping[str, Tensor]) -> str:
    """What `found` lacks, has too much, or has in another shape: counts and the first of each; empty if it fits."""
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    reshaped = [name for name in expected if name in found and found[name].shape != expected[name]]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} names are missing (first: {missing[0]})")
    if extra:
        parts.append(f"{len(extra)} names are unknown (first: {extra[0]})")
    if reshaped:
        name = reshaped[0]
        shapes = f"expected {tuple(expected[name])}, found {tuple(found[name].shape)}"
        parts.append(f"{len(reshaped)} have another shape (first: {name}, {shapes})")
    return ", ".join(parts)


def _tensors(network: Network) -> State:
    top = {} if network.top is None else network.top.state_dict(prefix=TOP)
    return {**network.body.state_dict(), **top}


def _body(architecture: Word, classes: int) -> Body:
    module = catalog.load(catalog.ARCHITECTURES[architecture.name].module)
    function: Callable[..., Body] = getattr(module, architecture.name)
    return function(classes=classes, **dict(architecture.options))


def seeded(make: Callable[[], Made], seed: int) -> Made:
    """What `make` makes on the CPU when its draws start from the seed; the global generator is left as it was."""
    # The CPU generator alone: torch.manual_seed would also reseed the devices, which fork_rng does not restore here.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        return make()
