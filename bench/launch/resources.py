"""What one array task of a kind of stage asks for, as a profile writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, PlainValidator, WithJsonSchema

# What these kinds compute can be divided among processes; an evaluation runs in one.
TRAINING = ("pretrain", "prune", "transfer")


def _gpus(value: Any) -> Any:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError("write auto, or a number of GPUs per node")
    return value


def _pairs(value: Any) -> tuple[tuple[str, Any], ...]:
    if not isinstance(value, Mapping):
        raise ValueError("write a mapping of sbatch options to values, for example {reservation: tickets}")
    return tuple(sorted(((str(name), option) for name, option in value.items()), key=lambda pair: pair[0]))


_SBATCH_SCHEMA = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"const": True}]},
}
_GPUS_SCHEMA = {"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 0}]}
Text = Annotated[str, Field(strict=True, min_length=1)]
Count = Annotated[int, Field(strict=True, ge=1)]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Gpus = Annotated[int | Literal["auto"], PlainValidator(_gpus), WithJsonSchema(_GPUS_SCHEMA)]
Sbatch = Annotated[
    tuple[tuple[str, str | int | Literal[True]], ...],
    PlainValidator(_pairs),
    WithJsonSchema(_SBATCH_SCHEMA),
    Field(json_schema_extra={"default": {}}),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one array task asks for, and how many stages it runs.

    `cpus` are per process, `gpus` and `memory_gb` per node; `auto` is 1 GPU where the cluster has any, else 0.
    `concurrent` stages run at once per GPU, or per task without GPUs. A task runs one stage unless `pack` (at most
    this many) or `target_minutes` (fill it to about this much estimated work) says otherwise.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    gpus: Gpus = "auto"
    gpu_type: Text | None = None
    cpus: Count = 2
    memory_gb: Amount | None = None
    minutes: Count = 240
    nodes: Count = 1
    tasks_per_node: Count = 1
    concurrent: Count = 1
    pack: Count | None = None
    target_minutes: Amount | None = None
    max_parallel: Count | None = None
    sbatch: Sbatch = ()

    @property
    def processes(self) -> int:
        """Processes that compute one stage together."""
        return self.nodes * self.tasks_per_node


def conflicts(kind: str, asked: Resources, signal_delay_s: int) -> list[tuple[str, str]]:
    """(field, sentence) for every pair of fields that cannot stand together."""
    found = []
    many, each = asked.processes, asked.tasks_per_node
    if many > 1 and kind not in TRAINING:
        name = "nodes" if asked.nodes > 1 else "tasks_per_node"
        found.append((name, f"runs in one process; set nodes and tasks_per_node to 1 under stages.{kind}"))
    elif many > 1 and asked.concurrent > 1:
        found.append(
            ("concurrent", f"concurrent {asked.concurrent} needs nodes 1 and tasks_per_node 1, not {many} tasks")
        )
    if each > 1 and asked.gpus == "auto":
        found.append(("tasks_per_node", f"gpus auto is one GPU per node; write gpus: {each}, or 0 to run on CPUs"))
    elif each > 1 and asked.gpus != "auto" and asked.gpus % each:
        found.append(
            ("gpus", f"gpus {asked.gpus} is not a multiple of tasks_per_node {each}; every task needs as many")
        )
    if signal_delay_s >= 60 * asked.minutes:
        found.append(
            ("minutes", f"the time limit of {asked.minutes} minutes is not above signal_delay_s {signal_delay_s}")
        )
    if asked.target_minutes is not None and asked.target_minutes > asked.minutes:
        text = f"target_minutes {asked.target_minutes:g} is above the time limit of {asked.minutes} minutes"
        found.append(("target_minutes", text))
    return found
