"""Stages to job arrays: what runs in one task, which tasks form an array, which elements an array waits for.

Pure bookkeeping over a plan; knows nothing of SLURM's commands. A stage lands in a *unit* (stages that follow each
other in one task), units of equal needs that wait for the same elements are packed into *elements* (tasks), and the
elements of such a group are an *array*. An array waits for exactly the elements that compute its inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from bench.launch.profile import Profile, Resources
from bench.spec import Stage

# What trains nothing (masks, evaluations) follows in the task of its input, up to this multiple of that task's work.
LIGHT_SHARE = 1.5
Element = tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedArray:
    """An array to submit: `elements` hold the keys of a task, inputs first.

    `after`: (array, element) of earlier arrays in the same list; `live`: ids of elements that are queued already.
    """

    kind: str
    resources: Resources
    elements: tuple[tuple[str, ...], ...]
    after: tuple[Element, ...] = ()
    live: tuple[str, ...] = ()


@dataclass(slots=True)
class _Unit:
    keys: list[str]
    first_minutes: float
    minutes: float
    resources: Resources
    waits: frozenset[int]
    live: frozenset[str]
    ancestors: frozenset[int]
    depth: int


def arrange(
    stages: Mapping[str, Stage],
    left: Sequence[str],
    *,
    profile: Profile,
    minutes: Mapping[str, float],
    live: Mapping[str, str],
    array_size: int,
) -> list[PlannedArray]:
    """The arrays that compute the keys `left` (inputs first), every array after those it waits for.

    minutes: estimated work per key. live: id of the queued element that computes a key which is not in `left`.
    An array has at most `array_size` elements.
    """
    units = _units(stages, left, profile, minutes, live)
    arrays: list[PlannedArray] = []
    place: dict[int, Element] = {}
    for group in _levels(units):
        # Within a level nothing waits for its own level, so every wait has its place.
        alike: dict[tuple[str, frozenset[Element], frozenset[str], Resources], list[int]] = {}
        for i in group:
            waits = frozenset(place[j] for j in units[i].waits)
            # Kinds apart: what others wait for should not share a task with what nobody does.
            kind = stages[units[i].keys[0]].kind
            alike.setdefault((kind, waits, units[i].live, units[i].resources), []).append(i)
        for (kind, waits, held, resources), members in alike.items():
            packs = _packs(members, units, resources)
            for start in range(0, len(packs), array_size):
                part = packs[start : start + array_size]
                for element, pack in enumerate(part):
                    place.update(dict.fromkeys(pack, (len(arrays), element)))
                arrays.append(
                    PlannedArray(
                        kind=kind,
                        resources=resources,
                        elements=tuple(tuple(key for i in pack for key in units[i].keys) for pack in part),
                        after=tuple(sorted(waits)),
                        live=tuple(sorted(held)),
                    )
                )
    return _tickets_first(arrays)


def _tickets_first(arrays: Sequence[PlannedArray]) -> list[PlannedArray]:
    """What others wait for comes first: among equals SLURM starts what was submitted first.

    Tickets never wait for transfers, so every array stays behind those it waits for.
    """
    order = sorted(range(len(arrays)), key=lambda i: (arrays[i].kind not in ("pretrain", "prune"), i))
    new = {old: i for i, old in enumerate(order)}
    return [
        replace(arrays[old], after=tuple(sorted((new[source], element) for source, element in arrays[old].after)))
        for old in order
    ]


def within(arrays: Sequence[PlannedArray], budget: int) -> list[PlannedArray]:
    """The first arrays with at most `budget` elements in all, the last one cut short; their inputs are among them."""
    chosen: list[PlannedArray] = []
    for array in arrays:
        if budget <= 0:
            break
        chosen.append(replace(array, elements=array.elements[:budget]))
        budget -= len(array.elements)
    return chosen


def _units(
    stages: Mapping[str, Stage],
    left: Iterable[str],
    profile: Profile,
    minutes: Mapping[str, float],
    live: Mapping[str, str],
) -> list[_Unit]:
    units: list[_Unit] = []
    unit_of: dict[str, int] = {}
    for key in left:
        stage = stages[key]
        sources = [source for _, source in stage.inputs]
        found = {unit_of[source] for source in sources if source in unit_of}
        # What an ancestor waits for need not be waited for again.
        waits = frozenset(i for i in found if not any(i in units[j].ancestors for j in found))
        held = frozenset(live[source] for source in sources if source in live)
        needs = resources(stage, profile)
        home = next(iter(waits)) if len(waits) == 1 else None
        if home is not None and held <= units[home].live and _joins(stage, needs, minutes[key], units[home], stages):
            units[home].keys.append(key)
            units[home].minutes += minutes[key]
            unit_of[key] = home
            continue
        ancestors = waits.union(*(units[i].ancestors for i in waits))
        depth = 1 + max((units[i].depth for i in waits), default=-1)
        unit_of[key] = len(units)
        units.append(_Unit([key], minutes[key], minutes[key], needs, waits, held, ancestors, depth))
    return units


def resources(stage: Stage, profile: Profile) -> Resources:
    """What a stage's task asks for; several processes only where something trains."""
    found = profile.resources[stage.kind]
    if trains(stage) or found.processes == 1:
        return found
    gpus = min(int(found.gpus), 1)
    return replace(found, nodes=1, tasks_per_node=1, gpus=gpus)


def trains(stage: Stage) -> bool:
    return getattr(stage.parameters, "recipe", None) is not None


def _joins(stage: Stage, needs: Resources, minutes: float, unit: _Unit, stages: Mapping[str, Stage]) -> bool:
    """Does the stage follow in the unit that computes its inputs?"""
    has = unit.resources
    if _place(needs) != _place(has) or has.processes > 1:
        return False
    if has.pack is not None and len(unit.keys) >= has.pack:
        return False
    first = stages[unit.keys[0]]
    target = has.target_minutes or 0.0
    if not trains(stage):
        return unit.minutes + minutes <= max(target, LIGHT_SHARE * unit.first_minutes)
    # Rounds of one ladder wait for each other anyway; short ones need not queue anew each time.
    return stage.kind == first.kind == "prune" and unit.minutes + minutes <= target


@lru_cache
def _place(found: Resources) -> Resources:
    """The part of the needs that decides where a task may run, for how long is its own affair."""
    return replace(found, minutes=1, pack=None, target_minutes=None, max_parallel=None)


def _levels(units: Sequence[_Unit]) -> list[list[int]]:
    levels: dict[int, list[int]] = {}
    for i, unit in enumerate(units):
        levels.setdefault(unit.depth, []).append(i)
    return [levels[depth] for depth in sorted(levels)]


def _packs(members: Sequence[int], units: Sequence[_Unit], found: Resources) -> list[list[int]]:
    """Members in their order, filled into tasks up to `pack` stages or `target_minutes` of work."""
    at_once = max(1, found.concurrent * max(1, int(found.gpus)))
    packs: list[list[int]] = []
    count, work = 0, 0.0
    for i in members:
        unit = units[i]
        full = found.pack is not None and count + len(unit.keys) > found.pack
        long = (work + unit.minutes) / at_once > (found.target_minutes or 0.0)
        if not packs or full or (long and (found.pack is None or found.target_minutes is not None)):
            packs.append([])
            count, work = 0, 0.0
        packs[-1].append(i)
        count += len(unit.keys)
        work += unit.minutes
    return packs
