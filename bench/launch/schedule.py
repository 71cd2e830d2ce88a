"""Which stage next: topological order, long chains first, a failure blocks its descendants only. Pure bookkeeping."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bench.cost import tera_operations
from bench.plan import children
from bench.spec import Stage


def needed(stages: Mapping[str, Stage], targets: Iterable[str], done: set[str]) -> list[str]:
    """Keys to compute so that every target is done, inputs first. An input of what is done is not needed again."""
    wanted: dict[str, None] = {}
    stack = [(key, False) for key in reversed(list(targets))]
    while stack:
        key, expanded = stack.pop()
        if key in done or key in wanted:
            continue
        if expanded:
            wanted[key] = None
        else:
            stack.append((key, True))
            stack.extend((source, False) for _, source in stages[key].inputs)
    return list(wanted)


def remaining_work(stages: Mapping[str, Stage]) -> dict[str, float]:
    """Estimated work on the longest chain from a stage to its last descendant, itself included."""
    readers = children(stages)
    longest: dict[str, float] = {}
    for key in reversed(list(stages)):
        longest[key] = tera_operations(stages[key]) + max((longest[reader] for reader in readers[key]), default=0.0)
    return longest


@dataclass(slots=True)
class Schedule:
    """The stages still to run. `ready` is a heap of (priority, key)."""

    stages: Mapping[str, Stage]
    done: set[str]
    waiting: dict[str, set[str]] = field(default_factory=dict)
    ready: list[tuple[tuple[int, float, int], str]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    _readers: dict[str, list[str]] = field(default_factory=dict)
    _longest: dict[str, float] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)

    @classmethod
    def make(cls, stages: Mapping[str, Stage], targets: Iterable[str], done: set[str]) -> Schedule:
        schedule = cls(stages=stages, done=set(done))
        schedule._readers, schedule._longest = children(stages), remaining_work(stages)
        schedule._order = {key: i for i, key in enumerate(stages)}
        for key in needed(stages, targets, done):
            schedule._add(key)
        return schedule

    def _add(self, key: str) -> None:
        inputs = {source for _, source in self.stages[key].inputs if source not in self.done}
        if inputs:
            self.waiting[key] = inputs
        else:
            heapq.heappush(self.ready, (self._priority(key), key))

    def _priority(self, key: str) -> tuple[int, float, int]:
        # What others wait for comes first, longest chain first; then evaluations, so that results appear early.
        kind = self.stages[key].kind
        group = {"pretrain": 0, "prune": 0, "evaluate": 1, "transfer": 2}[kind]
        return group, -self._longest[key], self._order[key]

    def next(self) -> Stage | None:
        """The next stage to start, or None while everything left waits for what runs."""
        if not self.ready:
            return None
        _, key = heapq.heappop(self.ready)
        self.running.add(key)
        return self.stages[key]

    def finish(self, key: str) -> None:
        """The stage is published; readers that waited only for it become ready."""
        self.running.discard(key)
        self.done.add(key)
        for reader in self._readers[key]:
            inputs = self.waiting.get(reader)
            if inputs is not None:
                inputs.discard(key)
                if not inputs:
                    del self.waiting[reader]
                    heapq.heappush(self.ready, (self._priority(reader), reader))

    def fail(self, key: str, message: str) -> None:
        """The stage will not be there; its waiting descendants are blocked."""
        self.failed[key] = message
        self._hold_back(key)

    def block(self, key: str) -> None:
        """The stage cannot run for want of an input from outside; its waiting descendants are blocked with it."""
        self.blocked.add(key)
        self._hold_back(key)

    def _hold_back(self, key: str) -> None:
        self.running.discard(key)
        stack = [key]
        while stack:
            for reader in self._readers[stack.pop()]:
                if reader in self.waiting:
                    del self.waiting[reader]
                    self.blocked.add(reader)
                    stack.append(reader)

    def again(self, key: str) -> None:
        """Put a stage that was started back to be started again."""
        self.running.discard(key)
        self._add(key)

    def lost(self, key: str) -> None:
        """An artifact that counted as done is gone (it was corrupt): compute it, and what it needs, again.

        Ready stages that read it find out when they start, and are put back with `again`.
        """
        self.done.discard(key)
        planned = {*self.waiting, *self.running, *(ready for _, ready in self.ready)}
        for again in needed(self.stages, [key], self.done):
            if again not in planned:
                self._add(again)

    @property
    def left(self) -> int:
        """Stages neither finished, failed nor blocked."""
        return len(self.waiting) + len(self.ready) + len(self.running)
