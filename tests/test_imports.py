"""Imports point one way; the table is the design."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Module prefix -> prefixes of `bench` and `analysis` it may import (itself always).
ALLOWED = {
    "bench.keys": [],
    "bench.ladder": [],
    "bench.recipe": [],
    "bench.spec": ["bench.keys", "bench.ladder", "bench.recipe"],
    "bench.entries": ["bench.spec"],
    "bench.sets": ["bench.entries"],
    "bench.catalog": ["bench.spec", "bench.entries", "bench.sets"],
    "bench.vocabularies": [],
    "bench.places": [],
    "bench.recipes": ["bench.spec", "bench.ladder", "bench.catalog", "bench.words"],
    "bench.words": ["bench.spec", "bench.entries", "bench.catalog"],
    "bench.gridfile": [],
    "bench.cells": ["bench.spec", "bench.ladder", "bench.catalog", "bench.words"],
    "bench.toy": ["bench.ladder", "bench.catalog", "bench.recipes", "bench.words"],
    "bench.grid": [
        "bench.spec", "bench.ladder", "bench.catalog", "bench.recipes", "bench.words", "bench.gridfile", "bench.cells", "bench.toy",
    ],
    "bench.inputs": ["bench.spec", "bench.catalog", "bench.recipes", "bench.grid"],
    "bench.planning": ["bench.spec", "bench.catalog", "bench.entries", "bench.words", "bench.recipes", "bench.grid", "bench.inputs"],
    "bench.plan": ["bench.spec", "bench.recipes", "bench.grid", "bench.planning"],
    "bench.cost": ["bench.spec", "bench.catalog"],
    "bench.store": ["bench.spec"],
    "bench.results": ["bench.spec", "bench.catalog", "bench.grid", "bench.plan", "bench.store"],
    "bench.masks": ["bench.models"],
    "bench.allocation": [],
    "bench.granularity": ["bench.spec", "bench.masks", "bench.allocation"],
    "bench.controls": ["bench.masks", "bench.models"],
    "bench.models": ["bench.spec", "bench.catalog", "bench.masks", "bench.vocabularies"],
    "bench.pruners": ["bench.spec", "bench.masks", "bench.granularity", "bench.models"],
    "bench.attacks": ["bench.spec", "bench.models"],
    "bench.corruptions": ["bench.attacks"],
    "bench.objectives": ["bench.spec", "bench.attacks", "bench.models"],
    "bench.metrics": ["bench.spec", "bench.masks", "bench.attacks", "bench.corruptions", "bench.models", "bench.training.seeding"],
    "bench.data": ["bench.spec", "bench.catalog", "bench.corruptions", "bench.vocabularies"],
    "bench.training": ["bench.spec", "bench.recipe", "bench.models", "bench.masks", "bench.store"],
    "bench.stages": [
        "bench.spec", "bench.recipe", "bench.catalog", "bench.store", "bench.models", "bench.masks", "bench.granularity", "bench.controls", "bench.pruners", "bench.data",
        "bench.metrics", "bench.corruptions", "bench.training",
    ],
    "bench.launch": [
        "bench.spec", "bench.catalog", "bench.cost", "bench.estimate", "bench.store", "bench.words", "bench.gridfile", "bench.grid", "bench.plan", "bench.stages", "bench.training",
        "bench.data",
    ],
    "bench.estimate": ["bench.spec", "bench.cost", "bench.plan"],
    "bench.submit": [
        "bench.spec", "bench.grid", "bench.plan", "bench.store", "bench.launch", "bench.estimate", "bench.places", "bench.queueing", "bench.data.errors",
    ],
    "bench.queueing": ["bench.launch"],
    "bench.overview": ["bench.spec", "bench.cells", "bench.cost", "bench.plan", "bench.store", "bench.launch.observed", "bench.launch.states"],
    "bench.board": ["bench.overview", "bench.launch"],
    "bench.status": ["bench.grid", "bench.plan", "bench.store", "bench.places", "bench.launch", "bench.overview", "bench.board"],
    "bench.cancel": ["bench.spec", "bench.grid", "bench.plan", "bench.store", "bench.places", "bench.launch", "bench.board"],
    "bench.prepare": ["bench.spec", "bench.catalog", "bench.words", "bench.places", "bench.data", "bench.models"],
    "bench.perf": ["bench", "analysis"],
    "analysis": ["bench.spec", "bench.grid", "bench.cells", "bench.plan", "bench.store", "bench.results", "bench.places", "bench.catalog", "bench.recipes"],
}  # fmt: skip


def modules():
    for package in ("bench", "analysis"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = submodule.with_suffix(".py").exists() or submodule.is_dir()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def below(name, prefix):
    return name == prefix or name.startswith(prefix + ".")


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_one_way(module, path):
    if module == "bench":
        return
    family = max((prefix for prefix in ALLOWED if below(module, prefix)), key=len)
    for name in imported(path):
        if name.split(".")[0] in ("bench", "analysis") and not below(name, family):
            allowed = any(below(name, prefix) for prefix in ALLOWED[family])
            assert allowed, f"{module} imports {name}; {family} may import {ALLOWED[family]}"


def test_only_one_module_imports_ffcv():
    importers = {module for module, path in modules() if any(name.split(".")[0] == "ffcv" for name in imported(path))}
    assert all(name.startswith(("bench.data.", "bench.perf.")) for name in importers), importers


def test_modules_are_short():
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules()}
    assert {module: length for module, length in lengths.items() if length > 300} == {}
