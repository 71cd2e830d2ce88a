"""Estimates of minutes, corrected by what finished stages took."""

import pytest

from bench import estimate, grid
from bench.launch import durations
from bench.plan import plan
from bench.spec import KINDS
from bench.store import Store

ON_CPU, ON_GPU = dict.fromkeys(KINDS, False), dict.fromkeys(KINDS, True)


@pytest.fixture
def world(write_grid, tmp_path):
    """Stages of the tiny grid, by kind, and an empty store."""
    planned = plan(grid.read(write_grid()))
    kinds = {kind: [key for key, stage in planned.stages.items() if stage.kind == kind] for kind in KINDS}
    return planned.stages, kinds, Store(tmp_path / "runs")


def finish(world, key, times, *, gpu=False, device="cpu", **made):
    """Publish a stage that took so many times its estimate."""
    stages, _, store = world
    seconds = times * estimate.seconds(stages[key], gpu=gpu)
    with store.publish(stages[key], {"seconds": seconds, "device": device, **made}):
        pass


def ratios(world, *, gpu=ON_CPU):
    stages, _, store = world
    return durations.measured(stages, store, store.keys(), gpu)


def test_with_nothing_measured_the_estimate_counts_for_the_device_of_the_kind(world):
    stages, kinds, store = world
    (key,) = kinds["pretrain"]
    for gpu in (ON_CPU, ON_GPU):
        found = durations.minutes(stages, [key], store=store, done=[], gpu=gpu)
        assert found == {key: estimate.seconds(stages[key], gpu=gpu["pretrain"]) / 60}


def test_what_finished_stages_took_corrects_their_kind_and_no_other(world):
    stages, kinds, store = world
    done, left = kinds["transfer"][0], [kinds["transfer"][1], kinds["evaluate"][0]]
    finish(world, done, 3.0, restarts=0)
    found = durations.minutes(stages, left, store=store, done=[done], gpu=ON_CPU)
    assert found[left[0]] == pytest.approx(3.0 * estimate.seconds(stages[left[0]], gpu=False) / 60)
    assert found[left[1]] == estimate.seconds(stages[left[1]], gpu=False) / 60


def test_the_median_counts_so_that_one_odd_measurement_does_not(world):
    for key, times in zip(world[1]["transfer"], (2.0, 500.0, 2.5), strict=False):
        finish(world, key, times)
    assert ratios(world) == {("transfer", "resnet8"): pytest.approx(2.5)}


def test_measurements_of_another_sort_of_device_say_nothing(world):
    finish(world, world[1]["transfer"][0], 3.0, gpu=True, device="cuda:0")
    assert ratios(world) == {}
    assert ratios(world, gpu=ON_GPU) == {("transfer", "resnet8"): pytest.approx(3.0)}


def test_an_attempt_that_went_on_from_a_checkpoint_says_nothing(world):
    finish(world, world[1]["transfer"][0], 0.1, restarts=2)
    assert ratios(world) == {}


def test_manifests_that_cannot_be_read_or_are_of_an_older_form_say_nothing(world):
    stages, kinds, store = world
    finish(world, kinds["transfer"][0], 3.0)
    (store.folder(kinds["transfer"][0]) / "manifest.json").write_text("{")
    with store.publish(stages[kinds["transfer"][1]], {}):
        pass
    assert ratios(world) == {}


def test_only_a_sample_of_manifests_is_read(write_grid, tmp_path, monkeypatch):
    seeds = {"pruner": ["dense"], "sparsity": [0.0], "seed": list(range(40))}
    planned, store, read = plan(grid.read(write_grid(seeds))), Store(tmp_path / "runs"), []
    transfers = [key for key, stage in planned.stages.items() if stage.kind == "transfer"]
    assert len(transfers) == 40
    monkeypatch.setattr(durations, "_ratio", lambda stage, *_: read.append(stage.key) or 1.0)
    durations.measured(planned.stages, store, transfers, ON_CPU)
    assert len(read) == durations.SAMPLE
