"""Which stages a ticket needs, and which cells share them."""

import pytest

from bench import estimate, grid
from bench.cost import epochs
from bench.plan import plan


@pytest.fixture
def planned(write_grid):
    def planned(**changes):
        return plan(grid.read(write_grid({"sparsity": {"rate": 0.2, "rounds": [2]}, **changes})))

    return planned


def prunes(planned, **wanted):
    """The prune stages whose parameters have these values."""
    return [
        stage
        for stage in planned.stages.values()
        if stage.kind == "prune" and all(getattr(stage.parameters, name) == value for name, value in wanted.items())
    ]


def cells(planned, pruner):
    return [
        planned.stages[stages.transfer]
        for cell, stages in zip(planned.grid.cells, planned.cells, strict=True)
        if str(cell.pruner) == pruner
    ]


def test_a_control_reads_the_ticket_of_the_same_word_without_it(planned):
    found = planned(pruner=["imp", "imp(control=shuffled)", "imp(control=reinitialised)", "imp(control=reversed)"])
    (last,) = prunes(found, round=2, control=None)
    controls = [stage for stage in prunes(found) if stage.parameters.control]
    assert {stage.parameters.control for stage in controls} == {"shuffled", "reinitialised", "reversed"}
    assert {dict(stage.inputs)["ticket"] for stage in controls} == {last.key}
    # A chain of two rounds and three controls.
    assert len(prunes(found)) == 2 + 3


def test_controls_with_weights_of_their_own_are_what_the_transfer_starts_from(planned):
    found = planned(pruner=["omp(control=shuffled)", "omp(control=reversed)"])
    (shuffled,), (reversed_,) = (cells(found, f"omp(control={name})") for name in ("shuffled", "reversed"))
    assert dict(shuffled.inputs)["start"] == dict(shuffled.inputs)["ticket"]
    assert "start" not in dict(reversed_.inputs)


def test_random_controls_differ_by_seed_and_the_complement_does_not(planned):
    found = planned(pruner=["omp(control=shuffled)", "omp(control=reversed)"], seed=[0, 1])
    assert len(prunes(found, control="shuffled")) == 2
    assert len(prunes(found, control="reversed")) == 1


def test_early_rewinding_trains_its_point_once_and_every_round_returns_to_it(planned):
    found = planned(pruner=["imp(on=downstream, rewind_epoch=1)"], override={"prune": {"epochs": 3}})
    (point,) = prunes(found, epoch=1)
    assert epochs(point) == 1
    first, second = prunes(found, epoch=None)
    assert dict(first.inputs)["rewind"] == dict(second.inputs)["rewind"] == point.key
    (transfer,) = cells(found, "imp(on=downstream, rewind_epoch=1)")
    assert dict(transfer.inputs)["start"] == point.key
    # Its own epoch and two rounds of three.
    assert sum(epochs(stage) for stage in prunes(found)) == 1 + 2 * 3
    alone, shared = estimate.sharing(found)
    # Without sharing the ticket's cell and the dense one do the same: each transfers once, one of them prunes.
    assert alone.downstream_epochs == shared.downstream_epochs


def test_a_point_beyond_the_round_is_refused(planned):
    with pytest.raises(grid.GridError, match="a round has 1 epochs; rewind_epoch is one of 0 to 1"):
        planned(pruner=["imp(on=downstream, rewind_epoch=2)"])


def test_standard_pruning_goes_on_from_the_weights_it_trained(planned):
    found = planned(pruner=["imp(rewind=never)"])
    assert {stage.parameters.rewind for stage in prunes(found)} == {()}
    (transfer,) = cells(found, "imp(rewind=never)")
    assert dict(transfer.inputs)["start"] == dict(transfer.inputs)["ticket"]


def test_the_objective_of_imp_is_that_of_the_pretraining_unless_the_word_says_another(planned):
    found = planned(
        pretraining=["pgd_adversarial"], pruner=["imp", "imp(objective=standard)", "imp(objective=adversarial)"]
    )
    attacked = {stages.ticket: found.stages[stages.ticket].parameters.recipe for stages in found.cells[1:]}
    # Saying what the protocol says is the same work.
    assert sorted(recipe.attack is not None for recipe in attacked.values()) == [False, True]
    natural = planned(pretraining=["supervised"], pruner=["imp(objective=adversarial)"])
    assert all(stage.parameters.recipe.attack is not None for stage in prunes(natural, round=2))


def test_fast_and_smoothed_pretraining_prune_by_their_own_recipes(planned):
    found = planned(pretraining=["fast_adversarial", "smoothing(sigma=0.3)"], pruner=["imp"])
    recipes = [stage.parameters.recipe for stage in prunes(found, round=2)]
    assert sorted((recipe.attack.steps if recipe.attack else 0, recipe.sigma) for recipe in recipes) == [
        (0, 0.3),
        (1, 0.0),
    ]
    attack = next(recipe.attack for recipe in recipes if recipe.attack)
    # One step of 1.25 eps.
    assert attack.step_255 == 1.25 * attack.epsilon_255


def test_scores_of_data_depend_on_the_set_that_the_word_names(planned):
    found = planned(pruner=["snip", "snip(on=upstream)", "synflow"], dataset=["digits", "digits_noisy"], seed=[0, 1])
    count = {
        word: len({dict(stage.inputs)["ticket"] for stage in cells(found, word)})
        for word in ("snip", "snip(on=upstream)", "synflow")
    }
    # Downstream: two sets and two seeds. Upstream: once. SynFlow reads no data.
    assert count == {"snip": 4, "snip(on=upstream)": 1, "synflow": 1}


def test_learnt_masks_have_a_recipe_by_their_objective(planned):
    found = planned(pruner=["lmp", "lmp(objective=adversarial)"])
    assert sorted(stage.parameters.recipe.attack is not None for stage in prunes(found)) == [False, True]


def test_a_published_ticket_is_known_by_its_content_and_its_round_is_put_in_its_path(planned, tmp_path):
    for k in (1, 2):
        (tmp_path / f"{k}.pt").write_bytes(b"%d" % k)
    found = planned(pruner=[f"ticket(path={tmp_path}/{{round}}.pt)"], sparsity={"rate": 0.2, "rounds": [1, 2]})
    assert {(stage.parameters.round, stage.parameters.path) for stage in prunes(found)} == {
        (1, f"{tmp_path}/1.pt"),
        (2, f"{tmp_path}/2.pt"),
    }
    assert len({stage.parameters.digest for stage in prunes(found)}) == 2


def test_a_missing_ticket_is_refused_while_planning(planned):
    with pytest.raises(grid.GridError, match=r"ticket.*cannot be read"):
        planned(pruner=["ticket(path=/nowhere/{round}.pt)"])


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [([0.6], "keeps n of every 4 weights, which is no sparsity of 0.6 .known: 0.25, 0.5, 0.75."), ([0.5], "")],
)
def test_n_of_m_takes_the_sparsities_that_it_can_have(planned, sparsity, message):
    changes = {"pruner": ["omp"], "granularity": ["n_of_m"], "sparsity": sparsity}
    if not message:
        assert prunes(planned(**changes))
        return
    with pytest.raises(grid.GridError, match=message):
        planned(**changes)


def test_n_of_m_cannot_be_allocated_by_erk(planned):
    with pytest.raises(grid.GridError, match="gives every layer the same share"):
        planned(pruner=["omp(allocation=erk)"], granularity=["n_of_m"], sparsity=[0.5])


def test_another_norm_needs_its_epsilon(planned):
    with pytest.raises(grid.GridError, match="another norm needs its epsilon"):
        planned(pretraining=["pgd_adversarial(norm=l2)"], pruner=["omp"])
    found = planned(pretraining=["pgd_adversarial(norm=l2, epsilon=0.5)"], pruner=["omp"])
    (attack,) = (stage.parameters.recipe.attack for stage in found.stages.values() if stage.kind == "pretrain")
    assert (attack.norm, attack.epsilon_255, attack.step_255) == ("l2", 0.5, 0.25)


def test_trades_is_the_adversarial_recipe_with_its_weight(planned):
    found = planned(objective=["adversarial", "adversarial(loss=trades, beta=3)"], pruner=["omp"])
    recipes = [stage.parameters.recipe for stage in found.stages.values() if stage.kind == "transfer"]
    assert {recipe.trades_beta for recipe in recipes} == {0.0, 3.0}
    assert len({recipe.attack for recipe in recipes}) == 1


@pytest.mark.parametrize("control", ["shuffled", "reversed"])
def test_controls_of_tickets_with_one_mask_keep_their_own_starts(planned, control):
    """The first upstream round prunes before any training: rewound or not, the mask is one stage, the starts differ."""
    words = ["imp", "imp(rewind_epoch=1)"]
    controls = [f"imp(control={control})", f"imp(rewind_epoch=1, control={control})"]
    found = planned(pruner=[*words, *controls], sparsity={"rate": 0.2, "rounds": [1]})
    plain, rewound = (cells(found, word)[0] for word in words)
    assert dict(plain.inputs)["ticket"] == dict(rewound.inputs)["ticket"]
    (point,) = prunes(found, epoch=1)
    assert dict(rewound.inputs)["start"] == point.key
    starts = [dict(cells(found, word)[0].inputs).get("start") for word in controls]
    if control == "reversed":
        assert starts == [None, point.key]
    else:
        assert [dict(found.stages[start].inputs).get("start") for start in starts] == [None, point.key]


@pytest.mark.parametrize("rewind", ["never", "finetuned", "prunable"])
def test_rewinding_to_an_epoch_and_to_something_else_is_refused(planned, rewind):
    told = f"rewind={rewind} does not return to an early epoch: drop rewind_epoch, or rewind={rewind}"
    with pytest.raises(grid.GridError, match=told):
        planned(pruner=[f"imp(rewind={rewind}, rewind_epoch=1)"])


@pytest.mark.parametrize("word", ["snip(examples=0)", "grasp(examples=-5)"])
def test_scores_of_no_examples_are_refused(planned, word):
    with pytest.raises(grid.GridError, match="examples is a number of images, at least 1"):
        planned(pruner=[word])


def test_the_words_of_one_rewind_point_share_it(planned):
    controls = [f"imp(on=downstream, rewind_epoch=1, control={name})" for name in ("shuffled", "reversed")]
    words = ["imp(on=downstream, rewind_epoch=1)", "imp(on=downstream, rewind_epoch=1, allocation=erk)", *controls]
    assert len(prunes(planned(pruner=words), epoch=1)) == 1
