"""Fault drills on a real SLURM: time limits, preemption, purges, limits and lies of sbatch; the rows do not change."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from bench.launch import records
from bench.store import Store

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
# A pre-training of some 90 steps, which a drill makes as slow as it needs, and five short stages.
LONG = {
    "name": "long",
    "source": ["digits"],
    "pruner": ["omp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 2]},
    "seed": [0],
    "override": {"pretrain": {"epochs": 8, "warmup_epochs": 0.0}, "transfer": {"epochs": 2}},
}
# Ten stages in a chain of arrays.
SMALL = {
    "name": "small",
    "source": ["digits"],
    "pruner": ["omp", "imp"],
    "sparsity": {"rate": 0.2, "rounds": [0, 2]},
    "seed": [0],
    "override": {"pretrain": {"epochs": 2, "warmup_epochs": 0.0}, "prune": {"epochs": 1}, "transfer": {"epochs": 2}},
}
# A task for every stage.
ALONE = {"gpus": 0, "cpus": 1, "minutes": 5, "pack": 1}
# Python reads sitecustomize.py when it starts: every step of every training adds a byte to a file, and waits a
# while; jobs that import torch are listed in another.
COUNTER = """\
import importlib.abc, importlib.util, os, sys, time

class Counting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            environ = os.environ
            job = environ.get("SLURM_ARRAY_JOB_ID", environ.get("SLURM_JOB_ID", "-"))
            task = environ.get("SLURM_ARRAY_TASK_ID", "")
            with open(os.path.dirname(__file__) + "/torch", "a") as importers:
                importers.write(job + "_" * bool(task) + task + "\\n")
        if name != "bench.training.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def with_count(module):
            execute(module)
            one_step = module.one_step

            def counted(*arguments, **named):
                value = one_step(*arguments, **named)
                os.write(file, b".")
                time.sleep(float(os.environ.get("STEP_S", "0")))
                return value

            module.one_step = counted

        spec.loader.exec_module = with_count
        return spec

file = os.open(os.path.dirname(__file__) + "/steps", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
sys.meta_path.insert(0, Counting())
"""

# In turn: refuses, obeys, obeys and says that it did not, obeys.
LYING_SBATCH = """\
#!/bin/sh
calls=$(($(cat {folder}/calls 2> /dev/null || echo 0) + 1))
echo $calls > {folder}/calls
case $((calls % 4)) in
0 | 2) exec {sbatch} "$@" ;;
3) {sbatch} "$@" > /dev/null ;;
esac
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1
"""


@pytest.fixture(scope="module")
def machine(make_cluster):
    """Two nodes of one CPU, a controller that soon forgets what has ended, and a short way from SIGTERM to SIGKILL."""
    return make_cluster(nodes=2, cpus=1, settings=("MinJobAge=2", "KillWait=2"))


def counting(folder):
    """A folder that makes Python count steps, and the file of the count."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(COUNTER)
    return folder / "steps"


@pytest.fixture(scope="module")
def long(tmp_path_factory, tiny, data_root, compute):
    """The long grid's artifacts where nothing disturbs it, and the steps that it trains."""
    folder = tmp_path_factory.mktemp("long")
    steps = counting(folder / "counter")
    path = folder / "drill.yaml"
    path.write_text(yaml.safe_dump({**tiny, **LONG}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(steps.parent))
        found = compute(path, folder / "runs", data_root)
    return found, steps.stat().st_size


@pytest.fixture(scope="module")
def small_root(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def small(small_root, tiny, data_root, compute):
    """The small grid's artifacts where nothing disturbs it; they lie in small_root."""
    (small_root / "drill.yaml").write_text(yaml.safe_dump({**tiny, **SMALL}))
    return compute(small_root / "drill.yaml", small_root, data_root)


@pytest.fixture
def hit(long, machine, make_drill, tmp_path):
    """hit(seconds per step, profile fields): a submitted drill of the long grid, the file of its steps, their number."""
    expected, needed = long

    def start(step_s, **fields):
        steps = counting(tmp_path / "counter")
        steps.touch()
        setup = [f"export PYTHONPATH={steps.parent} STEP_S={step_s}"]
        drill = make_drill(machine, changes=LONG, profile={"setup": setup, **fields}, expected=expected)
        drill.submit()
        return drill, steps, needed

    return start


def pretraining(drill):
    (key,) = (key for key, stage in drill.planned.stages.items() if stage.kind == "pretrain")
    return key


def trained_more(drill, steps, more):
    """Wait until so many steps were trained since now."""
    before = steps.stat().st_size
    drill.until(lambda: steps.stat().st_size >= before + more)


def arrays(drill):
    """What was submitted, as recorded, in order; settled or not."""
    found = (records.read_array(path) for path in sorted(drill.root.glob("slurm/*/*/array.json")))
    return [array for array in found if array is not None]


def array_job(drill, kind):
    """SLURM's id of the first array of this kind."""
    return next(array.job for array in arrays(drill) if array.kind == kind)


def test_a_stage_outlives_its_time_limit_again_and_again(hit):
    # SLURM looks for limits every 30 s and warns up to 30 s early: here 5 to 35 s after the start.
    drill, steps, needed = hit(0.7, defaults={"gpus": 0, "cpus": 1, "minutes": 1, "pack": 4}, signal_delay_s=25)
    drill.wait(seconds=400)
    begun = drill.check("time limit", "a limit of one minute, SLURM's own SIGUSR2")
    assert begun[pretraining(drill)] >= 3
    assert steps.stat().st_size == needed


def test_five_warnings_and_what_killed_attempts_left_cost_not_one_step(hit):
    drill, steps, needed = hit(0.1)
    job, key = array_job(drill, "pretrain"), pretraining(drill)
    folder = next(drill.root.glob("slurm/long-*/000"))
    for hits in range(1, 6):
        trained_more(drill, steps, 5)
        for left in (f"{job}_submitted.pkl.save_tmp", f"{job}_0_result.pkl.save_tmp"):
            (folder / left).write_bytes(b"an attempt was killed while it wrote this")
        drill.cluster.run("scancel", "--signal=USR2", job)
        drill.until(lambda hits=hits: drill.stopped(key) == hits)
    drill.wait(seconds=200)
    begun = drill.check("time limit", "SIGUSR2 five times, leftovers of killed attempts")
    # More often than submitit's own three, without a continuation's help: in one and the same job.
    assert begun[key] == 6
    assert drill.store.log(key).read_text().count(f"job {job}\n") == 6
    assert steps.stat().st_size == needed


def preempt(drill):
    """A job of the urgent partition takes all nodes and gives them back."""
    drill.cluster.wait(drill.cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", wrap="true"), "COMPLETED")


def test_preemption_with_a_time_of_grace_costs_not_one_step(hit):
    drill, steps, needed = hit(0.1)
    key = pretraining(drill)
    drill.cluster.run("scontrol", "update", "partitionname=main", "gracetime=60")
    try:
        for hits in range(1, 4):
            trained_more(drill, steps, 5)
            preempt(drill)
            drill.until(lambda hits=hits: drill.stopped(key) == hits)
    finally:
        drill.cluster.run("scontrol", "update", "partitionname=main", "gracetime=0")
    drill.wait(seconds=200)
    begun = drill.check("preemption", "three times, SIGTERM and a time of grace")
    assert begun[key] == 4
    assert drill.store.log(key).read_text().count(f"job {array_job(drill, 'pretrain')}\n") == 4
    assert steps.stat().st_size == needed


def test_preemption_without_grace_needs_nobody(hit):
    drill, steps, _ = hit(0.1)
    key = pretraining(drill)
    for _ in range(3):
        trained_more(drill, steps, 5)
        preempt(drill)
    drill.wait(seconds=200)
    begun = drill.check("preemption", "three times, no grace, SIGKILL after two seconds")
    assert begun[key] == 4
    assert drill.store.log(key).read_text().count(f"job {array_job(drill, 'pretrain')}\n") == 4


def test_jobs_that_the_controller_forgot_release_what_waits_for_them(machine, make_drill, small):
    # It purges every ten seconds.
    drill = make_drill(machine, changes=SMALL, expected=small)
    drill.submit()
    first, *_, last, _ = (array.job for array in arrays(drill))
    drill.cluster.run("scontrol", "hold", last)
    drill.until(lambda: set(drill.jobs().values()) == {"PENDING"} and drill.store.has(pretraining(drill)), seconds=200)
    drill.until(lambda: not drill.cluster.states(first))
    # A second submission meets parents that are done, forgotten, queued and held.
    assert "nothing was submitted" in drill.submit()
    drill.cluster.run("scontrol", "release", last)
    drill.wait(seconds=200)
    assert set(drill.check("purge", "MinJobAge of 2 s, dependents held until their parents were gone").values()) == {1}


def test_two_submits_at_once_and_an_edited_checkout_change_nothing(machine, make_drill, small, tmp_path):
    drill = make_drill(machine, changes=SMALL, expected=small)
    checkout = tmp_path / "checkout"
    for name in ("bench", "analysis"):
        shutil.copytree(REPOSITORY / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    argv = [sys.executable, "-m", "bench.submit", drill.grid, "--root", drill.root, "--data", drill.data]
    words = list(map(str, [*argv, "--profile", drill.profile, "--cluster", "slurm", "--yes"]))
    both = [
        subprocess.Popen(words, env=drill.cluster.env, cwd=checkout, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in both]
    for path in checkout.rglob("*.py"):
        path.write_text("raise SystemExit('edited')")
    assert [process.returncode for process in both] == [0, 0]
    assert sum("nothing was submitted" in text for text in said) == 1
    queued = [key for array in arrays(drill) for keys in array.keys for key in keys]
    assert sorted(queued) == sorted(drill.planned.stages)
    drill.wait(seconds=200)
    how = "of one grid at the same time, then every file of the checkout broken"
    assert set(drill.check("two submits", how).values()) == {1}


def test_what_always_fails_is_tried_three_times_and_everything_else_is_done(machine, make_drill, tmp_path):
    watched = counting(tmp_path / "counter")
    changes = {
        **SMALL,
        "pruner": ["dense"],
        "sparsity": [0],
        "dataset": ["digits", "digits_noisy"],
    }
    setup = [f"export PYTHONPATH={watched.parent}"]
    drill = make_drill(machine, changes=changes, profile={"defaults": ALONE, "setup": setup})
    drill = dataclasses.replace(drill, data=shutil.copytree(drill.data, tmp_path / "data"))
    images = drill.data / "beton" / "digits_noisy" / "train-8.beton"
    sound = images.read_bytes()
    drill.submit()
    images.write_bytes(sound[: len(sound) // 2])
    drill.wait(seconds=200)
    stages = drill.planned.stages
    noisy = {key for key, stage in stages.items() if "digits_noisy" in str(stage.parameters)}
    assert drill.store.keys() == stages.keys() - noisy
    failed = {key for key in noisy if not any(source in noisy for _, source in stages[key].inputs)}
    assert [stages[key].kind for key in failed] == ["transfer"]
    assert {drill.store.failure(key)["attempts"] for key in failed} == {3}
    assert all(count == (3 if key in failed else 1) for key, count in drill.begun().items())
    status = drill.bench("status", "--json")
    found = {one["key"]: one for one in json.loads(status.stdout)["stages"]}
    assert {key for key in noisy if found[key]["state"] == "failed"} == failed
    assert {found[key]["state"] for key in noisy - failed} == {"blocked"}
    assert {found[key]["failure"]["cause"] for key in failed} == {"exception"}
    assert sum(found[key]["blocks"] for key in failed) == len(noisy - failed)
    assert "train-8.beton" in drill.bench("status", "--failed").stdout
    # Tasks in which everything is blocked name the culprit and its log, and import no torch.
    logs = {path: path.read_text() for path in drill.root.glob("slurm/small-*/*/*_log.out")}
    idle = [path for path, text in logs.items() if '"computed": 0, "failed": 0, "blocked"' in text]
    (guilty,) = failed
    assert all(
        f"transfer {guilty} failed: " in logs[path] and str(drill.store.log(guilty)) in logs[path] for path in idle
    )
    importers = {f"{job}_0_log.out" for job in watched.with_name("torch").read_text().split()}
    assert importers
    assert idle
    assert not {path.name for path in idle} & importers
    images.write_bytes(sound)
    drill.submit()
    drill.wait(seconds=200)
    drill.check("a stage that always fails", "a damaged file of images, then mended", person="mends it, submits again")


def test_an_sbatch_that_lies_loses_nothing_and_submits_nothing_twice(machine, make_drill, small, tmp_path):
    drill = make_drill(machine, changes=SMALL, expected=small)
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "sbatch"
    wrapper.write_text(LYING_SBATCH.format(folder=folder, sbatch=shutil.which("sbatch")))
    wrapper.chmod(0o755)
    env = {**drill.cluster.env, "PATH": f"{folder}:{os.environ['PATH']}"}
    drill = dataclasses.replace(drill, cluster=dataclasses.replace(drill.cluster, env=env))
    drill.submit()
    drill.wait(seconds=200)
    # Every second answer was a failure, every second of those a lie; the continuation's sbatch too.
    assert int((folder / "calls").read_text()) >= 8
    assert set(drill.check("sbatch errors", "half of all calls, of which half had submitted").values()) == {1}


def test_a_small_budget_is_carried_to_the_end_by_continuations(make_cluster, make_drill, small):
    cluster = make_cluster(nodes=2, cpus=1, settings=("MaxArraySize=4", "MaxJobCount=14", "MinJobAge=2"))
    # Half of the controller's 14 jobs is more than what the profile allows.
    drill = make_drill(cluster, changes=SMALL, expected=small, profile={"defaults": ALONE, "max_jobs": 5})
    said = drill.submit()
    assert "sees to the rest" in said
    most = 0
    while jobs := drill.jobs():
        most = max(most, len(jobs))
        time.sleep(0.2)
    # The continuation that submits the next portion is about to leave.
    assert most <= 6
    assert max(len(array.keys) for array in arrays(drill)) <= 3
    assert sum(array.kind == "continue" for array in arrays(drill)) >= 2
    assert set(drill.check("limits", "MaxArraySize of 4, five jobs at once").values()) == {1}


def test_a_stage_on_two_nodes_is_requeued_and_ends_as_on_one(machine, make_drill, small, small_root, tmp_path):
    import torch

    from bench.stages import weights

    steps = counting(tmp_path / "counter")
    steps.touch()
    several = {"pretrain": {"nodes": 2, "tasks_per_node": 1}}
    setup = [f"export PYTHONPATH={steps.parent} STEP_S=0.4"]
    drill = make_drill(machine, changes=SMALL, profile={"stages": several, "setup": setup}, expected=small)
    drill.submit()
    key = pretraining(drill)
    for hits in (1, 2):
        trained_more(drill, steps, 4)
        drill.cluster.run("scancel", "--signal=USR2", array_job(drill, "pretrain"))
        drill.until(lambda hits=hits: drill.stopped(key) == hits)
    drill.wait(seconds=200)
    assert drill.begun()[key] == 3
    assert drill.store.keys() == drill.planned.stages.keys()
    found, alone = (weights.load_weights(Store(root).open(key)) for root in (drill.root, small_root))
    assert found.keys() == alone.keys()
    for name in found:
        # Single precision: 1e-7 of rounding in a step, which each of the steps multiplies a little.
        torch.testing.assert_close(found[name], alone[name], rtol=2e-3, atol=2e-4)
    how = "SIGUSR2 twice, a stage that trains on two nodes"
    drill.report(
        ("time limit", how, f"1 of {len(drill.begun())}", "1 from a checkpoint, 0 from their start", "0", "no")
    )
