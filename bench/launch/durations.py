"""How long stages will take: the cost model, corrected by what finished stages of the same kind and network took."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping

from bench.estimate import seconds
from bench.spec import Stage
from bench.store import Store, StoreError

# Manifests read per kind and network; more would cost a login node more than they teach.
SAMPLE = 15


def minutes(
    stages: Mapping[str, Stage], left: Iterable[str], *, store: Store, done: Iterable[str], gpu: Mapping[str, bool]
) -> dict[str, float]:
    """Estimated minutes of every key in `left`. gpu: by kind of stage, will it run on a GPU?"""
    ratios = measured(stages, store, done, gpu)
    return {
        key: seconds(stages[key], gpu=gpu[stages[key].kind]) * ratios.get(_alike(stages[key]), 1.0) / 60 for key in left
    }


def measured(
    stages: Mapping[str, Stage], store: Store, done: Iterable[str], gpu: Mapping[str, bool]
) -> dict[tuple[str, str], float]:
    """Median of measured over estimated seconds, by kind and network, of finished stages on the same sort of device."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    # In one order: the same sample whoever asks, so that a dry run shows the arrays that are submitted.
    for key in sorted(done):
        alike[_alike(stages[key])].append(key)
    ratios = {}
    for name, keys in alike.items():
        chosen = keys[:: max(1, len(keys) // SAMPLE)][:SAMPLE]
        found = [ratio for key in chosen if (ratio := _ratio(stages[key], store, gpu[name[0]])) is not None]
        if found:
            ratios[name] = statistics.median(found)
    return ratios


def _alike(stage: Stage) -> tuple[str, str]:
    return stage.kind, str(stage.parameters.architecture)


def _ratio(stage: Stage, store: Store, gpu: bool) -> float | None:
    try:
        made = store.open(stage.key).manifest["made"]
        # An attempt that went on from a checkpoint measures a part of the work only.
        if str(made["device"]).startswith("cuda") != gpu or made.get("restarts"):
            return None
        return float(made["seconds"]) / seconds(stage, gpu=gpu)
    except (StoreError, KeyError, TypeError, ValueError):
        return None
