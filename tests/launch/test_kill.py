"""A stage killed with SIGKILL at any moment and started again ends bit-identical to one that was left alone."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image

from bench import grid, prepare
from bench.launch.task import Settings, run_stage
from bench.plan import plan
from bench.spec import make_stage
from bench.store import Store

pytestmark = pytest.mark.slow
KILLS = 5
PRELOADED = (
    "bench.stages.pretrain",
    "bench.stages.prune",
    "bench.stages.transfer",
    "bench.data.resident",
    "bench.data.stream",
    "bench.models.cifar_resnet",
    "bench.objectives.supervised",
    # torch imports it with the first optimiser.
    "torch._dynamo",
)


@pytest.fixture(scope="module")
def processes():
    """Starts processes quickly: a server that has imported what stages need forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Data root with 40 small JPEG files in two classes, of which a stage validates on 8."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    for split, n in (("train", 40), ("val", 4)):
        for i in range(n):
            path = root / "raw" / "photos" / split / f"class{i % 2}" / f"{i:02}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(draw.integers(0, 256, size=(6, 8, 3), dtype=np.uint8))
            coarse.resize((100, 80), Image.Resampling.BICUBIC).save(path)
    assert prepare.main(["folder(name=photos, classes=2)", "--data", str(root)]) == 0
    return root


def stages_of(folder, tiny, **changes):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "source": ["digits"], **changes}))
    return plan(grid.read(path)).stages


@pytest.fixture(scope="module")
def cases(tmp_path_factory, tiny, data_root, photos):
    """Name -> (stage, its data root, a root in which its inputs are done)."""
    folder = tmp_path_factory.mktemp("cases")
    root = folder / "inputs"
    recipes = {
        "pretrain": {"epochs": 3, "warmup_epochs": 1.0, "select": "best_validation"},
        "prune": {"epochs": 3},
        "transfer": {"epochs": 2, "augmentation": ["crop"]},
    }
    stages = stages_of(
        folder, tiny, pruner=["imp"], sparsity={"rate": 0.2, "rounds": [3]}, transfer=["finetune"], override=recipes
    )
    streamed = stages_of(
        folder, tiny, pretraining=["random"], dataset=["folder(name=photos, classes=2)"], transfer=["finetune"],
        sparsity={"rate": 0.2, "rounds": [2]}, pruner=["omp"],
        override={"transfer": {"epochs": 3, "batch_size": 4, "augmentation": ["resized_crop", "flip"]}},
    )  # fmt: skip
    found = {}
    for name, planned, kind, data in (
        ("pretrain", stages, "pretrain", data_root),
        ("imp round", stages, "prune", data_root),
        ("finetune", stages, "transfer", data_root),
        ("stream", streamed, "transfer", photos),
    ):
        # The last one of its kind: round 3, the transfer of a ticket.
        stage = [stage for stage in planned.values() if stage.kind == kind][-1]
        for _, key in stage.inputs:
            compute_with_inputs(planned, key, Settings(root=root, data_root=data_root))
        if name == "stream":
            # The catalog's 1,000 validation images are more than this folder has.
            parameters = replace(stage.parameters, data=replace(stage.parameters.data, validation=8))
            stage = make_stage(stage.kind, parameters, dict(stage.inputs))
        found[name] = (stage, data, root)
    return found


def compute_with_inputs(stages, key, settings):
    for _, source in stages[key].inputs:
        compute_with_inputs(stages, source, settings)
    assert run_stage(stages[key], settings).status == "done"


def prepared(case, root, **changes):
    """Settings of a root that holds the inputs of the case's stage and nothing else."""
    stage, data_root, inputs = case
    for _, key in stage.inputs:
        shutil.copytree(Store(inputs).folder(key), Store(root).folder(key))
    return Settings(root=root, data_root=data_root, **changes)


def start(processes, stage, settings):
    process = processes.Process(target=run_stage, args=(stage, settings))
    process.start()
    return process


def finish(processes, stage, settings):
    process = start(processes, stage, settings)
    process.join(60)
    assert process.exitcode == 0
    log = Store(settings.root).log(stage.key).read_text()
    assert Store(settings.root).has(stage.key), log


def wait_for_checkpoints(process, path, count):
    """Until the process has replaced its checkpoint `count` times, or has ended."""
    before, seen = stamp(path), 0
    while seen < count and process.is_alive():
        found = stamp(path)
        seen, before = seen + (found != before), found
        time.sleep(0.0005)


def stamp(path):
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def digests(root, key):
    return {name: entry["sha256"] for name, entry in Store(root).open(key).manifest["files"].items()}


@pytest.fixture(scope="module")
def undisturbed(processes, cases, tmp_path_factory):
    """Name -> digests of the case's files, computed in one go."""
    found = {}
    for name, case in cases.items():
        settings = prepared(case, tmp_path_factory.mktemp("undisturbed") / "runs")
        finish(processes, case[0], settings)
        found[name] = digests(settings.root, case[0].key)
    return found


@pytest.mark.parametrize("name", ["pretrain", "imp round", "finetune", "stream"])
def test_a_stage_killed_at_random_moments_ends_bit_identical(processes, cases, undisturbed, tmp_path, name):
    """Killed once before or at its first checkpoint and then some steps later each time, at any point of a step."""
    stage = cases[name][0]
    settings = prepared(cases[name], tmp_path / "runs", checkpoint_s=0.0)
    store, draw = Store(settings.root), random.Random(name)
    checkpoint = store.scratch(stage.key) / "checkpoint.pt"
    kills = resumable = 0
    for attempt in range(KILLS):
        process = start(processes, stage, settings)
        wait_for_checkpoints(process, checkpoint, draw.randint(1, 3) if attempt else draw.randint(0, 1))
        time.sleep(draw.uniform(0, 0.02))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert store.has(stage.key) == (process.exitcode == 0)
        resumable += checkpoint.is_file()
    # At least two attempts went on from what a killed one had left.
    assert kills >= 3
    assert resumable >= 2
    finish(processes, stage, settings)
    assert digests(settings.root, stage.key) == undisturbed[name]
    assert store.problem(stage.key, digests=True) is None
    assert not store.scratch(stage.key).exists()
    assert store.keys() == {stage.key, *(key for _, key in stage.inputs)}


def test_leftovers_of_killed_attempts_block_nobody_and_are_never_read(processes, cases, undisturbed, tmp_path):
    stage = cases["finetune"][0]
    settings = prepared(cases["finetune"], tmp_path / "runs", checkpoint_s=0.0)
    store = Store(settings.root)
    scratch = store.scratch(stage.key)
    # A checkpoint and an artifact half written by processes that are gone.
    scratch.mkdir(parents=True)
    for pid in (1, 4_000_000):
        (scratch / f".checkpoint.pt.{pid}").write_bytes(b"half a checkpoint")
    half = store.folder(stage.key).parent / f".{stage.key}.elsewhere.1.0"
    half.mkdir(parents=True, exist_ok=True)
    (half / "sparse.safetensors").write_bytes(b"half a network")
    assert not store.has(stage.key)
    finish(processes, stage, settings)
    assert digests(settings.root, stage.key) == undisturbed["finetune"]
    assert not scratch.exists()
    assert store.keys() == {stage.key, *(key for _, key in stage.inputs)}


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_checkpoint_costs_a_fresh_start_and_no_number(processes, cases, undisturbed, tmp_path, share):
    stage = cases["pretrain"][0]
    settings = prepared(cases["pretrain"], tmp_path / "runs", checkpoint_s=0.0)
    checkpoint = Store(settings.root).scratch(stage.key) / "checkpoint.pt"
    process = start(processes, stage, settings)
    wait_for_checkpoints(process, checkpoint, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    checkpoint.write_bytes(checkpoint.read_bytes()[: int(share * checkpoint.stat().st_size)])
    finish(processes, stage, settings)
    assert digests(settings.root, stage.key) == undisturbed["pretrain"]
