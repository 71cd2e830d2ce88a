"""What runs in one task and what an array waits for: toys that can be checked by hand, then the shipped grids."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import grid
from bench.launch import portions
from bench.launch.portions import PlannedArray
from bench.launch.profile import Profile
from bench.launch.resources import Resources
from bench.launch.schedule import needed
from bench.plan import plan
from bench.spec import KINDS, Stage

GRIDS = Path(__file__).parents[2] / "grids"


def stage(key, kind, *sources, trains=True):
    parameters = SimpleNamespace(recipe="a recipe" if trains else None)
    return Stage(
        key=key, kind=kind, parameters=parameters, inputs=tuple((f"input {i}", s) for i, s in enumerate(sources))
    )


def profile(**asked):
    """All kinds ask for this; a kind's own mapping comes on top."""
    own = {kind: asked.pop(kind, {}) for kind in KINDS}
    return Profile(
        path=Path("profile.yaml"),
        resources={kind: Resources(**{"gpus": 0, **asked, **own[kind]}) for kind in KINDS},
        continuation=Resources(gpus=0),
        setup=(),
        python=None,
        max_jobs=None,
        mail_user=None,
        mail_type=(),
        signal_delay_s=90,
        disk_wait_minutes=15,
    )


def arrange(stages, minutes, *, live=(), array_size=1000, left=None, **asked):
    """Arrays of toy stages; minutes for all, or by key."""
    by_key = {one.key: one for one in stages}
    if not isinstance(minutes, dict):
        minutes = dict.fromkeys(by_key, minutes)
    return portions.arrange(
        by_key, left or list(by_key), profile=profile(**asked), minutes=minutes, live=dict(live), array_size=array_size
    )


def elements(arrays):
    return [(array.kind, list(array.elements), list(array.after)) for array in arrays]


def test_stages_of_a_kind_that_wait_for_nothing_are_one_array_of_one_task_each():
    arrays = arrange([stage(key, "pretrain") for key in "abc"], 10.0)
    assert elements(arrays) == [("pretrain", [("a",), ("b",), ("c",)], [])]


def test_light_stages_run_in_the_task_of_their_input():
    stages = [
        stage("p", "pretrain"),
        stage("m1", "prune", "p", trains=False),
        stage("m2", "prune", "p", trains=False),
        stage("t", "transfer", "m1"),
        stage("e", "evaluate", "t", trains=False),
    ]
    minutes = {"p": 10.0, "m1": 1.0, "m2": 1.0, "t": 10.0, "e": 1.0}
    assert elements(arrange(stages, minutes)) == [
        ("pretrain", [("p", "m1", "m2")], []),
        ("transfer", [("t", "e")], [(0, 0)]),
    ]


@pytest.mark.parametrize(("light", "together"), [(5.0, True), (5.1, False)])
def test_what_trains_nothing_but_takes_long_has_a_task_of_its_own(light, together):
    """Up to 1.5 times the work of the task's first stage: 10 + 5 minutes."""
    stages = [stage("t", "transfer"), stage("e", "evaluate", "t", trains=False)]
    found = [array.elements for array in arrange(stages, {"t": 10.0, "e": light})]
    assert found == ([(("t", "e"),)] if together else [(("t",),), (("e",),)])


def test_light_stages_keep_to_pack():
    stages = [stage("t", "transfer"), *(stage(f"e{i}", "evaluate", "t", trains=False) for i in range(3))]
    arrays = arrange(stages, {"t": 10.0, "e0": 0.1, "e1": 0.1, "e2": 0.1}, pack=2)
    assert elements(arrays) == [("transfer", [("t", "e0")], []), ("evaluate", [("e1", "e2")], [(0, 0)])]


def test_short_rounds_of_a_ladder_run_in_one_task_up_to_target_minutes():
    ladder = [stage(f"r{k}", "prune", f"r{k - 1}" if k > 1 else "p") for k in range(1, 6)]
    minutes = {"p": 100.0, **{one.key: 10.0 for one in ladder}}
    assert elements(arrange([stage("p", "pretrain"), *ladder], minutes, target_minutes=25.0)) == [
        ("pretrain", [("p",)], []),
        ("prune", [("r1", "r2")], [(0, 0)]),
        ("prune", [("r3", "r4")], [(1, 0)]),
        ("prune", [("r5",)], [(2, 0)]),
    ]
    assert [array.elements for array in arrange(ladder, minutes)] == [((one.key,),) for one in ladder]


def test_a_transfer_never_joins_the_task_of_its_ticket():
    stages = [stage("r", "prune"), stage("t", "transfer", "r")]
    assert [array.elements for array in arrange(stages, 1.0, target_minutes=100.0)] == [(("r",),), (("t",),)]


def test_kinds_are_kept_apart_and_tickets_come_first():
    stages = [stage("t", "transfer"), stage("r", "prune"), stage("p", "pretrain"), stage("u", "transfer", "r")]
    assert elements(arrange(stages, 1.0, target_minutes=100.0)) == [
        ("prune", [("r",)], []),
        ("pretrain", [("p",)], []),
        ("transfer", [("t",)], []),
        # `after` counts in the order of submission.
        ("transfer", [("u",)], [(0, 0)]),
    ]


def test_an_array_waits_for_exactly_the_elements_that_compute_its_inputs():
    stages = [stage("p1", "pretrain"), stage("p2", "pretrain"), stage("p3", "pretrain")]
    stages += [stage("t1", "transfer", "p1"), stage("t2", "transfer", "p2"), stage("u2", "transfer", "p2")]
    stages += [stage("t3", "transfer", "p1", "p3")]
    assert elements(arrange(stages, 10.0)) == [
        ("pretrain", [("p1",), ("p2",), ("p3",)], []),
        ("transfer", [("t1",)], [(0, 0)]),
        ("transfer", [("t2",), ("u2",)], [(0, 1)]),
        ("transfer", [("t3",)], [(0, 0), (0, 2)]),
    ]


def test_readers_of_one_task_are_one_array():
    stages = [stage("p1", "pretrain"), stage("p2", "pretrain")]
    stages += [stage("t1", "transfer", "p1"), stage("t2", "transfer", "p2")]
    assert elements(arrange(stages, 10.0, pretrain={"pack": 2})) == [
        ("pretrain", [("p1", "p2")], []),
        ("transfer", [("t1",), ("t2",)], [(0, 0)]),
    ]


def test_what_an_ancestor_waits_for_is_not_waited_for_again():
    stages = [
        stage("p", "pretrain"),
        stage("r1", "prune", "p"),
        stage("r2", "prune", "r1"),
        stage("t", "transfer", "p", "r2"),
        stage("u", "transfer", "r1", "r2", "p"),
    ]
    found = elements(arrange(stages, 10.0))
    assert found[-1] == ("transfer", [("t",), ("u",)], [(2, 0)])


@pytest.mark.parametrize(
    ("asked", "sizes"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1]),
        ({"pack": 3}, [3, 3, 1]),
        ({"target_minutes": 10.0}, [2, 2, 2, 1]),
        ({"target_minutes": 12.0, "pack": 2}, [2, 2, 2, 1]),
        ({"target_minutes": 8.0, "pack": 5}, [2, 2, 2, 1]),
        # Two at a time, 8 minutes each: four stages. On two GPUs twice that.
        ({"target_minutes": 8.0, "concurrent": 2}, [4, 3]),
        ({"target_minutes": 8.0, "concurrent": 2, "gpus": 2}, [7]),
        # Less than one stage takes: one stage.
        ({"target_minutes": 1.0}, [1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_tasks_are_filled_to_pack_or_target_minutes(asked, sizes):
    (array,) = arrange([stage(f"t{i}", "transfer") for i in range(7)], 4.0, **asked)
    assert [len(element) for element in array.elements] == sizes
    assert [key for element in array.elements for key in element] == [f"t{i}" for i in range(7)]


def test_no_array_is_larger_than_the_cluster_allows_and_readers_know_which_part_to_wait_for():
    stages = [stage(f"p{i}", "pretrain") for i in range(5)] + [stage("t", "transfer", "p3")]
    assert elements(arrange(stages, 10.0, array_size=2)) == [
        ("pretrain", [("p0",), ("p1",)], []),
        ("pretrain", [("p2",), ("p3",)], []),
        ("pretrain", [("p4",)], []),
        ("transfer", [("t",)], [(1, 1)]),
    ]


def test_inputs_that_are_queued_already_are_waited_for_by_their_ids():
    stages = [stage("p", "pretrain"), stage("q", "pretrain"), stage("t", "transfer", "p"), stage("u", "transfer", "q")]
    arrays = arrange(stages, 10.0, left=["q", "t", "u"], live={"p": "77_3"})
    assert [(array.elements, array.after, array.live) for array in arrays] == [
        ((("q",),), (), ()),
        ((("t",),), (), ("77_3",)),
        ((("u",),), ((0, 0),), ()),
    ]


def test_a_light_stage_does_not_pull_the_wait_for_another_input_into_the_task_of_the_first():
    stages = [stage("p", "pretrain"), stage("q", "pretrain"), stage("m", "prune", "q", "p", trains=False)]
    arrays = arrange(stages, {"p": 10.0, "q": 10.0, "m": 0.1}, left=["q", "m"], live={"p": "77_3"})
    assert [(array.elements, array.after, array.live) for array in arrays] == [
        ((("q",),), (), ()),
        ((("m",),), ((0, 0),), ("77_3",)),
    ]


def test_what_runs_on_several_nodes_shares_its_task_with_nothing_that_does_not():
    stages = [stage("p", "pretrain"), stage("m", "prune", "p", trains=False), stage("r", "prune", "m")]
    wide = {"nodes": 2, "tasks_per_node": 4, "gpus": 4, "target_minutes": 100.0}
    arrays = arrange(stages, {"p": 10.0, "m": 0.1, "r": 10.0}, pretrain=wide, prune=wide)
    assert [array.elements for array in arrays] == [(("p",),), (("m",),), (("r",),)]
    asked = [(array.resources.processes, array.resources.gpus) for array in arrays]
    assert asked == [(8, 4), (1, 1), (8, 4)]


def test_stages_that_need_different_places_do_not_share_a_task():
    stages = [stage("t", "transfer"), stage("e", "evaluate", "t", trains=False)]
    arrays = arrange(stages, {"t": 10.0, "e": 0.1}, evaluate={"partition": "cpu"})
    assert [(array.elements, array.resources.partition) for array in arrays] == [((("t",),), None), ((("e",),), "cpu")]
    # How long a task may run decides nothing about where.
    (array,) = arrange(stages, {"t": 10.0, "e": 0.1}, evaluate={"minutes": 5, "max_parallel": 2})
    assert array.elements == (("t", "e"),)


@pytest.mark.parametrize(
    ("budget", "sizes"), [(-3, []), (0, []), (2, [2]), (3, [3]), (4, [3, 1]), (5, [3, 2]), (9, [3, 2])]
)
def test_within_a_budget_the_first_elements_are_chosen(budget, sizes):
    asked = Resources(gpus=0)
    first = PlannedArray(kind="pretrain", resources=asked, elements=(("a",), ("b",), ("c",)))
    second = PlannedArray(kind="transfer", resources=asked, elements=(("d",), ("e",)), after=((0, 2),))
    assert [len(array.elements) for array in portions.within([first, second], budget)] == sizes


@pytest.fixture(scope="module", params=["demo", "resnet50"])
def shipped(request):
    return plan(grid.read(GRIDS / f"{request.param}.yaml"))


def check(arrays, stages, left, live):
    """Every key once; every input done, live, earlier in the same task, or in an element that is waited for."""
    assert sorted(key for array in arrays for keys in array.elements for key in keys) == sorted(left)
    place = {key: (i, j) for i, a in enumerate(arrays) for j, keys in enumerate(a.elements) for key in keys}
    waited, held = [], []
    for i, array in enumerate(arrays):
        assert all(source < i and element < len(arrays[source].elements) for source, element in array.after)
        sources = {source for source, _ in array.after}
        waited.append(set(array.after).union(*(waited[source] for source in sources)))
        held.append(set(array.live).union(*(held[source] for source in sources)))
        for keys in array.elements:
            before = set()
            for key in keys:
                for _, source in stages[key].inputs:
                    if source in live:
                        assert live[source] in held[i]
                    elif source in place and source not in before:
                        assert place[source] in waited[i]
                before.add(key)
    # No array waits for what one that it waits for has waited for.
    for array in arrays:
        for source, _ in array.after:
            assert not set(array.after) & waited[source]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"target_minutes": 30.0},
        {"target_minutes": 2.0, "concurrent": 4, "evaluate": {"pack": 50}},
        {"gpus": 1, "pretrain": {"gpus": 4, "tasks_per_node": 4}, "evaluate": {"partition": "cpu", "gpus": 0}},
    ],
    ids=["plain", "packed", "concurrent", "gpus"],
)
def test_every_stage_of_a_shipped_grid_has_its_inputs_when_it_starts(shipped, asked):
    keys = list(shipped.stages)
    minutes = {key: 0.1 + 3.0 * portions.trains(one) for key, one in shipped.stages.items()}
    # Nothing done; a part done; of what is left a part, and everything it needs, queued.
    for done, queued in ((0, 0), (len(keys) // 3, 0), (5, len(keys) // 2)):
        finished = set(keys[:done])
        live = {key: f"7_{i % 10}" for i, key in enumerate(keys[done:queued])}
        left = needed(shipped.stages, shipped.targets, finished | live.keys())
        arrays = portions.arrange(
            shipped.stages, left, profile=profile(**asked), minutes=minutes, live=live, array_size=100
        )
        assert max(len(array.elements) for array in arrays) <= 100
        check(arrays, shipped.stages, left, live)
        chosen = portions.within(arrays, 20)
        assert sum(len(array.elements) for array in chosen) == 20
        check(chosen, shipped.stages, [key for array in chosen for keys in array.elements for key in keys], live)
