"""Accuracy under AutoAttack."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.attacks.autoattack import ENSEMBLE, STANDARD, Budget, attacked
from bench.metrics.attacked import evaluation_attack, withstands
from bench.metrics.evaluation import Batch, Conditions, Evaluation, finite, in_order
from bench.models.fold import folded
from bench.models.modes import evaluation_mode
from bench.spec import Attack

Bools = npt.NDArray[np.bool_]

COLUMNS = ("clean", *ENSEMBLE)

# Square reads no gradients: where it finds more than this on top of those that do, they were misled.
SQUARE_GAIN = 0.002


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`autoattack_accuracy` in [0, 1]: share of examples right clean and under each attack of the standard ensemble.

    Per example `correct`, and as `clean`, `apgd_ce`, `apgd_t`, `fab_t` and `square` whether it is right up to there;
    details: the accuracy up to there. An attack is run on what those before it left. Only norm and epsilon of
    `conditions.attack` are read; options["iterations"] and options["queries"] change the published budgets, with a
    flag.
    With `conditions.scratch`, what each attack found on a batch is on disk before `pause` is called, and another
    evaluation of the same network under the same conditions goes on from there and ends with the same numbers.
    The network runs in evaluation mode and is left as it was. Raises ValueError for no examples, outputs that are not
    finite, and an attack that asks for batch statistics; OSError if a partial result cannot be written.
    """
    attack, seed = evaluation_attack(conditions), conditions.seed
    asked = {"steps": conditions.options.get("iterations"), "queries": conditions.options.get("queries")}
    budget = Budget(**{name: int(number) for name, number in asked.items() if number is not None})
    progress = _Progress(conditions.scratch, _identity(network, attack, seed, budget))
    indices: list[Tensor] = []
    with evaluation_mode(network):
        ensemble = _Ensemble(network=network, fast=folded(network), attack=attack, seed=seed, budget=budget)
        for batch in conditions.batches():
            indices.append(batch.indices.cpu())
            positions = indices[-1].numpy()
            for column in range(len(COLUMNS)):
                before = progress.before(positions, column)
                if before is not None:
                    progress.record(positions, column, ensemble.right(batch, before, column))
                    conditions.pause()
    withstood = in_order(indices, [torch.from_numpy(progress.right[part.numpy()]) for part in indices])
    after = dict(zip(COLUMNS, withstood.mean(axis=0).tolist(), strict=True))
    examples = {"correct": withstood[:, -1]} | {name: withstood[:, k] for k, name in enumerate(COLUMNS)}
    return Evaluation(
        metrics={"autoattack_accuracy": after["square"]},
        examples=examples,
        details={"accuracy_after": after, "budget": asdict(budget)},
        flags=_flags(after, budget),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ensemble:
    """`fast` is the network with batch normalisation folded, on which the attacks run; the verdict is the network's."""

    network: nn.Module
    fast: nn.Module
    attack: Attack
    seed: int
    budget: Budget

    def right(self, batch: Batch, before: Bools, column: int) -> Bools:
        """(n,) bool: clean in column 0, else which of those that are right `before` withstand the column's attack."""
        if column == 0:
            clean: Bools = (finite(self.network(batch.inputs)).argmax(dim=1) == batch.labels).cpu().numpy()
            return clean
        after = before.copy()
        if before.any():
            alive = torch.from_numpy(np.flatnonzero(before)).to(batch.inputs.device)
            images, labels, indices = batch.inputs[alive], batch.labels[alive], batch.indices.to(alive.device)[alive]
            points = attacked(
                COLUMNS[column],
                self.fast,
                images,
                labels,
                self.attack,
                seed=self.seed,
                indices=indices,
                budget=self.budget,
            )
            after[before] = withstands(self.network, images, labels, points, self.attack)[0].cpu().numpy()
        return after


def _flags(after: Mapping[str, float], budget: Budget) -> tuple[str, ...]:
    flags = []
    gain = after["fab_t"] - after["square"]
    if gain > SQUARE_GAIN:
        flags.append(f"Square broke {gain:.1%} more than the white-box attacks: gradient masking suspected")
    if budget != STANDARD:
        flags.append(f"not the standard budget: {budget.steps} steps, {budget.queries} queries")
    return tuple(flags)


class _Progress:
    """done (n,): attacks finished by example, clean counting as the first; right (n, 5): what they left.

    Kept in `autoattack.npz` of the folder, if one is given: read from there if it is of the same identity.
    """

    def __init__(self, folder: Path | None, identity: str) -> None:
        self._path, self._identity = folder and folder / "autoattack.npz", identity
        self.done = np.zeros(0, dtype=np.int8)
        self.right = np.zeros((0, len(COLUMNS)), dtype=np.bool_)
        if self._path is None or not self._path.is_file():
            return
        try:
            with self._path.open("rb") as file, np.load(file) as stored:
                if str(stored["identity"]) == identity:
                    self.done, self.right = stored["done"], stored["right"]
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return  # a crash of the machine can leave a renamed file without its content; it is computed again

    def before(self, positions: npt.NDArray[np.int64], column: int) -> Bools | None:
        """Which of these examples are right up to this column; None if all have been through it."""
        more = int(positions.max(initial=-1)) + 1 - len(self.done)
        if more > 0:
            self.done = np.pad(self.done, (0, more))
            self.right = np.pad(self.right, ((0, more), (0, 0)))
        if (self.done[positions] > column).all():
            return None
        before: Bools = self.right[positions, max(column - 1, 0)]
        return before

    def record(self, positions: npt.NDArray[np.int64], column: int, right: Bools) -> None:
        new = self.done[positions] <= column
        self.done[positions[new]] = column + 1
        self.right[positions[new], column] = right[new]
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".partial")
        with temporary.open("wb") as file:
            np.savez(file, identity=np.array(self._identity), done=self.done, right=self.right)
        os.replace(temporary, self._path)


def _identity(network: nn.Module, attack: Attack, seed: int, budget: Budget) -> str:
    """What the numbers depend on, as text: the network's tensors by their hash."""
    digest = hashlib.sha256()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    known: dict[str, Any] = {"network": digest.hexdigest(), "seed": seed, "budget": asdict(budget)}
    return json.dumps(known | {"norm": attack.norm, "epsilon_255": attack.epsilon_255})
