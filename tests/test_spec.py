import pytest

from bench import grid
from bench.ladder import Ladder
from bench.plan import plan
from bench.spec import Attack, Recipe

SURVIVORS = [0, 20.00, 36.00, 48.80, 59.04, 67.23, 73.79, 79.03, 83.22, 86.58, 89.26, 91.41, 93.13, 94.50, 95.60, 96.48]


def test_the_ladder_of_survivors_is_the_published_one():
    assert [round(100 * Ladder().sparsity(k), 2) for k in range(16)] == SURVIVORS


def test_kept_counts_give_the_published_ladder_on_resnet50():
    # 23,454,912 prunable weights of ResNet-50, every convolution.
    total = 23_454_912
    assert [round(100 - 100 * Ladder().kept(total, k) / total, 2) for k in range(16)] == SURVIVORS


def test_the_ladder_of_the_original_is_in_equal_steps():
    ladder = Ladder(of="original", rate=0.1)
    assert [ladder.sparsity(k) for k in range(10)] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert [ladder.kept(1000, k) for k in (0, 1, 5, 9)] == [1000, 900, 500, 100]
    assert ladder.rounds() == 9


def test_counts_round_to_the_nearest_in_every_round():
    # 7 -> prune round(1.4) = 1 -> 6 -> prune round(1.2) = 1 -> 5 -> prune 1 -> 4
    assert [Ladder().kept(7, k) for k in range(4)] == [7, 6, 5, 4]


@pytest.mark.parametrize("fields", [{"rate": 0.0}, {"rate": 1.0}, {"of": "rest"}])
def test_a_ladder_that_leads_nowhere_is_refused(fields):
    with pytest.raises(ValueError, match="ladder"):
        Ladder(**fields)


@pytest.mark.parametrize("fields", [{"optimizer": "adam"}, {"schedule": "cos"}, {"precision": "fp16"}, {"select": ("test",)}, {"select": ()}, {"select": ("last", "last")}, {"select": ("best_robust_validation",)}, {"augmentation": ("cut",)}, {"batch_size": 0}])  # fmt: skip
def test_a_recipe_that_means_nothing_is_refused(fields):
    with pytest.raises(ValueError, match=r"recipe"):
        Recipe(epochs=1, **fields)


@pytest.mark.parametrize("fields", [{"norm": "l1"}, {"steps": 0}, {"batchnorm": "off"}, {"epsilon_255": -1.0}])
def test_an_attack_that_means_nothing_is_refused(fields):
    with pytest.raises(ValueError, match="attack"):
        Attack(**fields)


def test_golden_keys(write_grid):
    """Changing a default, a recipe of the demo or the hashing orphans results: do it on purpose, and bump VERSIONS."""
    planned = plan(
        grid.read(
            write_grid({"pruner": ["omp"], "sparsity": [0.36], "override": None, "evaluate": ["accuracy", "pgd"]})
        )
    )
    assert [(stage.kind, key) for key, stage in planned.stages.items()] == GOLDEN


GOLDEN = [
    ("pretrain", "8c81adc51bf42d42"),
    ("transfer", "f705bfa5267564bb"),
    ("evaluate", "ab6c4585fd68e11c"),
    ("evaluate", "a0a1eac79f63922e"),
    ("prune", "6ef38ab8aac07e7b"),
    ("transfer", "6b4c7593caf2c437"),
    ("evaluate", "1a5855448cebf518"),
    ("evaluate", "28797d50fba4733d"),
]
