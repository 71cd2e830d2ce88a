import subprocess
import sys
from collections import Counter

import pytest

from bench import estimate, grid, spec
from bench.cost import epochs
from bench.launch.schedule import needed
from bench.plan import children, plan


def read(write_grid, **changes):
    return plan(grid.read(write_grid(changes)))


def test_equal_work_is_planned_once(write_grid):
    planned = read(write_grid, dataset=["digits", "digits_noisy"], transfer=["linear", "finetune"], seed=[0, 1, 2])
    kinds = Counter(stage.kind for stage in planned.stages.values())
    # 12 curves (2 sets, 2 transfers, 3 seeds) of 5 networks; 1 pre-training; 2 OMP masks and 8 IMP rounds for all.
    assert kinds == {"pretrain": 1, "prune": 10, "transfer": 60, "evaluate": 60}


def test_ladders_share_their_prefix(write_grid):
    short = read(write_grid, sparsity={"rate": 0.2, "rounds": [2]})
    long = read(write_grid, sparsity={"rate": 0.2, "rounds": [2, 8]})
    assert set(short.stages) < set(long.stages)


def test_downstream_tickets_depend_on_the_downstream_seed_and_set_and_upstream_ones_do_not(write_grid):
    planned = read(write_grid, pruner=["imp", "imp(on=downstream)"], seed=[0, 1], dataset=["digits", "digits_noisy"])
    tickets = {"imp": set(), "imp(on=downstream)": set()}
    for cell, stages in zip(planned.grid.cells, planned.cells, strict=True):
        if cell.round == 8:
            tickets[str(cell.pruner)].add(stages.ticket)
    assert {name: len(keys) for name, keys in tickets.items()} == {"imp": 1, "imp(on=downstream)": 4}


def test_upstream_imp_prunes_before_its_first_training_and_downstream_imp_trains_first(write_grid):
    planned = read(write_grid, pruner=["imp", "imp(on=downstream)"])
    first = {
        str(stage.parameters.pruner): epochs(stage)
        for stage in planned.stages.values()
        if stage.kind == "prune" and stage.parameters.round == 1
    }
    assert first == {"imp": 0, "imp(on=downstream)": 1}


def test_random_tickets_differ_by_seed(write_grid):
    planned = read(write_grid, pruner=["random"], seed=[0, 1, 2], sparsity=[0.5])
    assert len({stages.ticket for stages in planned.cells}) == 1 + 3


def test_inputs_come_before_their_readers(write_grid):
    planned = read(write_grid)
    seen = set()
    for key, stage in planned.stages.items():
        assert all(source in seen for _, source in stage.inputs)
        seen.add(key)


def test_what_can_change_a_number_is_in_the_key_and_what_cannot_is_not(write_grid):
    path = write_grid()
    plain = set(plan(grid.read(path)).stages)
    for change in (
        "override.transfer.lr=0.3",
        "seed=5",
        "override.data.loader=stream",
        "override.transfer.precision=bf16",
    ):
        assert set(plan(grid.read(path, [change])).stages) != plain, change
    assert set(plan(grid.read(path, ["name=other"])).stages) == plain


def test_a_checkpoint_is_known_by_its_content_not_its_path(write_grid, tmp_path):
    for name, content in (("a.pt", b"one"), ("b.pt", b"one"), ("c.pt", b"two")):
        (tmp_path / name).write_bytes(content)
    found = [
        set(read(write_grid, pretraining=[f"checkpoint(path={tmp_path / name})"]).stages)
        for name in ("a.pt", "b.pt", "c.pt")
    ]
    assert found[0] == found[1]
    assert not found[0] & found[2]


def test_a_missing_checkpoint_is_refused_while_planning(write_grid):
    with pytest.raises(grid.GridError, match=r"checkpoint.*cannot be read"):
        read(write_grid, pretraining=["checkpoint(path=/nowhere.pt)"])


def test_a_whole_number_and_the_same_float_are_one_key(write_grid):
    path = write_grid({"evaluate": ["pgd"]})
    keys = [set(plan(grid.read(path, [f"override.attack.epsilon_255={value}"])).stages) for value in ("16", "16.0")]
    assert keys[0] == keys[1]


def test_options_that_repeat_the_protocol_change_no_key(write_grid):
    plain = read(write_grid, evaluate=["pgd"])
    named = read(write_grid, evaluate=["pgd(steps=2, epsilon=16)"])
    assert set(plain.stages) == set(named.stages)


@pytest.mark.parametrize("word", ["pgd(steps=0)", "pgd(epsilon=-8)", "pgd(restarts=0)"])
def test_an_attack_that_means_nothing_is_refused(write_grid, word):
    with pytest.raises(grid.GridError, match="an attack needs"):
        read(write_grid, evaluate=[word])


def test_an_epsilon_scales_the_step_and_reaches_every_upstream_recipe(write_grid):
    planned = read(write_grid, pretraining=["pgd_adversarial(epsilon=16)"], pruner=["imp"])
    attacks = {
        (stage.kind, stage.parameters.recipe.attack.epsilon_255, stage.parameters.recipe.attack.step_255)
        for stage in planned.stages.values()
        if stage.kind in ("pretrain", "prune") and stage.parameters.recipe is not None
    }
    assert attacks == {("pretrain", 16.0, 8.0), ("prune", 16.0, 8.0)}


def test_an_epsilon_beside_an_attack_of_size_zero_has_a_step(write_grid):
    planned = read(write_grid, evaluate=["pgd(epsilon=8)"], override={"attack": {"epsilon_255": 0.0, "steps": 10}})
    assert {stage.parameters.attack.step_255 for stage in planned.stages.values() if stage.kind == "evaluate"} == {2.0}


def test_an_augmentation_that_the_loader_cannot_do_is_refused_while_planning(write_grid):
    with pytest.raises(
        grid.GridError,
        match=r"digits is read by the resident loader, which has no augmentation resized_crop \(known: crop, flip\)",
    ):
        read(write_grid, override={"transfer": {"augmentation": ["resized_crop"]}})


@pytest.mark.parametrize(
    ("word", "wanted"), [("vgg16_bn(stem=cifar)", "at least 32"), ("vit_b_16(stem=cifar)", "exactly 32")]
)
def test_a_network_that_cannot_read_the_images_is_refused_while_planning(write_grid, word, wanted):
    with pytest.raises(grid.GridError, match=f"reads images of {wanted} pixels, letters has 8 here"):
        read(write_grid, architecture=[word])


def test_the_catalog_knows_which_sides_a_network_reads():
    from bench.catalog import ARCHITECTURES
    from bench.models.network import outline
    from bench.spec import Word

    for name, entry in ARCHITECTURES.items():
        for stem in entry.options["stem"].choices if "stem" in entry.options else (None,):
            options = (
                (("stem", stem),) if stem else tuple((key, option.default) for key, option in entry.options.items())
            )
            body = outline(Word(name, options), classes=2)
            assert entry.sides.get(stem or "", (1, None)) == (body.smallest, body.largest), (name, stem)


def test_a_stage_survives_json(write_grid):
    for stage in read(write_grid, evaluate=["accuracy", "pgd"]).stages.values():
        again = spec.from_json(spec.as_json(stage))
        assert (again.key, again.parameters, again.inputs) == (stage.key, stage.parameters, stage.inputs)


def test_a_stage_of_another_version_is_refused(write_grid):
    stage = next(iter(read(write_grid).stages.values()))
    with pytest.raises(ValueError, match="planned by another version"):
        spec.from_json({**spec.as_json(stage), "key": "0" * 16})


def test_needed_leaves_out_inputs_of_what_is_done(write_grid):
    planned = read(write_grid, pruner=["omp"], sparsity=[0.5])
    dense, sparse = planned.cells
    targets = [*dense.evaluate, *sparse.evaluate]
    order = needed(planned.stages, targets, set())
    assert set(order) == set(planned.stages)
    assert needed(planned.stages, targets, set(targets)) == []
    left = needed(planned.stages, targets, {sparse.evaluate[0]})
    assert [planned.stages[key].kind for key in left] == ["pretrain", "transfer", "evaluate"]


def test_children_are_the_readers(write_grid):
    planned = read(write_grid, pruner=["omp"], sparsity=[0.5])
    pretrain = next(key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    assert sorted(planned.stages[key].kind for key in children(planned.stages)[pretrain]) == [
        "prune",
        "transfer",
        "transfer",
    ]


def test_sharing_is_counted_by_hand(write_grid):
    planned = read(write_grid, seed=[0, 1])
    alone, shared = estimate.sharing(planned)
    # 2 seeds x 5 networks: each its pre-training epoch; IMP adds one per round but the first (1 and 7); 2 to transfer.
    assert (alone.upstream_epochs, alone.downstream_epochs) == (2 * (5 + 1 + 7), 2 * 5 * 2)
    # Shared: one pre-training, 7 training rounds of one chain.
    assert (shared.upstream_epochs, shared.downstream_epochs) == (1 + 7, 2 * 5 * 2)


def test_planning_twenty_thousand_cells_imports_no_torch():
    code = (
        "import sys; from pathlib import Path; from bench import grid, plan, results, estimate, submit; "
        "found = grid.read(Path('grids/demo.yaml'), ['seed=%s' % list(range(170))]); "
        "planned = plan.plan(found); estimate.summarise(planned, set(), planned.stages.values()); "
        "assert len(planned.cells) >= 20_000, len(planned.cells); "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('torch', 'ffcv', 'numba', 'torchvision')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
