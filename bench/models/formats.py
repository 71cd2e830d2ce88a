"""Layouts of checkpoint files from elsewhere, as two declared tables: of weights and of masks.

A layout is the entry that holds the tensors and what their names carry beside the architecture's own. A new one is one
line here and one test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.models.errors import ModelError
from bench.models.network import State

TOP = ""  # as a container: the file's top level


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One layout. `prefix`, `dropped` and the left sides of `renamed` are regular expressions.

    containers: the entries that may hold the tensors; the first that is there does.
    prefix: stands before every name of the network, and is cut off.
    dropped: whole names in the file of tensors that are none of the network's; they are left out.
    renamed: (pattern, replacement) for parts of names, after the prefix is cut off.
    needs_unpickling: files of this layout usually hold code beside the tensors (see `unpickling.load_file`).
    """

    name: str
    containers: tuple[str, ...]
    prefix: str = ""
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    needs_unpickling: bool = False


# torchvision's vision transformers were published before their perceptrons became sequences.
_RENAMED = ((r"\.mlp\.linear_1\.", ".mlp.0."), (r"\.mlp\.linear_2\.", ".mlp.3."))
_WRAPPED = r"module\."  # by torch.nn.DataParallel or DistributedDataParallel
_NORMALISER = (r"normalize\..*",)
# The query encoder is the network. Its `fc` is a projection (v1: one layer, v2: two), never a classifier.
_MOCO = (r"module\.encoder_k\..*", r"module\.queue(_ptr)?", r"module\.encoder_q\.fc\..*")
_PROJECTION = (r"(module\.)?fc\.fc[12]\..*",)
# Published before LayerNorm's parameters had torch's names, or without heads and then without `bert.`. The decoder of
# masked tokens shares the word embeddings' weight and the predictions' bias.
_BERT = (
    (r"\.gamma$", ".weight"),
    (r"\.beta$", ".bias"),
    (r"^(?=(embeddings|encoder|pooler)\.)", "bert."),
    (r"^cls\.predictions\.(decoder\.(?=bias$))?", "top."),
    (r"^(?=qa_outputs\.)", "top."),
)

# Of formats under which equally many names fit, the first is taken.
FORMATS = (
    # A flat state dict, old (no num_batches_tracked) or new, .pth or .safetensors.
    Format(name="torchvision", containers=(TOP,), renamed=_RENAMED),
    Format(name="wrapped", containers=(TOP,), prefix=_WRAPPED),
    # Training checkpoints: github.com/tonylins/simclr-converter, and tickets of Double-Win and of CV's supervised IMP.
    Format(name="checkpoint", containers=("state_dict", "model"), dropped=_NORMALISER),
    # Wong et al. 2020 (github.com/locuslab/fast_adversarial), and ordinary checkpoints of wrapped networks.
    Format(name="fast_adversarial", containers=("state_dict", "model"), prefix=_WRAPPED),
    # github.com/MadryLab/robustness and github.com/microsoft/robust-models-transfer. The attacker holds the network a
    # second time; networks that were given a new head are wrapped twice.
    Format(
        name="robustness",
        containers=("model", "state_dict"),
        prefix=r"(module\.)?(model\.)+",
        dropped=(r"(module\.)?attacker\..*", r"(module\.)?(model\.)*normalizer\..*"),
        needs_unpickling=True,
    ),
    # He et al. 2020 and Chen et al. 2020 (github.com/facebookresearch/moco), and tickets found on their objective.
    Format(name="moco", containers=("state_dict", TOP), prefix=r"module\.encoder_q\.", dropped=_MOCO),
    # Tickets found on simCLR's objective, with its projection head in the place of the classifier.
    Format(name="simclr_ticket", containers=("state_dict", TOP), prefix=r"(module\.)?", dropped=_PROJECTION),
    # Dense weights in ticket files, from which pruning started: Double-Win (`init`) and CV (`init_weight`).
    Format(name="ticket_start", containers=("init", "init_weight"), prefix=r"(module\.)?", dropped=_NORMALISER),
    # BERT as transformers saves it, old or new, with any head or none: model.safetensors or pytorch_model.bin.
    Format(
        name="huggingface",
        containers=(TOP,),
        dropped=(r".*\.position_ids", r"cls\.predictions\.decoder\.weight", r"cls\.seq_relationship\..*"),
        renamed=_BERT,
    ),
)

# Names of a file's projection head of two layers, the second group telling which: of MoCo v2's query encoder, and of
# tickets found on simCLR's objective. MoCo v1 has one layer, which is no projection head here.
PROJECTIONS = (
    (re.compile(r"module\.encoder_q\.fc\.([02])\.(weight|bias)"), {"0": "0", "2": "2"}),
    (re.compile(r"(?:module\.)?fc\.fc([12])\.(weight|bias)"), {"1": "0", "2": "2"}),
)

_MASK = ((r"_mask$", ""),)
_NO_MASK = r"(?!.*_mask$).*"
# Layouts of mask files of github.com/VITA-Group: Double-Win-LTH, CV_LTH_Pre-training and BERT-Tickets.
MASK_FORMATS = (
    # CV, ImageNet and VisDA: `mask` of names without or with the suffix; None before the first pruning.
    Format(name="mask_entry", containers=("mask",), prefix=r"(module\.)?", renamed=_MASK),
    # Double-Win and CV small sets, and CV simCLR behind `module.`; flat files: CV's mask-{k}.pt and BERT's mask.pt.
    Format(
        name="pruned",
        containers=("state_dict", TOP),
        prefix=r"(module\.)?",
        dropped=(_NO_MASK, r"module\.encoder_[qk]\..*"),
        renamed=_MASK,
    ),
    # CV MoCo, where the momentum encoder carries masks too.
    Format(
        name="pruned_moco",
        containers=("state_dict", TOP),
        prefix=r"module\.encoder_q\.",
        dropped=(_NO_MASK, r"module\.encoder_k\..*"),
        renamed=_MASK,
    ),
)


def known(name: str, table: tuple[Format, ...] = FORMATS) -> tuple[Format, ...]:
    """The formats of a table that `name` stands for, all of them for "auto". Raises ModelError for an unknown name."""
    chosen = tuple(format for format in table if name in ("auto", format.name))
    if not chosen:
        names = ", ".join(["auto", *(format.name for format in table)])
        raise ModelError(f"format {name!r} is in no line of bench/models/formats.py (known: {names})")
    return chosen


def tensors(content: Mapping[str, Any], format: Format) -> State | None:
    """Tensors of a file under `format`, by the network's names; None if no container is there.

    Names without the prefix stay as they are, and so does the second of two names that mean the same, but where both
    have the same numbers it is left out.
    """
    entries = (content if container == TOP else content.get(container) for container in format.containers)
    inner = next((entry for entry in entries if isinstance(entry, Mapping)), None)
    if inner is None:
        return None
    found: State = {}
    for name, tensor in inner.items():
        if not isinstance(tensor, Tensor) or any(re.fullmatch(pattern, str(name)) for pattern in format.dropped):
            continue
        own = re.sub(f"^(?:{format.prefix})", "", str(name))
        for pattern, replacement in format.renamed:
            own = re.sub(pattern, replacement, own)
        same = found.get(own)
        if same is None or same.dtype != tensor.dtype or not torch.equal(same, tensor):
            found[str(name) if own in found else own] = tensor
    return found


def folded(state: Mapping[str, Tensor]) -> State:
    """Weights pruned by torch.nn.utils.prune as the network uses them: `<name>_orig` times `<name>_mask` is <name>."""
    result = dict(state)
    for name in state:
        own = name.removesuffix("_orig")
        mask = result.get(f"{own}_mask")
        if own != name and mask is not None and mask.shape == state[name].shape:
            result[own] = result.pop(name) * result.pop(f"{own}_mask")
    return result


def projection(content: Mapping[str, Any]) -> State:
    """The projection head that a file of contrastive pre-training holds, as the layers 0 and 2 of a sequence.

    Empty where it holds none: no two layers with their biases.
    """
    inner = content.get("state_dict", content)
    found: State = {}
    for name, tensor in inner.items() if isinstance(inner, Mapping) else ():
        for pattern, layers in PROJECTIONS:
            if (match := pattern.fullmatch(str(name))) and isinstance(tensor, Tensor):
                found[f"{layers[match[1]]}.{match[2]}"] = tensor
    return found if len(found) == 4 else {}


def first(names: Iterable[str]) -> str:
    """How many names, and the first three."""
    listed = list(names)
    if not listed:
        return "no names"
    return f"{len(listed)} name{'s' if listed[1:] else ''} (first: {', '.join(listed[:3])})"


def held(content: Mapping[str, Any], format: Format) -> str:
    """What a format finds in a file, in a few words."""
    found = tensors(content, format)
    return f"no entry {' or '.join(format.containers)}" if found is None else first(found)
