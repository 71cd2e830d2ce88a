"""What tests share: one folder of prepared embedded sets, and a grid that computes in seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY: dict[str, Any] = {
    "name": "tiny",
    "protocol": "demo",
    "architecture": ["resnet8"],
    "pretraining": ["supervised"],
    "pruner": ["omp", "imp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 2, 8]},
    "dataset": ["digits"],
    "transfer": ["linear"],
    "evaluate": ["accuracy"],
    "override": {
        "pretrain": {"epochs": 1, "warmup_epochs": 0.0},
        "prune": {"epochs": 1},
        "transfer": {"epochs": 2},
        "attack": {"steps": 2},
    },
}


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data root with the embedded sets prepared."""
    from bench import prepare

    root = tmp_path_factory.mktemp("data")
    assert (
        prepare.main(["digits", "letters", "digit_glyphs", "digits_inverted", "digits_noisy", "--data", str(root)]) == 0
    )
    return root


@pytest.fixture(scope="session")
def tiny() -> Mapping[str, Any]:
    """The fields of the tiny grid."""
    return TINY


@pytest.fixture
def write_grid(tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny grid with fields changed; a field of value None is left out."""

    def write(changes: Mapping[str, Any] | None = None, name: str = "grid.yaml") -> Path:
        content = {key: value for key, value in {**TINY, **(changes or {})}.items() if value is not None}
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))
        return path

    return write
