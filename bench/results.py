"""Cells and evaluate artifacts to result rows, one for every planned (cell, metric). Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.catalog import reports
from bench.plan import Plan
from bench.spec import Cell, Stage
from bench.store import CorruptArtifact, Store, StoreError

STATUSES = ("done", "missing", "failed", "blocked", "corrupt")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRow:
    """One number of the benchmark, or why it is not there. `commit` and `seconds` are those of its evaluation.

    selection: which of the transfer's networks it is of. macs: multiply-accumulates of one image with the kept weights
    of the prunable layers, dense_macs with all of them. flags: doubts about the number. device_hours: of the transfer
    that `device` ran, in GPU-hours or, on a CPU, core-hours; ticket_hours: of all that came before it (pre-training,
    mask search), shared with the other cells of the ticket. None where a manifest does not say.
    """

    cell: Cell
    metric: str
    selection: str
    value: float | None
    status: str
    reason: str
    higher_is_better: bool
    achieved_sparsity: float | None
    kept: int | None
    prunable: int | None
    macs: int | None
    dense_macs: int | None
    n_examples: int | None
    flags: str
    key: str
    ticket: str
    commit: str
    seconds: float | None
    device: str
    device_hours: float | None
    ticket_hours: float | None


def rows(planned: Plan, *, root: Path) -> list[ResultRow]:
    """A row per cell and reported number, in the order of the plan's grid."""
    store = Store(root)
    done = store.keys()
    reasons = _Reasons(planned, store, done)
    costs = _Costs(planned, store, done)
    results: list[ResultRow] = []
    read: dict[str, tuple[str, str, Mapping[str, Any], Mapping[str, Any]]] = {}
    for cell, stages in zip(planned.grid.cells, planned.cells, strict=True):
        for (word, selection), key in zip(stages.asked, stages.evaluate, strict=True):
            if key not in read:
                read[key] = _read(store, key, reasons) if key in done else (*reasons.of(key), {}, {})
            status, reason, found, made = read[key]
            summary = found.get("ticket") or {}
            device, device_hours = costs.of(stages.transfer)
            for metric, higher in reports(word, cell.dataset).items():
                results.append(
                    ResultRow(
                        cell=cell,
                        metric=metric_name(word.label, word.name, metric),
                        selection=selection or "",
                        value=found.get("metrics", {}).get(metric),
                        status=status,
                        reason=reason,
                        higher_is_better=higher,
                        achieved_sparsity=summary.get("sparsity"),
                        kept=summary.get("kept"),
                        prunable=summary.get("prunable"),
                        macs=summary.get("macs"),
                        dense_macs=summary.get("dense_macs"),
                        n_examples=found.get("n_examples"),
                        flags="; ".join(found.get("flags", ())),
                        key=key,
                        ticket=stages.ticket,
                        commit=str(made.get("commit", "")),
                        seconds=made.get("seconds"),
                        device=device,
                        device_hours=device_hours,
                        ticket_hours=costs.before(stages.transfer),
                    )
                )
    return results


def metric_name(label: str, name: str, metric: str) -> str:
    """The reported number's name, with the options that were asked for: pgd_accuracy(steps=50)."""
    return metric + label.removeprefix(name)


def _read(store: Store, key: str, reasons: _Reasons) -> tuple[str, str, Mapping[str, Any], Mapping[str, Any]]:
    try:
        artifact = store.open(key)
        return "done", "", artifact.json("metrics.json"), artifact.manifest["made"]
    except CorruptArtifact as error:
        return "corrupt", f"{error}; submit again to recompute it", {}, {}
    except StoreError:
        return (*reasons.of(key), {}, {})


class _Reasons:
    """Why a stage is not there: it failed, an ancestor failed, or it has not run."""

    def __init__(self, planned: Plan, store: Store, done: set[str]) -> None:
        self.stages, self.store, self.done = planned.stages, store, done
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, key: str) -> tuple[str, str]:
        if key not in self._known:
            self._known[key] = self._find(self.stages[key])
        return self._known[key]

    def _find(self, stage: Stage) -> tuple[str, str]:
        failure = self.store.failure(stage.key)
        if failure is not None:
            return "failed", f"{stage.kind} {stage.key} failed: {failure['error']} (log: {self.store.log(stage.key)})"
        for role, source in stage.inputs:
            if source not in self.done:
                status, reason = self.of(source)
                if status in ("failed", "blocked"):
                    return "blocked", f"waits for {role}: {reason}"
        return "missing", "not run"


class _Costs:
    """What the finished stages took, from their manifests; each is read once."""

    def __init__(self, planned: Plan, store: Store, done: set[str]) -> None:
        self.stages, self.store, self.done = planned.stages, store, done
        self._made: dict[str, tuple[str, float | None]] = {}
        self._ancestors: dict[str, frozenset[str]] = {}
        self._before: dict[str, float | None] = {}

    def of(self, key: str) -> tuple[str, float | None]:
        """The device of a stage and its hours there; ("", None) where it is not done or its manifest says neither."""
        if key not in self._made:
            self._made[key] = self._read(key)
        return self._made[key]

    def before(self, key: str) -> float | None:
        """Hours of all stages that a stage was computed from; None unless all are known."""
        if key not in self._before:
            hours = [self.of(ancestor)[1] for ancestor in sorted(self._upstream(key))]
            known = [taken for taken in hours if taken is not None]
            self._before[key] = sum(known) if len(known) == len(hours) else None
        return self._before[key]

    def _upstream(self, key: str) -> frozenset[str]:
        if key not in self._ancestors:
            sources = [source for _, source in self.stages[key].inputs]
            self._ancestors[key] = frozenset(sources).union(*map(self._upstream, sources))
        return self._ancestors[key]

    def _read(self, key: str) -> tuple[str, float | None]:
        if key not in self.done:
            return "", None
        try:
            made = self.store.open(key).manifest["made"]
            if made["device"] == "cpu":
                return str(made["device_name"]), made["seconds"] * made["threads"] * made.get("processes", 1) / 3600
            return str(made["device_name"]), made["device_seconds"] / 3600
        except (StoreError, KeyError):
            return "", None
