"""Cluster profiles: what a stage asks SLURM for, read from slurm/*.yaml and checked before anything is submitted."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import words
from bench.gridfile import FileError, Lines, Where, apply_override, explain, load_yaml, place
from bench.launch.resources import Amount, Count, Resources, Sbatch, Text, conflicts
from bench.launch.sbatch_options import option_problem
from bench.spec import KINDS

__all__ = ["Profile", "ProfileError", "Resources", "as_yaml", "read", "schema", "with_gpus"]

EXAMPLE = "slurm/gpu.yaml"


class ProfileError(ValueError):
    """A profile that cannot be used; the message is for the person who wrote it."""


Mail = Literal[
    "BEGIN", "END", "FAIL", "REQUEUE", "ALL", "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50",
    "INVALID_DEPEND", "ARRAY_TASKS",
]  # fmt: skip


class StagesFile(BaseModel):
    """What differs from the defaults, by kind of stage."""

    model_config = ConfigDict(extra="forbid")

    pretrain: Resources = Field(default_factory=Resources)
    prune: Resources = Field(default_factory=Resources)
    transfer: Resources = Field(default_factory=Resources)
    evaluate: Resources = Field(default_factory=Resources)


class MailFile(BaseModel):
    """Who gets SLURM's mail, and when; without a user, the one who submits."""

    model_config = ConfigDict(extra="forbid")

    user: Text | None = None
    type: Annotated[list[Mail], Field(min_length=1)] = ["END", "FAIL"]


class ContinuationFile(BaseModel):
    """The small job that submits what did not fit; where it runs is as in the defaults unless said here."""

    model_config = ConfigDict(extra="forbid")

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    constraint: Text | None = None
    cpus: Count = 1
    memory_gb: Amount | None = None
    minutes: Count = 30
    sbatch: Sbatch = ()


class ProfileFile(BaseModel):
    """The fields of a profile."""

    model_config = ConfigDict(extra="forbid")

    defaults: Resources = Field(default_factory=Resources)
    stages: StagesFile = Field(default_factory=StagesFile)
    continuation: ContinuationFile = Field(default_factory=ContinuationFile)
    setup: list[Text] = []
    python: Text | None = None
    # One is the continuation job.
    max_jobs: Annotated[int, Field(strict=True, ge=2)] | None = None
    mail: MailFile | None = None
    signal_delay_s: Annotated[int, Field(strict=True, ge=1, le=65535)] = 90
    disk_wait_minutes: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 15


INHERITED = ("partition", "account", "qos", "constraint", "sbatch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """A validated profile: resources for every kind of stage. Two are equal whatever files they came from.

    `setup` are shell lines before `python` (None: the submitting interpreter), `max_jobs` bounds the array elements
    queued at once, `signal_delay_s` is the warning before the time limit.
    """

    path: Path = field(compare=False)
    resources: Mapping[str, Resources]
    continuation: Resources
    setup: tuple[str, ...]
    python: str | None
    max_jobs: int | None
    mail_user: str | None
    mail_type: tuple[str, ...]
    signal_delay_s: int
    disk_wait_minutes: float


def read(path: Path, overrides: Sequence[str] = ()) -> Profile:
    """The profile of a YAML file, with `key=value` overrides applied. Raises ProfileError naming every problem."""
    try:
        raw, lines = load_yaml(path, what="profile", example=EXAMPLE)
        for text in overrides:
            apply_override(raw, text)
        file = ProfileFile.model_validate(raw)
    except FileError as error:
        raise ProfileError(str(error)) from None
    except ValidationError as error:
        found = [explain(path, lines, item, known=_known, example=EXAMPLE) for item in error.errors()]
        raise ProfileError("\n".join(found)) from None
    profile = _merge(path, file, raw)
    problems = [*_option_problems(path, lines, raw), *_problems(profile, lines)]
    if problems:
        raise ProfileError("\n".join(problems))
    return profile


def _known(where: Where) -> str:
    """What the mapping around an unknown field may hold."""
    fields: Mapping[tuple[Any, ...], type[BaseModel]] = {
        (): ProfileFile,
        ("stages",): StagesFile,
        ("mail",): MailFile,
        ("continuation",): ContinuationFile,
    }
    *parents, name = where
    model = fields.get(tuple(parents))
    names = [f.name for f in dataclasses.fields(Resources)] if model is None else list(model.model_fields)
    return words.suggestion(str(name), names)


def _merge(path: Path, file: ProfileFile, raw: Mapping[str, Any]) -> Profile:
    """The profile with defaults filled in: a field that a stage gives, `null` too, stands for it."""
    resources = {}
    for kind in KINDS:
        given = {name: getattr(getattr(file.stages, kind), name) for name in raw.get("stages", {}).get(kind, {})}
        resources[kind] = dataclasses.replace(file.defaults, **given)
    inherited = {name: getattr(file.defaults, name) for name in INHERITED}
    own = {name: getattr(file.continuation, name) for name in ContinuationFile.model_fields}
    for name in INHERITED:
        if name not in file.continuation.model_fields_set:
            own[name] = inherited[name]
    return Profile(
        path=path,
        resources=resources,
        continuation=Resources(gpus=0, **own),
        setup=tuple(file.setup),
        python=file.python,
        max_jobs=file.max_jobs,
        mail_user=file.mail.user if file.mail else None,
        mail_type=tuple(file.mail.type) if file.mail else (),
        signal_delay_s=file.signal_delay_s,
        disk_wait_minutes=file.disk_wait_minutes,
    )


def _option_problems(path: Path, lines: Lines, raw: Mapping[str, Any]) -> list[str]:
    """What is wrong with the extra sbatch options, where they stand."""
    sections: dict[Where, Any] = {(name,): raw.get(name, {}) for name in ("defaults", "continuation")}
    sections |= {("stages", kind): section for kind, section in raw.get("stages", {}).items()}
    problems = []
    for where, section in sections.items():
        for name, value in section.get("sbatch", {}).items():
            problem = option_problem(name, value)
            if problem:
                problems.append(f"{place(path, lines, (*where, 'sbatch', name))}: sbatch option {problem}")
    return problems


def _problems(profile: Profile, lines: Lines) -> list[str]:
    """What is wrong between fields; a problem that several kinds share is said once."""
    kinds: dict[tuple[Where, str], list[str]] = defaultdict(list)
    for kind, asked in profile.resources.items():
        for name, text in conflicts(kind, asked, profile.signal_delay_s):
            places: list[Where] = [("stages", kind, name), ("defaults", name), ("stages", kind)]
            where = next((found for found in places if found in lines), places[0])
            kinds[where, text].append(kind)
    return [f"{place(profile.path, lines, where)}: {', '.join(of)}: {text}" for (where, text), of in kinds.items()]


def with_gpus(profile: Profile, available: bool) -> Profile:
    """The profile with `gpus: auto` resolved to 1 or 0."""
    resources = {
        kind: dataclasses.replace(asked, gpus=int(available)) if asked.gpus == "auto" else asked
        for kind, asked in profile.resources.items()
    }
    return dataclasses.replace(profile, resources=resources)


def as_yaml(profile: Profile) -> str:
    """The profile with nothing left to defaults; `read` gives back an equal one."""

    def plain(asked: Resources) -> dict[str, Any]:
        return dataclasses.asdict(asked) | {"sbatch": dict(asked.sbatch)}

    of_continuation = plain(profile.continuation)
    content = {
        "stages": {kind: plain(asked) for kind, asked in profile.resources.items()},
        "continuation": {name: of_continuation[name] for name in ContinuationFile.model_fields},
        "setup": list(profile.setup),
        "python": profile.python,
        "max_jobs": profile.max_jobs,
        "mail": {"user": profile.mail_user, "type": list(profile.mail_type)} if profile.mail_type else None,
        "signal_delay_s": profile.signal_delay_s,
        "disk_wait_minutes": profile.disk_wait_minutes,
    }
    return yaml.safe_dump(content, sort_keys=False)


def schema() -> str:
    """JSON schema of profiles, for editors."""
    return json.dumps(ProfileFile.model_json_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":  # python -m bench.launch.profile > slurm/schema.json
    print(schema(), end="")
