import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from bench import grid
from bench.catalog import TABLES
from bench.spec import AXES, Cell, Word

SHIPPED = sorted(Path(__file__).parents[1].glob("grids/*.yaml"))


def test_cells_are_the_product_with_one_dense_reference_per_curve(write_grid):
    found = grid.read(write_grid({"seed": [0, 1], "transfer": ["linear", "finetune"]}))
    # 2 transfers x 2 seeds, each: 1 dense, 2 pruners x 2 sparsities.
    assert len(found.cells) == 2 * 2 * (1 + 2 * 2)
    dense = [cell for cell in found.cells if cell.pruner.name == "dense"]
    assert {(cell.transfer, cell.seed, cell.sparsity, cell.round) for cell in dense} == {
        (transfer, seed, 0.0, 0) for transfer in ("linear", "finetune") for seed in (0, 1)
    }


def test_the_dense_reference_is_planned_where_the_grid_leaves_it_out(write_grid):
    found = grid.read(write_grid({"sparsity": {"rate": 0.2, "rounds": [2]}}))
    assert [cell.pruner.name for cell in found.cells] == ["dense", "omp", "imp"]


def test_published_roundings_of_the_ladder_are_rounds(write_grid):
    found = grid.read(write_grid({"sparsity": [0.5904, 0.8926, 0.9648]}))
    assert sorted({cell.round for cell in found.cells}) == [0, 4, 10, 15]


def test_one_shot_pruners_take_sparsities_off_the_ladder(write_grid):
    found = grid.read(write_grid({"pruner": ["omp"], "sparsity": [0.5]}))
    assert [(cell.sparsity, cell.round) for cell in found.cells] == [(0.0, 0), (0.5, None)]


def test_a_ladder_in_tenths_of_the_original(write_grid):
    found = grid.read(write_grid({"sparsity": {"points": 0.1, "rounds": [7]}}))
    assert found.cells[-1].sparsity == 0.7


def test_exclude_drops_matching_cells_only(write_grid):
    found = grid.read(write_grid({"exclude": [{"pruner": "imp", "sparsity": 0.36}]}))
    assert [(cell.pruner.name, cell.round) for cell in found.cells] == [
        ("dense", 0),
        ("omp", 2),
        ("omp", 8),
        ("imp", 8),
    ]


def test_command_line_overrides_replace_fields(write_grid):
    found = grid.read(write_grid(), ["seed=[3, 4]", "override.transfer.epochs=7", "name=other"])
    assert found.name == "other"
    assert {cell.seed for cell in found.cells} == {3, 4}
    assert found.protocol.transfer["linear/standard"].epochs == 7


def test_override_keeps_other_fields_of_an_attack(write_grid):
    found = grid.read(write_grid({"override": {"attack": {"steps": 50}}}))
    assert (found.protocol.attack.steps, found.protocol.attack.epsilon_255) == (50, 16)


def test_select_keeps_cells_by_name_label_and_number_and_their_dense_references(write_grid):
    found = grid.read(write_grid({"pruner": ["omp", "imp", "imp(on=downstream)"]}))
    assert {str(cell.pruner) for cell in grid.select(found, ["pruner=imp"]).cells} == {
        "dense",
        "imp",
        "imp(on=downstream)",
    }
    downstream = grid.select(found, ["pruner=imp(on=downstream)"])
    assert {str(cell.pruner) for cell in downstream.cells} == {"dense", "imp(on=downstream)"}
    assert {cell.round for cell in grid.select(found, ["sparsity=0.36,0"]).cells} == {0, 2}


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"pruner": ["omp", "synfow"]}, "pruner", 'pruner "synfow" is not in bench/catalog.py (known: dense, grasp, imp, lmp, omp, random, snip, synflow, ticket). Did you mean "synflow"?'),
        ({"protocol": "dmo"}, "protocol", 'protocol "dmo" is not in bench/recipes'),
        ({"seed": ["x"]}, "seed", "seed.0 is 'x'; input should be a valid integer"),
        ({"seed": [-1]}, "seed", "seed.0 is -1; input should be greater than or equal to 0"),
        ({"pruner": []}, "pruner", "pruner is empty: give at least one value"),
        ({"dataset": ["digits", "digits"]}, "dataset", "dataset names digits twice"),
        ({"sparsity": [0.5]}, "sparsity", "sparsity 0.5 is off the ladder that iterative pruners follow; the nearest rung is round 3 (0.4880)"),
        ({"sparsity": [1.0]}, "sparsity", "sparsity 1.0 is not a fraction in [0, 1)"),
        ({"sparsity": {"rate": 0.2, "rounds": [-1]}}, "  rounds", "round -1 is not a whole number from 0 to 100"),
        ({"sparsity": {"rate": 2, "rounds": [1]}}, "sparsity", "sparsity ladder: ladder rate 2.0 is not between 0 and 1"),
        ({"sparsity": {"points": 0.1, "rounds": [10]}}, "  rounds", "round 10 is not a whole number from 0 to 9"),
        ({"fraction": [0]}, "fraction", "fraction 0.0 is not a share of the labels in (0, 1]"),
        ({"pretraining": ["torchvision"]}, "architecture", "architecture resnet8 with pretraining torchvision is impossible"),
        ({"exclude": [{"pruner": "lmp"}]}, "- {", "exclude: pruner lmp is not in this grid (known: omp, imp, dense)"),
        ({"exclude": [{"prunner": "omp"}]}, "- {", 'exclude names no axis "prunner"'),
        ({"override": {"transfer": {"epoch": 3}}}, "  transfer", 'transfer has no field "epoch"'),
        ({"override": {"transfer": {"epochs": "many"}}}, "  transfer", "override transfer: epochs is 'many', which is not of type int"),
        ({"override": {"transfer": {"schedule": "cosin"}}}, "  transfer", "recipe schedule 'cosin' (known: constant, step, cosine, linear, poly)"),
        ({"override": {"transfer": {"milestones": ["a"]}}}, "  transfer", "milestones is ['a'], which is not of type tuple[int, ...]"),
        ({"override": {"transfer": {"lr": float("nan")}}}, "  transfer", "every number of a recipe is finite"),
        ({"override": {"transfer": {"attack": {"restarts": 2}}}}, "  transfer", "a training attack has 1 restart, not 2"),
        ({"override": {"attack": {"batchnorm": "train"}}}, "  attack", "attacks of evaluations run with batchnorm eval"),
        ({"override": {"data": {"loader": "foo"}}}, "  data", "loader 'foo' (known: None, resident, stream)"),
        ({"override": {"data": {"loader": [1]}}}, "  data", "loader is [1], which is not of type"),
        ({"override": {"data": {"small_resolution": -3}}}, "  data", "a resolution is a positive number of pixels"),
        ({"evaluate": ["pgd(epsilon=[)"]}, "evaluate", "the value of epsilon is not YAML"),
        ({"override": {"train": {"epochs": 3}}}, "  train", 'override "train" is not a section'),
        ({"colour": "red"}, None, 'unknown field "colour"'),
        ({"architecture": None}, None, 'field "architecture" is missing'),
        ({"name": "a/b"}, "name", "string should match pattern"),
    ],
)  # fmt: skip
def test_a_bad_grid_is_refused_with_its_line(write_grid, changes, line, message):
    path = write_grid(changes)
    with pytest.raises(grid.GridError) as error:
        grid.read(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    if line is not None:
        number = int(re.search(r", line (\d+):", str(error.value))[1])
        assert path.read_text().splitlines()[number - 1].startswith(line)


def test_every_problem_of_a_grid_is_named_at_once(write_grid):
    with pytest.raises(grid.GridError) as error:
        grid.read(write_grid({"pruner": ["omq"], "dataset": ["digit"], "fraction": [2]}))
    assert len(str(error.value).splitlines()) == 3


def test_a_huge_product_is_refused_before_it_is_made(write_grid):
    path = write_grid({"seed": list(range(2000)), "pretraining_seed": list(range(2000))})
    with pytest.raises(
        grid.GridError, match=r"2000 seed x 2000 pretraining_seed = 24,000,000 cells; a grid holds at most"
    ):
        grid.read(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not YAML"),
        ("- a\n- b\n", "is not a mapping"),
        ("name: a\nname: b\n", 'line 2: "name" is there twice (first in line 1)'),
        ("", "is not a mapping"),
        ("? [a]\n: b\n", "line 1: a field name must be a word"),
        ("a: &x [*x]\n", "an alias refers to itself"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, text, message):
    path = tmp_path / "g.yaml"
    path.write_text(text)
    with pytest.raises(grid.GridError) as error:
        grid.read(path)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(grid.GridError, match="there is no such file"):
        grid.read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["seed", "=3", "seed=[", "name.x=3"])
def test_a_bad_override_is_refused(write_grid, text):
    with pytest.raises(grid.GridError, match="override"):
        grid.read(write_grid(), [text])


@pytest.mark.parametrize("text", ["colour=red", "pruner", "pruner=lmp", "sparsity=x"])
def test_a_bad_selection_is_refused(write_grid, text):
    with pytest.raises(grid.GridError, match="--only"):
        grid.select(grid.read(write_grid()), [text])


def test_a_protocol_without_a_recipe_for_a_cell_is_refused(write_grid, monkeypatch):
    from bench.plan import plan

    path = write_grid({"pretraining": ["supervised"]})
    found = grid.read(path)
    monkeypatch.setitem(found.protocol.transfer, "linear/standard", None)
    with pytest.raises(grid.GridError, match="protocol demo has no recipe for transfer linear/standard"):
        plan(found)


def test_the_exported_schema_is_current_and_knows_every_word():
    text = (SHIPPED[0].parent / "schema.json").read_text()
    assert text == grid.schema(), "run: python -m bench.grid > grids/schema.json"
    for axis, table in TABLES.items():
        for word in table:
            assert f'"{word}"' in json.dumps(json.loads(text)["properties"][axis])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_grid_is_valid(path):
    found = grid.read(path)
    assert found.cells
    assert found.name == path.stem
    assert isinstance(yaml.safe_load(path.read_text()), dict)


# Words that smoke.yaml leaves out -> where they run instead.
NOT_IN_SMOKE = {
    "resnet50": "toy grids",
    "resnet152 wide_resnet50_2 vgg16_bn mobilenet_v2 vit_b_16 convnext_tiny": "tests/models: too large for the embedded images or a CPU",
    "scenes_segmentation scenes_detection voc2007 voc2012 segmentation detection": "dense_demo and the toy of cv_lth",
    "torchvision checkpoint huggingface": "tests/stages: need files of weights",
    "bert_tiny mlm python_docs python_topics python_similarity glue": "bert_demo",
    "python_next": "tests/data",
    "bert_base mnli qqp stsb wnli qnli mrpc rte sst2 cola squad": "the toy of bert_lth",
    "ticket": "tests/stages: needs files of masks",
    "cifar10 cifar100 svhn fashion_mnist stl10 gtsrb flowers102 oxford_iiit_pet dtd eurosat imagenet folder caltech101 caltech256 food101 "
    "fgvc_aircraft stanford_cars sun397 resisc45 pcam clevr_count kitti_distance dsprites_location dsprites_orientation visda2017": "tests/data: need files of images",
}


def test_smoke_has_every_word_or_says_why_not():
    found = grid.read(SHIPPED[0].parent / "smoke.yaml")
    used = {str(value) for cell in found.cells for value in (getattr(cell, axis) for axis in AXES)}
    used |= {
        value.name
        for cell in found.cells
        for value in (getattr(cell, axis) for axis in AXES)
        if isinstance(value, Word)
    }
    used |= {word.name for word in found.evaluate}
    left_out = {word for words in NOT_IN_SMOKE for word in words.split()}
    everything = {word for table in TABLES.values() for word in table}
    assert everything - used == left_out


def test_smoke_has_every_option_value_of_pruners_and_objectives():
    """Choices are words too: each is exercised at least once, those of texts by the demo of texts."""
    cells = [cell for name in ("smoke", "bert_demo") for cell in grid.read(SHIPPED[0].parent / f"{name}.yaml").cells]
    for axis in ("pruner", "objective"):
        used = {(name, value) for cell in cells for name, value in getattr(cell, axis).options}
        choices = {
            (name, choice)
            for entry in TABLES[axis].values()
            for name, option in entry.options.items()
            for choice in option.choices
        }
        assert choices <= used, choices - used


def test_pairs_cover_the_product(write_grid):
    """Every pair of values of two axes that the whole grid has, a much smaller one has too."""
    axes = {"dataset": ["digits", "digits_noisy"], "transfer": ["linear", "finetune"], "seed": [0, 1, 2], "fraction": [1.0, 0.5], "sparsity": {"rate": 0.2, "rounds": [2, 8]}}  # fmt: skip
    whole, some = (grid.read(write_grid({**axes, "cover": cover})) for cover in ("all", "pairs"))

    def pairs(cells):
        return {pair for cell in cells for pair in combinations([(axis, str(getattr(cell, axis))) for axis in AXES], 2)}

    pruned = [cell for cell in whole.cells if cell.pruner.name != "dense"]
    assert pairs(whole.cells) <= pairs(some.cells)
    assert len(pruned) == 96
    # No fewer than the two longest axes make: 3 seeds x 2 sparsities x ... at least 6; greedily some more.
    assert 6 <= len([cell for cell in some.cells if cell.pruner.name != "dense"]) <= 14
    assert set(some.cells) <= set(whole.cells)


def test_an_exclusion_names_a_word_whatever_the_order_of_its_options(write_grid):
    words = ["lmp(allocation=global, objective=adversarial)", "omp"]
    found = grid.read(write_grid({"pruner": words, "exclude": [{"pruner": words[0]}], "sparsity": [0.5]}))
    assert {cell.pruner.name for cell in found.cells} == {"dense", "omp"}


def test_axes_are_fields_of_a_cell():
    assert set(AXES) <= set(Cell.__slots__)


def test_an_override_of_attack_fields_changes_adversarial_recipes_only(write_grid):
    found = grid.read(write_grid({"override": {"pretrain": {"attack": {"steps": 5}}}}))
    assert found.protocol.pretrain["supervised"].attack is None
    attack = found.protocol.pretrain["pgd_adversarial"].attack
    assert attack is not None
    assert (attack.steps, attack.epsilon_255) == (5, 24)


@pytest.mark.parametrize(
    ("attack", "message"), [({"step": 5}, 'attack has no field "step"'), (5, "attack is 5, which is not a mapping")]
)
def test_a_bad_override_of_an_attack_is_refused(write_grid, attack, message):
    with pytest.raises(grid.GridError, match=message):
        grid.read(write_grid({"override": {"pretrain": {"attack": attack}}}))


def test_one_value_stands_for_a_list_of_it(write_grid):
    found = grid.read(write_grid({"override": {"transfer": {"select": "best_validation"}}}))
    assert {recipe.select for recipe in found.protocol.transfer.values()} == {("best_validation",)}
