"""Grids at toy size: every word and pair of words kept, nothing changed but what is said to change."""

import dataclasses
import functools
import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from bench import grid, submit, toy
from bench.catalog import described
from bench.cost import epochs
from bench.launch import records
from bench.plan import plan
from bench.spec import AXES, EvaluateParameters

GRIDS = sorted((Path(__file__).parents[1] / "grids").glob("*.yaml"))
WORDS = ("architecture", "pretraining", "source", "pruner", "granularity", "dataset", "transfer", "objective")
LENGTHS = ("epochs", "epoch_steps", "batch_size", "warmup_epochs", "milestones", "select_from")
# Weights that would have to be fetched, and a network that is large.
STOOD_FOR = {
    "torchvision": ("supervised", ()),
    "huggingface": ("mlm", ()),
    "bert_base": ("bert_tiny", (("vocabulary", "embedded"),)),
}
EXAMPLES = toy.SMALL["examples"]
SNIP = f"snip(examples={EXAMPLES})"


@functools.cache
def small(path):
    return grid.read(path, ["toy=true"])


def bare(value):
    """A value of an axis without what toy size changes of it: the set stood for, options less those of size."""
    if isinstance(value, str):
        return value
    if value.name == "toy":
        return value["of"], ()
    if value.name in STOOD_FOR:
        return STOOD_FOR[value.name]
    options = ((name, str(option).removeprefix("toy(of=").removesuffix(")")) for name, option in value.options)
    return value.name, tuple((name, option) for name, option in options if name not in toy.SMALL)


def pairs(found):
    """Pairs of (axis, word) that the cells have between them."""
    combinations = {tuple((axis, bare(getattr(cell, axis))) for axis in WORDS) for cell in found.cells}
    return {pair for combination in combinations for pair in itertools.combinations(combination, 2)}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_pair_of_words_of_a_shipped_grid_is_there_and_no_other(path):
    """So exclusions are those of the grid, in the words of the small one."""
    assert pairs(small(path)) == pairs(grid.read(path, ["cover=all"]))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_every_metric_is_asked_for_with_its_options(path):
    whole, found = grid.read(path), small(path)
    assert [word.name for word in found.evaluate] == [word.name for word in whole.evaluate]
    for before, after in zip(whole.evaluate, found.evaluate, strict=True):
        for name, value in before.options:
            changed = dict(after.options)[name]
            if name in toy.SMALL:
                assert changed == toy.SMALL[name]
            else:
                assert changed in (value, f"toy(of={value})")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_of_a_recipe_only_the_lengths_change(path):
    whole, found = grid.read(path).protocol, small(path).protocol
    for section in ("pretrain", "prune", "transfer"):
        recipes = getattr(found, section)
        assert recipes.keys() == getattr(whole, section).keys()
        for name, own in getattr(whole, section).items():
            recipe = recipes[name]
            attacks = {
                field: attack and dataclasses.replace(attack, **toy.RECIPE[field])
                for field, attack in (
                    ("attack", own.attack),
                    ("validation_attack", own.validation_attack),
                    ("contrast", own.contrast),
                )
            }
            lengths = {field: getattr(recipe, field) for field in LENGTHS}
            assert recipe == dataclasses.replace(own, **lengths, **attacks), f"{section} {name}"
            assert (recipe.epochs, recipe.warmup_epochs, recipe.milestones, recipe.select_from) == (1, 0, (), 1)
    assert found.attack == dataclasses.replace(whole.attack, steps=found.attack.steps, restarts=1)
    assert found.attack.steps <= 2
    same = (
        "ladder",
        "prunable",
        "train_first",
        "rewind",
        "imp_objective",
        "validation_rule",
        "fraction_rule",
        "source",
    )
    assert all(getattr(found, name) == getattr(whole, name) for name in same)
    assert (found.imagenet_stem_resolution, found.small_resolution) == (toy.RESOLUTION, toy.SMALL_RESOLUTION)
    assert found.attack_examples == EXAMPLES


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_toy_of_every_shipped_grid_is_planned_on_embedded_sets_in_single_epochs(path):
    planned = plan(small(path))
    assert planned.grid.name == grid.read(path).name + "-toy"
    for stage in planned.stages.values():
        parameters = stage.parameters
        for data in (parameters.data, getattr(parameters, "other", None)):
            if data is not None:
                assert described(data.dataset).embedded, stage
                side = toy.RESOLUTION if data.task == "classification" else toy.SCENE
                assert data.resolution <= side
        assert epochs(stage) <= 1
        if isinstance(parameters, EvaluateParameters) and parameters.attack is not None:
            assert parameters.attack.steps <= 2
            assert parameters.examples == EXAMPLES


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_numbers_keep_their_first_values(path):
    whole, found = yaml.safe_load(path.read_text()), small(path)
    assert {cell.seed for cell in found.cells} == {whole.get("seed", [0])[0]}
    assert {cell.pretraining_seed for cell in found.cells} == {whole.get("pretraining_seed", [0])[0]}
    assert {cell.fraction for cell in found.cells} == set(whole.get("fraction", [1.0])[:2])
    # Of a ladder in points the grid's own: some granularities have only some of its rungs.
    ladder = whole["sparsity"] if isinstance(whole["sparsity"], dict) else {}
    own = {0, *ladder["rounds"][1:3]} if "points" in ladder else {0, 1, 2}
    assert {cell.round for cell in found.cells} <= own


def test_the_docstring_names_every_axis_that_changes(write_grid):
    raw = grid.GridFile.model_validate(
        yaml.safe_load(write_grid({"dataset": ["cifar10"], "seed": [0, 1], "fraction": [1.0, 0.1, 0.01]}).read_text())
    ).model_dump()
    changed = toy.shrink(raw, grid.PROTOCOLS["demo"])
    differing = {name for name in raw if changed[name] != raw[name]}
    assert {"name", "dataset", "sparsity", "seed", "fraction", "cover", "override"} <= differing
    assert not differing & {"protocol", "transfer", "objective", "granularity", "architecture", "pretraining", "toy"}
    said = " ".join((toy.shrink.__doc__ or "").split())
    for word in ("recipes", "data sets", "images", "seed", "ladder", "fractions", "pair"):
        assert word in said, word
    assert set(toy.NUMBERS) <= set(AXES)


EXCLUDED = {
    "architecture": ["resnet8"],
    "pruner": ["omp", "synflow(rounds=50)", "snip(examples=99)"],
    "dataset": ["cifar10", "digits", "svhn"],
    "sparsity": {"rate": 0.2, "rounds": [0, 1, 2, 5]},
    "fraction": [1.0, 0.1, 0.01],
    "seed": [3, 4],
    "transfer": ["linear"],
    "override": None,
}


def excluding(write_grid, *rules):
    return small(write_grid({**EXCLUDED, "exclude": list(rules)}))


def has(found, **wanted):
    return any(all(str(getattr(cell, axis)) == str(value) for axis, value in wanted.items()) for cell in found.cells)


def test_excluded_sets_and_words_with_options_are_excluded_under_their_new_names(write_grid):
    found = excluding(
        write_grid,
        {"pruner": "synflow(rounds=50)", "dataset": "cifar10"},
        {"pruner": ["snip"], "dataset": ["svhn", "digits"]},
    )
    assert not has(found, pruner="synflow(rounds=2)", dataset="toy(of=cifar10)")
    assert has(found, pruner="synflow(rounds=2)", dataset="toy(of=svhn)")
    assert not has(found, pruner=SNIP, dataset="toy(of=svhn)")
    assert not has(found, pruner=SNIP, dataset="digits")
    assert has(found, pruner=SNIP, dataset="toy(of=cifar10)")


@pytest.mark.parametrize(
    "rule",
    [
        {"pruner": "omp", "seed": 4},
        {"pruner": "omp", "fraction": 0.01},
        {"pruner": "omp", "sparsity": 0.6723},
    ],
)
def test_an_exclusion_of_what_is_not_there_any_more_is_dropped_whole(write_grid, rule):
    assert has(excluding(write_grid, rule), pruner="omp")


def test_an_exclusion_keeps_the_values_that_are_left(write_grid):
    found = excluding(
        write_grid, {"pruner": "omp", "fraction": [0.1, 0.01]}, {"pruner": "snip", "sparsity": [0.2, 0.6723]}
    )
    assert {cell.fraction for cell in found.cells if cell.pruner.name == "omp"} == {1.0}
    assert {cell.round for cell in found.cells if cell.pruner.name == "snip"} == {2}


def test_sparsities_off_a_ladder_keep_the_first_two(write_grid):
    found = small(write_grid({"pruner": ["omp"], "sparsity": [0.9, 0.0, 0.5, 0.7]}))
    assert {cell.sparsity for cell in found.cells} == {0.0, 0.5, 0.7}


def test_a_rewind_epoch_stays_one_and_no_rewind_epoch_stays_none(write_grid):
    found = small(write_grid({"pruner": ["imp", "imp(rewind_epoch=9)"], "override": {"prune": {"epochs": 12}}}))
    assert {str(cell.pruner) for cell in found.cells} == {"dense", "imp", "imp(rewind_epoch=1)"}


def test_words_that_do_not_parse_are_reported_as_they_were_written(write_grid):
    with pytest.raises(grid.GridError, match='pruner "synfow" is not in'):
        small(write_grid({"pruner": ["synfow"]}))


@pytest.fixture
def planned_keys(monkeypatch):
    """Keys of every plan that bench.submit makes from now on."""
    seen = []

    def watched(chosen):
        seen.append(plan(chosen))
        return seen[-1]

    monkeypatch.setattr(submit, "plan", watched)
    return seen


def test_the_option_and_the_override_are_the_same_grid(write_grid, tmp_path, planned_keys, capsys):
    places = ["--root", str(tmp_path / "runs"), "--data", str(tmp_path / "data"), "--cluster", "local", "--dry-run"]
    for argument in ("--toy", "toy=true"):
        assert submit.main([str(write_grid({"dataset": ["cifar10"]})), argument, *places]) == 0
    option, override = planned_keys
    assert list(option.stages) == list(override.stages)
    assert option.grid.name == "tiny-toy"
    assert set(option.stages) != set(plan(grid.read(write_grid({"dataset": ["cifar10"]}))).stages)


def test_what_goes_on_later_on_a_cluster_reads_the_same_grid(
    write_grid, data_root, tmp_path, fake_slurm, planned_keys, capsys
):
    """A continuation plans from what the submission has on disk."""
    path, root = write_grid({"seed": [0, 1]}), tmp_path / "runs"
    profile = Path(__file__).parents[1] / "slurm" / "default.yaml"
    arguments = [str(path), "--toy", "--root", str(root), "--data", str(data_root), "--profile", str(profile), "--yes"]
    assert submit.main([*arguments, "--cluster", "slurm"]) == 0, capsys.readouterr().err
    (folder,) = (root / "slurm").glob("tiny-toy-*")
    about = records.read(folder).about
    again = plan(grid.select(grid.read(folder / "grid.yaml", about["overrides"]), about["only"]))
    assert list(again.stages) == list(planned_keys[0].stages)
    shutil.rmtree(root)
