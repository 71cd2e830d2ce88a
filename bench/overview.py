"""A plan at one moment, counted: by kind of stage, by axis, by cause of failure; hours spent and left. No torch."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from bench.cells import shown
from bench.cost import tera_operations
from bench.launch.observed import Element, Seen, Slurm, attempts, look
from bench.launch.states import STATES, State, join, measured
from bench.plan import Plan, children
from bench.spec import AXES, KINDS, EvaluateParameters, PretrainParameters, PruneParameters, Stage
from bench.store import Store, StoreError

# Manifests read per kind of stage: enough for a mean, and no burden to a file server.
SAMPLES = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A plan, what was seen of it at `time`, and what follows for its stages."""

    plan: Plan
    store: Store
    slurm: Slurm
    seen: Seen
    states: Mapping[str, State]
    time: float

    def keys(self, *names: str) -> list[str]:
        """Keys of the stages in one of these states, in the plan's order."""
        return [key for key, state in self.states.items() if state.name in names]

    def live(self) -> list[Element]:
        """Elements of this grid's arrays that SLURM still has, continuations among them."""
        name = self.plan.grid.name
        return [one for one in self.slurm.elements if one.job is not None and one.submission.grid == name]


class Share(NamedTuple):
    """Cells with one value of an axis."""

    axis: str
    value: str
    done: int
    failed: int
    total: int


class Effort(NamedTuple):
    """Hours of finished stages, and seconds left at the present pace where that is known.

    `exact` is False where the hours are means of a sample of stages times their number.
    """

    gpu_hours: float
    core_hours: float
    exact: bool
    left_s: float | None


class Running(NamedTuple):
    """A running stage: epochs finished, seconds since its attempt began, seconds left; None where it is not known.

    measured: accuracies of the latest epochs by name, on the validation split.
    """

    key: str
    epoch: int | None
    epochs: int | None
    seconds: float | None
    left_s: float | None
    measured: Mapping[str, float] = MappingProxyType({})


def view(planned: Plan, store: Store, slurm: Slurm) -> View:
    """The plan as the disk and SLURM have it now. Raises StoreError where the root cannot be read."""
    seen = look(planned, store, slurm)
    return View(plan=planned, store=store, slurm=slurm, seen=seen, states=join(planned, seen), time=time.time())


def counts(found: View) -> dict[str, Counter[str]]:
    """Kind of stage -> state -> stages."""
    table: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for key, state in found.states.items():
        table[found.plan.stages[key].kind][state.name] += 1
    return {kind: table[kind] for kind in KINDS if table[kind]}


def shares(found: View) -> list[Share]:
    """Cells by value of every axis that has more than one; a cell is done when all its evaluations are."""
    fates = []
    for stages in found.plan.cells:
        names = {found.states[key].name for key in stages.evaluate}
        fates.append("done" if names == {"done"} else "failed" if names & {"failed", "blocked"} else "")
    table = []
    for axis in AXES:
        tally: dict[str, Counter[str]] = defaultdict(Counter)
        for cell, fate in zip(found.plan.grid.cells, fates, strict=True):
            tally[shown(getattr(cell, axis))].update((fate, "total"))
        if len(tally) > 1:
            table += [Share(axis, value, row["done"], row["failed"], row["total"]) for value, row in tally.items()]
    return table


def blocking(found: View) -> Counter[str]:
    """Failed stage -> stages that it blocks. One that several failures block counts for each."""
    readers, blocked = children(found.plan.stages), set(found.keys("blocked"))
    table: Counter[str] = Counter()
    for key in found.keys("failed"):
        reached, stack = set(), [key]
        while stack:
            for reader in readers[stack.pop()]:
                if reader in blocked and reader not in reached:
                    reached.add(reader)
                    stack.append(reader)
        table[key] = len(reached)
    return table


def causes(found: View) -> dict[str, list[str]]:
    """Cause -> keys of the stages that failed of it, the most frequent first."""
    table: dict[str, list[str]] = defaultdict(list)
    for key in found.keys("failed"):
        table[str((found.states[key].failure or {}).get("cause", "unknown"))].append(key)
    return dict(sorted(table.items(), key=lambda item: -len(item[1])))


def running(found: View, keys: Iterable[str]) -> Iterator[Running]:
    """How far running stages are."""
    for key in keys:
        progress, (starts, began) = found.states[key].progress, attempts(found.store.log(key))
        seconds = max(0.0, found.time - began) if began is not None else None
        if progress is None:
            yield Running(key, None, None, seconds, None)
            continue
        epoch, epochs, written = int(progress["epoch"]), int(progress["epochs"]), float(progress["time"])
        left = None
        # Of an attempt that went on from a checkpoint it is not known how many of its epochs are its own.
        if starts == 1 and began is not None and epoch and written > began:
            left = max(0.0, (epochs - epoch) * (written - began) / epoch - (found.time - written))
        yield Running(key, epoch, epochs, seconds, left, measured(progress))


def effort(found: View) -> Effort:
    """Hours so far and time left, from the manifests of at most SAMPLES stages of each kind."""
    done, left = defaultdict(list), defaultdict(list)
    for key, state in found.states.items():
        if key in found.seen.done:
            done[found.plan.stages[key].kind].append(key)
        elif state.name not in ("done", "failed", "blocked", "cancelled"):
            left[found.plan.stages[key].kind].append(key)
    gpu = core = 0.0
    means: dict[str, float] = {}
    paces: dict[str, float] = {}
    for kind, keys in done.items():
        made = list(_made(found.store, keys[:: -(-len(keys) // SAMPLES)]))
        if not made:
            continue
        share = len(keys) / len(made) / 3600
        gpu += share * sum(record["device_seconds"] for _, record in made)
        core += share * sum(record["seconds"] * record["threads"] for _, record in made if record["device"] == "cpu")
        means[kind] = sum(record["seconds"] for _, record in made) / len(made)
        work = sum(tera_operations(found.plan.stages[key]) for key, _ in made)
        paces[kind] = sum(record["seconds"] for _, record in made) / work if work else 0.0
    seconds = _seconds(found.plan.stages, left, means, paces)
    busy = len(found.keys("running"))
    exact = all(len(keys) <= SAMPLES for keys in done.values())
    return Effort(gpu, core, exact, seconds / busy if seconds is not None and busy else None)


def _made(store: Store, keys: Iterable[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in keys:
        try:
            made = store.open(key).manifest["made"]
        except StoreError:
            continue
        if {"seconds", "device_seconds", "threads", "device"} <= made.keys():
            yield key, made


def _seconds(
    stages: Mapping[str, Stage],
    left: Mapping[str, list[str]],
    means: Mapping[str, float],
    paces: Mapping[str, float],
) -> float | None:
    """Seconds of work left, or None where a kind of stage has never been measured.

    Stages of a kind differ by architecture and recipe: their estimated work scales what was measured.
    """
    if not left or not set(left) <= set(means):
        return None
    total = 0.0
    for kind, keys in left.items():
        work = sum(tera_operations(stages[key]) for key in keys)
        total += work * paces[kind] if work and paces[kind] else len(keys) * means[kind]
    return total


def describe(stages: Mapping[str, Stage], key: str) -> str:
    """A stage in the words of its grid, with what it works on: "resnet8 supervised, imp round 8, linear digits"."""
    stage = stages[key]
    inputs, parameters = dict(stage.inputs), stage.parameters
    if isinstance(parameters, EvaluateParameters):
        # Some metrics are of the pre-trained network and a set.
        of = describe(stages, inputs["transfer" if "transfer" in inputs else "pretrain"])
        on = "" if "transfer" in inputs else f" on {parameters.data.dataset}"
        return f"{of}, {parameters.metric}{on}"
    seed = f" seed {parameters.seed}" if parameters.seed else ""
    if isinstance(parameters, PretrainParameters):
        return f"{parameters.architecture} {parameters.pretraining}{seed}"
    if isinstance(parameters, PruneParameters):
        level = f"round {parameters.round}" if parameters.round is not None else shown(parameters.sparsity)
        if parameters.control is not None:
            level += f" {parameters.control}"
        if parameters.epoch is not None:
            level = f"rewind point, epoch {parameters.epoch}"
        if parameters.granularity.name != "unstructured":
            level = f"{parameters.granularity} {level}"
        data = f" on {parameters.data.dataset}" if parameters.data is not None else ""
        return f"{describe(stages, inputs['pretrain'])}, {parameters.pruner} {level}{data}{seed}"
    adversarial = (" trades" if parameters.recipe.trades_beta else " adversarial") if parameters.recipe.attack else ""
    fraction = f" {shown(parameters.data.fraction)}" if parameters.data.fraction < 1 else ""
    ticket = describe(stages, inputs.get("ticket", inputs["pretrain"]))
    return f"{ticket}, {parameters.transfer}{adversarial} {parameters.data.dataset}{fraction}{seed}"


def summary(found: View) -> dict[str, int]:
    """State -> stages, every state in it."""
    table = Counter(state.name for state in found.states.values())
    return {name: table[name] for name in STATES}
