"""What a protocol is: the named choices of one study, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.catalog import LOADERS, TASKS, described
from bench.ladder import Ladder
from bench.spec import Attack, Prunable, Recipe, Word

VALIDATION_RULES = ("stratified", "last", "none")
# Fields that say nothing of a recipe without labels: an override of the section leaves them as they are there.
LABELLED = ("augmentation", "select", "select_from", "sigma", "trades_beta")
FRACTION_RULES = ("stratified", "first_n")


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """Every choice that grids of one study share.

    pretrain       recipe by pre-training word
    prune          recipe of one IMP round by "<on>/<objective>", or "upstream/<pretraining>" where that differs; of
                   trained scores by "<pruner>/<objective>"; downstream for a set or a task as under transfer
    transfer       recipe by "<transfer>/<objective>", or "<transfer>/<objective>/<dataset>" where a set differs; of
                   segmentation and detection sets by "<transfer>/<objective>/<task>"
    train_first    by `on`: does IMP train before its first prune, or prune the pre-trained weights one-shot first
    rewind         what returns to its pre-trained value before each round: weights, batchnorm, head;
                   what is not named goes on from the end of the round before
    imp_objective  "pretraining": upstream IMP trains with the objective of the pre-training; else an OBJECTIVES word
    upstream_stem  "own": pre-training and upstream masks are of the cell's architecture; "imagenet": of its form with
                   the ImageNet stem, from which all but the stem is taken over
    dense_resolution   largest side of the images of segmentation and detection
    text_length    most tokens of a text
    validation_rule   which examples are held out of the training set: by class, the last ones, or "none"
    imagenet_stem_resolution   input side of networks with the ImageNet stem; the others take the set's own,
                   at most small_resolution
    attack         of evaluations
    attack_examples   test images that are attacked, a fixed stratified subset; None: all of them
    """

    name: str
    summary: str
    source: str
    pretrain: Mapping[str, Recipe]
    prune: Mapping[str, Recipe]
    transfer: Mapping[str, Recipe]
    attack: Attack
    ladder: Ladder = Ladder()
    prunable: Prunable = Prunable()
    train_first: Mapping[str, bool] = field(default_factory=lambda: {"upstream": False, "downstream": True})
    rewind: tuple[str, ...] = ("weights", "batchnorm", "head")
    imp_objective: str = "pretraining"
    upstream_stem: str = "own"
    dense_resolution: int = 513
    text_length: int = 512
    imagenet_stem_resolution: int = 224
    small_resolution: int = 64
    validation_rule: str = "stratified"
    fraction_rule: str = "stratified"
    loader: str | None = None
    attack_examples: int | None = None

    def __post_init__(self) -> None:
        # A ticket is pre-trained weights and a mask: what goes on from round to round is the rest.
        if "weights" not in self.rewind or not set(self.rewind) <= {"weights", "batchnorm", "head"}:
            raise ValueError(f"rewind {self.rewind}: name weights, and if wanted batchnorm and head")
        if self.attack.batchnorm != "eval":
            raise ValueError("attacks of evaluations run with batchnorm eval")
        choices = {
            "upstream_stem": ("own", "imagenet"), "validation_rule": VALIDATION_RULES, "fraction_rule": FRACTION_RULES,
            "loader": (None, *(name for name in LOADERS if name not in {task.loader for task in TASKS.values()})),
        }
        for name, known in choices.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} {value!r} (known: {', '.join(map(str, known))})")
        if min(self.imagenet_stem_resolution, self.small_resolution, self.dense_resolution) < 1:
            raise ValueError("a resolution is a positive number of pixels")
        if self.text_length < 2:
            raise ValueError("text_length counts tokens, the first and the last one of a text among them")


def recipe_of(table: Mapping[str, Recipe], name: str, dataset: Word) -> Recipe | None:
    """The recipe of this data set where the table has one, else that of its task, else None.

    A classification set takes the recipe that is named without a task.
    """
    task = described(dataset).task
    of = dict(dataset.options).get("of", dataset.name)
    return table.get(f"{name}/{of}", table.get(name if task == "classification" else f"{name}/{task}"))


def override_recipes(
    table: Mapping[str, Recipe], changes: Mapping[str, Any], nested: Mapping[str, Mapping[str, Any]]
) -> dict[str, Recipe]:
    """The table with the same fields changed in every recipe, and those of records within in recipes that have them."""
    changed = {}
    for name, recipe in table.items():
        apply = {
            field: value for field, value in changes.items() if recipe.contrast is None or field not in LABELLED
        }
        own = {
            field: _changed(record, fields)
            for field, fields in nested.items()
            if (record := getattr(recipe, field)) is not None
        }
        changed[name] = dataclasses.replace(recipe, **apply, **own)
    return changed


def _changed(record: Any, fields: Mapping[str, Any]) -> Any:
    """The record with the fields; a mapping changes fields of the record that the field holds."""
    return dataclasses.replace(
        record,
        **{
            name: _changed(getattr(record, name), value) if isinstance(value, Mapping) else value
            for name, value in fields.items()
        },
    )
