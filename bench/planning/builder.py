"""What all planning shares: the stages so far, the data sets of a protocol, and what cannot be computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bench import words
from bench.catalog import ARCHITECTURES, LOADERS, PRETRAININGS, TABLES, TASKS, described
from bench.grid import Grid, GridError
from bench.inputs import describe_data
from bench.spec import (
    Attack,
    Cell,
    Data,
    Parameters,
    PretrainParameters,
    PruneParameters,
    Recipe,
    Scalar,
    Stage,
    TransferParameters,
    Word,
    make_stage,
)

Made = TypeVar("Made")


class Builder:
    """Builds stages with one memo per kind, so that planning costs per distinct stage, not per cell."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.protocol = grid, grid.protocol
        self.stages: dict[str, Stage] = {}
        self._memo: dict[tuple[object, ...], Any] = {}
        self._words: dict[tuple[str, str], Word] = {}
        self._data: dict[tuple[object, ...], Data] = {}

    def once(self, memo: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """What was made for this memo before, or what `make` makes now. Words of the grid may be named by id."""
        if memo not in self._memo:
            self._memo[memo] = make()
        made: Made = self._memo[memo]
        return made

    def add(self, kind: str, parameters: Parameters, inputs: dict[str, str]) -> Stage:
        self.check(parameters)
        stage = make_stage(kind, parameters, inputs)
        return self.stages.setdefault(stage.key, stage)

    def upstream(self, cell: Cell) -> Word:
        """The architecture that is pre-trained and pruned upstream."""
        stem = self.protocol.upstream_stem
        if stem == "own" or dict(cell.architecture.options).get("stem", stem) == stem:
            return cell.architecture
        return self.word("architecture", f"{cell.architecture.name}(stem={stem})")

    def source(self, cell: Cell) -> Data:
        return self.data(self.upstream(cell), cell.source, 1.0, 0)

    def downstream(self, cell: Cell) -> Data:
        return self.data(cell.architecture, cell.dataset, cell.fraction, cell.seed)

    def whole(self, cell: Cell) -> Data:
        """The downstream set without its subset."""
        return self.data(cell.architecture, cell.dataset, 1.0, 0)

    def data(self, architecture: Word, dataset: Word, fraction: float, seed: int) -> Data:
        """What a stage reads. The whole set does not depend on the seed of its subset."""
        memo = (id(architecture), id(dataset), fraction, seed if fraction < 1 else 0)
        if memo not in self._data:
            self._data[memo] = describe_data(
                self.protocol, architecture, dataset, fraction=fraction, seed=seed if fraction < 1 else 0
            )
        return self._data[memo]

    def word(self, axis: str, text: str) -> Word:
        """The word that an option of another word names; one object per text. Raises GridError."""
        if (axis, text) not in self._words:
            try:
                self._words[axis, text] = words.parse(text, axis, TABLES[axis])
            except words.WordError as error:
                raise GridError(f"{self.grid.path}: {error}") from None
        return self._words[axis, text]

    def examples(self, count: Scalar, what: str) -> int | None:
        """The number of images that a word asks for, None where it names none. Raises GridError below 1."""
        if count is not None and (not isinstance(count, int) or count < 1):
            raise GridError(f"{self.grid.path}: {what}: examples is a number of images, at least 1")
        return count

    def adjusted(self, attack: Attack, word: Word) -> Attack:
        """The attack with the word's options; with another epsilon the step keeps its share of it."""
        options: dict[str, Any] = {name: value for name, value in word.options if value is not None}
        if options.get("norm", attack.norm) != attack.norm and "epsilon" not in options:
            raise GridError(f"{self.grid.path}: {word}: another norm needs its epsilon (L2: in units of 1)")
        try:
            if "epsilon" in options:
                epsilon = options["epsilon"]
                share = attack.step_255 / attack.epsilon_255 if attack.epsilon_255 else 2.5 / attack.steps
                attack = dataclasses.replace(attack, epsilon_255=epsilon, step_255=epsilon * share)
            changed = {name: value for name, value in options.items() if name in ("norm", "steps", "restarts")}
            return dataclasses.replace(attack, **changed)
        except ValueError as error:
            raise GridError(f"{self.grid.path}: {word}: {error}") from None

    def as_pretrained(self, recipe: Recipe, cell: Cell) -> Recipe:
        """The recipe attacking as strongly, or with as much noise, as the cell's pre-training says."""
        sigma = dict(cell.pretraining.options).get("sigma")
        if sigma is not None and recipe.sigma:
            try:
                return dataclasses.replace(recipe, sigma=float(sigma))
            except ValueError as error:
                raise GridError(f"{self.grid.path}: {cell.pretraining}: {error}") from None
        if recipe.attack is None:
            return recipe
        return dataclasses.replace(recipe, attack=self.adjusted(recipe.attack, cell.pretraining))

    def check(self, parameters: Parameters) -> None:
        """Raises GridError where the loader, the network or the granularity could not do what the stage asks for."""
        if isinstance(parameters, PruneParameters) and parameters.granularity.name == "n_of_m":
            self._check_n_of_m(parameters)
        data, recipe = parameters.data, getattr(parameters, "recipe", None)
        if data is None:
            return
        self._check_task(parameters, data)
        known = LOADERS[data.loader].augmentations
        for word in recipe.augmentation if recipe is not None else ():
            if word not in known:
                raise GridError(
                    f"{self.grid.path}: {data.dataset} is read by the {data.loader} loader, which has no augmentation "
                    f"{word} (known: {', '.join(known)}); add override: {{data: {{loader: stream}}}}, or another "
                    "augmentation for the recipe"
                )
        architecture = parameters.architecture
        entry = ARCHITECTURES[architecture.name]
        sides = entry.sides.get(str(dict(architecture.options).get("stem", "")), (1, None))
        if data.resolution < sides[0] or (sides[1] is not None and data.resolution > sides[1]):
            wanted = f"exactly {sides[0]}" if sides[1] == sides[0] else f"at least {sides[0]}"
            raise GridError(
                f"{self.grid.path}: {architecture} reads images of {wanted} pixels, {data.dataset} has "
                f"{data.resolution} here; choose another stem or data set, or override data.imagenet_stem_resolution"
            )

    def _check_task(self, parameters: Parameters, data: Data) -> None:
        """What the set's task cannot be combined with."""
        task, recipe = TASKS[data.task], getattr(parameters, "recipe", None)
        network = ARCHITECTURES[parameters.architecture.name]
        vocabulary = dict(parameters.architecture.options).get("vocabulary", "")
        problem = ""
        if isinstance(parameters, PretrainParameters):
            if data.task not in (tasks := PRETRAININGS[parameters.pretraining.name].tasks):
                problem = f"is no set to pre-train on by {parameters.pretraining}: source is a {' or '.join(tasks)} set"
        elif isinstance(parameters, PruneParameters) and parameters.pruner.name != "imp" and not task.logits:
            problem = f"cannot be pruned on by {parameters.pruner.name}, whose scores are of a classification loss"
        elif isinstance(parameters, TransferParameters) and parameters.transfer != "finetune" and not task.logits:
            problem = f"has no transfer {parameters.transfer}: its head is trained with the network"
        if recipe is not None and task.clean and (recipe.attack is not None or recipe.sigma or recipe.contrast):
            problem = "is trained on examples as they are: no attack, no sigma, no contrast"
        if recipe is not None and not data.validation and recipe.select != ("last",):
            problem = f"holds nothing out to select by: select is [last], not {list(recipe.select)}"
        if network.reads != task.reads:
            problem = f"is a set of {task.reads}, and {parameters.architecture} reads {network.reads}"
        elif task.top and task.reads == "images" and not network.stages:
            problem = f"needs feature maps at several strides, which {parameters.architecture} does not name"
        elif (words_of := described(data.dataset).vocabulary) != vocabulary and network.reads == "texts":
            architecture = f"{parameters.architecture.name}(vocabulary={words_of})"
            problem = f"is written in the vocabulary {words_of}: take {architecture}"
        if problem:
            raise GridError(f"{self.grid.path}: {data.dataset} ({data.task}) {problem}; exclude the pair")

    def _check_n_of_m(self, parameters: PruneParameters) -> None:
        m = parameters.granularity["m"]
        assert isinstance(m, int)
        if m < 2:
            raise GridError(f"{self.grid.path}: granularity n_of_m(m={m}): m is at least 2")
        kept = m * (1 - parameters.sparsity)
        if round(kept) < 1 or abs(kept - round(kept)) > 1e-6:
            known = ", ".join(f"{1 - n / m:g}" for n in range(m - 1, 0, -1))
            raise GridError(
                f"{self.grid.path}: granularity {parameters.granularity} keeps n of every {m} weights, which is no "
                f"sparsity of {parameters.sparsity:.6g} (known: {known}); exclude the pair, or write "
                f"sparsity: {{points: {1 / m:g}, rounds: [0, {m // 2}]}}"
            )
        if dict(parameters.pruner.options).get("allocation") == "erk":
            raise GridError(
                f"{self.grid.path}: granularity n_of_m gives every layer the same share: drop allocation=erk"
            )

    def no_recipe(self, what: str, table: Mapping[str, Recipe]) -> GridError:
        return GridError(
            f"{self.grid.path}: protocol {self.protocol.name} has no recipe for {what} "
            f"(known: {', '.join(sorted(table))}). Choose another word, or add the recipe to "
            f"bench/recipes/{self.protocol.name}.py"
        )
