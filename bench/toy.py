"""Grids at toy size: recipes shrunk and data sets stood in for, so that every word of a grid runs in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import words
from bench.catalog import ARCHITECTURES, DATASETS, TABLES
from bench.ladder import Ladder
from bench.recipes.protocol import Protocol

RESOLUTION, SMALL_RESOLUTION, SCENE, TEXT = 32, 16, 64, 32
SUFFIX = "-toy"
# Options of words that only say how much is computed.
SMALL = {
    "examples": 8, "steps": 2, "restarts": 1, "rounds": 2, "rewind_epoch": 1, "iterations": 2, "queries": 4,
    "draws": 1,
}  # fmt: skip
SETS = ("against", "on")  # options that name a data set
RECIPE = {
    "epochs": 1, "epoch_steps": 4, "batch_size": 32, "warmup_epochs": 0.0, "milestones": [], "select_from": 1,
    "attack": {"steps": 1}, "validation_attack": {"steps": 1}, "contrast": {"probe_examples": 32},
}  # fmt: skip
ROUNDS = [0, 1, 2]
# Axes of numbers -> how many of their values stay: the first ones, of which sparsity 0 is none.
NUMBERS = {"seed": 1, "pretraining_seed": 1, "fraction": 2}


def shrink(fields: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The fields of a grid file at toy size. Words that do not parse stay as they are, to be reported later.

    Kept: every word of every axis, and what is excluded. Changed: recipes (one epoch of four steps, one attack step,
    few images to probe features), data sets (`toy(of=...)` unless embedded), weights that are fetched and networks that
    are large (what the catalog names instead), images (16 pixels or fewer, with the ImageNet stem 32, scenes 64, where
    the network reads them, through the stream loader where recipes crop at random), texts (32 tokens), how much is
    computed by words that say so, and numbers: the first seed, the first rungs of the ladder, the first two fractions.
    Of the cells, those stay that hold every pair of values between them (bench.cells.cover).
    """
    small = dict(fields)
    small["name"] = f"{fields['name']}{SUFFIX}"
    small["source"] = fields.get("source") or [protocol.source]
    for axis in ("architecture", "pretraining", "source", "pruner", "dataset", "evaluate"):
        changed = [_word(axis, item) for item in small[axis]]
        small[axis] = [item for i, item in enumerate(changed) if item not in changed[:i]]
    for axis in NUMBERS:
        small[axis] = list(fields[axis])[: NUMBERS[axis]]
    small["sparsity"] = _rungs(fields["sparsity"])
    small["cover"] = "pairs"
    small["exclude"] = [rule for rule in (_rule(rule, fields, small, protocol) for rule in fields["exclude"]) if rule]
    sides = {
        "imagenet_stem_resolution": (protocol.imagenet_stem_resolution, "imagenet", RESOLUTION),
        "small_resolution": (protocol.small_resolution, "cifar", SMALL_RESOLUTION),
    }
    resolutions = {
        name: min(own, max(least, *(_smallest_side(item, stem) for item in small["architecture"])))
        for name, (own, stem, least) in sides.items()
    }
    resolutions |= {
        "dense_resolution": min(protocol.dense_resolution, SCENE),
        "text_length": min(protocol.text_length, TEXT),
    }
    small["override"] = _override(fields["override"], protocol, resolutions)
    return small


def _smallest_side(architecture: Any, stem: str) -> int:
    """Of the images that it reads with this stem."""
    name = next(iter(architecture)) if isinstance(architecture, Mapping) else str(architecture).partition("(")[0]
    entry = ARCHITECTURES.get(name)
    return entry.sides.get(stem, (1, None))[0] if entry else 1


def _word(axis: str, item: Any) -> Any:
    try:
        name, options = words.split(item, axis)
    except words.WordError:
        return item
    if axis in ("dataset", "source"):
        return _stand_in(name) if not options else item
    if small := _small(axis, name):
        return small
    known = getattr(TABLES[axis].get(name), "options", {})
    changed: dict[str, Any] = {option: value for option, value in SMALL.items() if option in known}
    if not options.get("rewind_epoch"):
        changed.pop("rewind_epoch", None)
    changed |= {option: _stand_in(str(options[option])) for option in SETS if option in options}
    return {name: {**options, **changed}} if options or changed else name


def _small(axis: str, name: Any) -> str:
    """The word that stands for this one; empty: itself."""
    return str(getattr(TABLES[axis].get(str(name)), "toy", ""))


def _stand_in(name: str) -> str:
    return name if name not in DATASETS or DATASETS[name].embedded else f"toy(of={name})"


def _rungs(sparsity: Any) -> Any:
    if isinstance(sparsity, Mapping):
        if not isinstance(sparsity.get("rounds"), list):
            return sparsity
        # A ladder of points is short, and some granularities have only some of its rungs.
        own = [0, *sorted(k for k in sparsity["rounds"] if k)[:2]]
        return {**sparsity, "rounds": own if "points" in sparsity else ROUNDS}
    values = sparsity if isinstance(sparsity, list) else [sparsity]
    pruned = sorted(value for value in values if value)
    return [*(value for value in values if not value), *pruned[:2]]


def _levels(sparsity: Any, ladder: Ladder) -> list[float]:
    """The sparsities of a grid, or of `_rungs`; of a list of rounds that is none, none."""
    if not isinstance(sparsity, Mapping):
        return list(sparsity) if isinstance(sparsity, list) else [sparsity]
    if not isinstance(sparsity.get("rounds"), list):
        return []
    if "rate" in sparsity or "points" in sparsity:
        of, rate = ("survivors", "rate") if "rate" in sparsity else ("original", "points")
        ladder = Ladder(of=of, rate=sparsity[rate])
    return [ladder.sparsity(k) for k in sparsity["rounds"]]


def _pruned(sparsity: Any, protocol: Protocol) -> list[float]:
    return [level for level in _levels(sparsity, protocol.ladder) if level]


def _rule(
    rule: Mapping[str, Any], fields: Mapping[str, Any], small: Mapping[str, Any], protocol: Protocol
) -> dict[str, Any]:
    """An exclusion in the words of the small grid; empty where it excludes only what is not there any more."""
    changed: dict[str, Any] = {}
    for axis, wanted in rule.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if axis in ("dataset", "source"):
            values = [_word(axis, value) for value in values]
        elif axis in ("pruner", "architecture", "pretraining"):
            # A bare name stands for every choice of options.
            values = [_label(axis, value) if "(" in str(value) or _small(axis, value) else value for value in values]
        elif axis in NUMBERS:
            values = [value for value in values if value in small[axis]]
        elif axis == "sparsity":
            left = _pruned(small["sparsity"], protocol)
            some = len(values) < len(_pruned(fields["sparsity"], protocol))
            values = [value for value in values if any(abs(value - level) < 1e-4 for level in left)]
            # What was there at some sparsities is there at one.
            values = values[:-1] if some and len(values) == len(left) else values
        if not values:
            return {}
        changed[axis] = values
    return changed


def _label(axis: str, value: Any) -> str:
    try:
        small, (name, options) = _word(axis, value), words.split(value, axis)
        # Of a word with options at their defaults the label is the bare name, which stands for all of its words.
        return str(value) if small == {name: options} else words.parse(small, axis, TABLES[axis]).label
    except words.WordError:
        return str(value)


def _override(given: Mapping[str, Any], protocol: Protocol, resolutions: Mapping[str, int]) -> dict[str, Any]:
    changes: dict[str, Any] = {
        **dict.fromkeys(("pretrain", "prune", "transfer"), RECIPE),
        "attack": {"steps": 2, "restarts": 1},
        "data": {**resolutions, "attack_examples": SMALL["examples"]},
    }
    recipes = [*protocol.pretrain.values(), *protocol.prune.values(), *protocol.transfer.values()]
    if any("resized_crop" in recipe.augmentation for recipe in recipes):
        # At their own size the sets would be kept in memory, where images are not resized.
        changes["data"]["loader"] = "stream"
    merged: dict[str, Any] = {}
    for section in {**given, **changes}:
        own, ours = dict(given.get(section) or {}), changes.get(section, {})
        # Of an attack only its length changes.
        nested = {
            name: {**own[name], **value}
            for name, value in ours.items()
            if isinstance(value, Mapping) and isinstance(own.get(name), Mapping)
        }
        merged[section] = {**own, **ours, **nested}
    return merged
