"""What the tests of the stages share: one store of small stages on the embedded sets, computed when asked for."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from torch import Tensor

from bench import grid, models
from bench.launch.task import Outcome, Settings, run_stage
from bench.plan import CellStages, Plan, plan
from bench.spec import Stage, make_stage
from bench.store import Artifact, Store

SMALL: dict[str, Any] = {
    "name": "small",
    "protocol": "demo",
    "architecture": ["resnet8"],
    "pretraining": ["supervised"],
    "source": ["digits"],
    "pruner": ["omp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 3]},
    "dataset": ["digit_glyphs"],
}
EPOCHS = {"pretrain": {"epochs": 1, "warmup_epochs": 0.0}, "prune": {"epochs": 1}, "transfer": {"epochs": 2}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """Plans small grids and computes their stages in one store."""

    settings: Settings
    folder: Path

    def plan(self, override: Mapping[str, Any] | None = None, **changes: Any) -> Plan:
        """The plan of the small grid with fields changed; `override` fields go on top of the small epochs."""
        sections = {
            name: {**EPOCHS.get(name, {}), **(override or {}).get(name, {})} for name in {**EPOCHS, **(override or {})}
        }
        path = self.folder / "grid.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes, "override": sections}))
        return plan(grid.read(path))

    def artifact(self, planned: Plan, key: str) -> Artifact:
        """The artifact of a stage, its inputs computed first."""
        for _, source in planned.stages[key].inputs:
            self.artifact(planned, source)
        return self.compute(planned.stages[key])

    def compute(self, stage: Stage) -> Artifact:
        """The artifact of a stage whose inputs are there."""
        outcome = run_stage(stage, self.settings)
        assert outcome.status == "done", outcome.message
        return Store(self.settings.root).open(stage.key)

    def afresh(self, stage: Stage, root: Path, **changes: Any) -> tuple[Outcome, Store]:
        """Compute a stage again, alone in another root that holds only its inputs."""
        for _, source in stage.inputs:
            folder = Store(self.settings.root).folder(source)
            shutil.copytree(folder, Store(root).folder(source), dirs_exist_ok=True)
        return run_stage(stage, dataclasses.replace(self.settings, root=root, **changes)), Store(root)


class Training(NamedTuple):
    """The body's tensors when a training began and when it ended, copied."""

    start: dict[str, Tensor]
    end: dict[str, Tensor]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    return Lab(settings=Settings(root=folder / "runs", data_root=data_root), folder=folder)


@pytest.fixture(scope="session")
def pick() -> Callable[..., CellStages]:
    """The stages of the one cell whose columns have these values."""

    def pick(planned: Plan, **wanted: Any) -> CellStages:
        pairs = zip(planned.grid.cells, planned.cells, strict=True)
        (found,) = (
            stages
            for cell, stages in pairs
            if all(str(getattr(cell, axis)) == str(value) for axis, value in wanted.items())
        )
        return found

    return pick


@pytest.fixture(scope="session")
def changed() -> Callable[..., Stage]:
    """A stage with parameters changed, and inputs where `inputs` is given; recipe fields through `recipe`, data through `data`."""

    def changed(stage: Stage, inputs: Mapping[str, str] | None = None, **fields: Any) -> Stage:
        parameters: Any = stage.parameters
        for name in ("recipe", "data"):
            if name in fields:
                fields[name] = dataclasses.replace(getattr(parameters, name), **fields[name])
        return make_stage(
            stage.kind, dataclasses.replace(parameters, **fields), {**dict(stage.inputs), **(inputs or {})}
        )

    return changed


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[Training]]:
    """Makes a stage file's `train` also record the network before and after; returns the growing list."""

    def watch(module: Any) -> list[Training]:
        seen: list[Training] = []
        train = module.train

        def watched(network: Any, *arguments: Any, **options: Any) -> Any:
            start = copied(models.state(network))
            history = train(network, *arguments, **options)
            seen.append(Training(start, copied(models.state(network))))
            return history

        monkeypatch.setattr(module, "train", watched)
        return seen

    return watch


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """(name, split) of every split that stages open from now on."""
    from bench.stages import context

    seen: list[tuple[str, Any]] = []
    open_split = context.open_split

    def watched(data: Any, split: str, **options: Any) -> Any:
        seen.append((split, open_split(data, split, **options)))
        return seen[-1][1]

    monkeypatch.setattr(context, "open_split", watched)
    return seen


@pytest.fixture(scope="session")
def photos_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with `folder(name=photos, classes=2)` prepared: 40 bright or dark JPEG files to train on, 8 to test."""
    import numpy as np
    from PIL import Image

    from bench import prepare

    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for split, n in (("train", 40), ("val", 8)):
        for i in range(n):
            path = root / "raw" / "photos" / split / ("dark", "light")[i % 2] / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = draw.integers(128 * (i % 2), 128 * (i % 2) + 128, size=(6, 8, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC).save(path)
    assert prepare.main(["folder(name=photos, classes=2)", "--data", str(root)]) == 0
    return root


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@pytest.fixture(scope="session")
def same() -> Callable[..., bool]:
    """Are these tensors equal bit for bit in two states (all names of the first where none are given)?"""

    def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor], names: Iterable[str] | None = None) -> bool:
        return all(left[name].equal(right[name]) for name in (left if names is None else names))

    return same
