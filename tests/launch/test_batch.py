"""One array to sbatch: every field of a profile in the script, the environment, and failures of SLURM."""

import os
import pickle
import shlex
import sys
import time

import pytest

from bench.launch import batch, controller, profile
from bench.launch.controller import LimitReached, SlurmError

PROFILE = """
defaults:
  partition: gpu
  account: tickets
  qos: high
  constraint: a100
  gpus: 2
  gpu_type: a100
  cpus: 8
  memory_gb: 60.5
  minutes: 240
  max_parallel: 3
  sbatch: {exclude: "n1,n2", exclusive: true, nice: 100}
stages:
  pretrain: {nodes: 2, tasks_per_node: 2}
  evaluate: {gpus: 0, gpu_type: null, memory_gb: null, max_parallel: null, sbatch: {}}
setup: [module load cuda, "export A=1"]
python: singularity exec image python3
mail: {user: ada@example.org, type: [FAIL, TIME_LIMIT]}
signal_delay_s: 120
"""


def read(tmp_path, text=PROFILE):
    path = tmp_path / "profile.yaml"
    path.write_text(text)
    return profile.with_gpus(profile.read(path), available=False)


def script(tmp_path, kind="transfer", *, text=PROFILE, elements=10, after=()):
    """(options of sbatch, other lines) of the script of an array."""
    chosen = read(tmp_path, text)
    code = tmp_path / "the code"
    asked = batch.parameters("tiny.x.1.000", chosen.resources[kind], chosen, after=after, code=code, elements=elements)
    lines = batch.script(tmp_path / "folder", asked, chosen, elements=elements).splitlines()
    options = [shlex.split(line.removeprefix("#SBATCH "))[0] for line in lines if line.startswith("#SBATCH ")]
    return options, [line for line in lines if line and not line.startswith("#")]


def test_every_field_of_a_profile_is_in_the_script(tmp_path):
    options, lines = script(tmp_path, after=["12_3", "14"])
    assert set(options) == {
        "--job-name=tiny.x.1.000",
        "--partition=gpu",
        "--account=tickets",
        "--qos=high",
        "--constraint=a100",
        "--gpus-per-node=a100:2",
        "--cpus-per-task=8",
        "--mem=61952M",
        "--time=240",
        "--nodes=1",
        "--ntasks-per-node=1",
        "--array=0-9%3",
        "--dependency=afterany:12_3:14",
        "--kill-on-invalid-dep=yes",
        "--requeue",
        "--signal=USR2@120",
        "--exclude=n1,n2",
        "--exclusive",
        "--nice=100",
        "--mail-type=FAIL,TIME_LIMIT",
        "--mail-user=ada@example.org",
        "--open-mode=append",
        f"--output={tmp_path}/folder/%A_%a_0_log.out",
    }
    assert lines[:2] == ["module load cuda", "export A=1"]
    python, command = lines[2], lines[-1]
    # The snapshot comes before what the user has on the path, quoted.
    assert python.startswith(f"export PYTHONPATH='{tmp_path}/the code'")
    words = shlex.split(command)
    assert words[0] == "srun"
    assert "--cpus-per-task=8" in words
    assert "--kill-on-bad-exit=1" not in words
    assert command.endswith(f"singularity exec image python3 -u -m submitit.core._submit {tmp_path}/folder")


def test_what_a_profile_leaves_out_is_left_out(tmp_path):
    options, lines = script(tmp_path, "evaluate", text="defaults: {gpus: 0}")
    assert sorted(option.partition("=")[0] for option in options) == [
        "--array", "--cpus-per-task", "--job-name", "--nodes", "--ntasks-per-node", "--open-mode", "--output",
        "--requeue", "--signal", "--time",
    ]  # fmt: skip
    assert "--array=0-9%10" in options
    assert f"{sys.executable} -u -m submitit.core._submit" in lines[-1]


def test_a_kind_of_stage_asks_for_its_own(tmp_path):
    options, _ = script(tmp_path, "evaluate")
    assert not [option for option in options if option.startswith(("--gpus", "--mem", "--exclude", "--nice"))]
    assert "--array=0-9%10" in options


def test_processes_that_compute_together_end_together(tmp_path):
    options, lines = script(tmp_path, "pretrain")
    assert {"--nodes=2", "--ntasks-per-node=2"} <= set(options)
    assert "--kill-on-bad-exit=1" in shlex.split(lines[-1])


def test_one_element_is_a_job_and_no_array(tmp_path):
    options, _ = script(tmp_path, elements=1)
    assert not [option for option in options if option.startswith("--array")]
    assert f"--output={tmp_path}/folder/%j_0_log.out" in options


def test_the_snapshot_shadows_the_checkout_a_task_starts_in(tmp_path):
    """The set-up lines of the script, run by a shell in a folder with a package of the same name."""
    chosen = read(tmp_path, "setup: [export PYTHONPATH=/users/own]")
    code = tmp_path / "the code"
    for folder, word in ((code, "snapshot"), (tmp_path, "checkout")):
        (folder / "bench").mkdir(parents=True)
        (folder / "bench" / "__init__.py").write_text(f"print('{word}')")
    asked = batch.parameters("x", chosen.resources["prune"], chosen, after=(), code=code, elements=1)
    command = f"{shlex.quote(sys.executable)} -c 'import bench, sys; print(\"/users/own\" in sys.path)'"
    text = "\n".join([*asked["setup"], command])
    assert os.popen(f"cd {tmp_path} && sh -c {shlex.quote(text)}").read().split() == ["snapshot", "True"]


def submit(tmp_path, count, name="tiny.x.1.000"):
    chosen = read(tmp_path, "defaults: {gpus: 0}")
    folder = tmp_path / "folder"
    folder.mkdir(exist_ok=True)
    asked = batch.parameters(name, chosen.resources["prune"], chosen, after=(), code=tmp_path, elements=count)
    # Any function that can be imported: what it is does not matter here.
    return batch.submit(folder, os.path.join, [(str(i), "x") for i in range(count)], asked, chosen), folder


def test_an_array_has_a_file_for_every_element_under_slurms_name(tmp_path, fake_slurm):
    job, folder = submit(tmp_path, 3)
    assert job == "100"
    assert sorted(path.name for path in folder.glob("*.pkl")) == [f"100_{i}_submitted.pkl" for i in range(3)]
    assert pickle.loads((folder / "100_2_submitted.pkl").read_bytes()).args == ("2", "x")
    assert "--array=0-2%3" in fake_slurm.scripts()["100"]


def test_one_element_is_submitted_as_a_job(tmp_path, fake_slurm):
    job, folder = submit(tmp_path, 1)
    assert job == "100"
    assert [path.name for path in folder.glob("*.pkl")] == ["100_submitted.pkl"]
    assert "--array" not in fake_slurm.scripts()["100"]


def test_a_job_inherits_nothing_of_the_job_that_submits_it_nor_the_users_defaults(tmp_path, fake_slurm, monkeypatch):
    surrounding = {
        "SLURM_JOB_ID": "9",
        "SLURM_CPUS_PER_TASK": "4",
        "SUBMITIT_EXECUTOR": "slurm",
        "SUBMITIT_FOLDER": "x",
    }
    for name, value in {**surrounding, "SBATCH_PARTITION": "wrong", "SLURM_CONF": "kept", "OWN": "kept"}.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    submit(tmp_path, 2)
    found = fake_slurm.environment("100")
    assert not [line for line in found if line.startswith(("SLURM_", "SBATCH_", "SUBMITIT_")) and "kept" not in line]
    assert {"SLURM_CONF=kept", "OWN=kept"} <= set(found)
    # And ours is as it was.
    assert dict(os.environ) == before


def test_a_submission_that_may_have_succeeded_is_cancelled_before_it_is_made_again(tmp_path, fake_slurm, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    fake_slurm.fail("sbatch", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    # The controller took it all the same; other jobs of ours stay.
    fake_slurm.answer(
        "squeue",
        "50|50|0|PENDING|None|0:00||tiny.x.1.000\n51|50|1|PENDING|None|0:00||tiny.x.1.000\n"
        "60|60|0|PENDING|None|0:00||tiny.x.1.001\n",
    )
    job, folder = submit(tmp_path, 2)
    assert job == "100"
    assert fake_slurm.calls("scancel") == ["scancel 50"]
    assert len(fake_slurm.calls("sbatch")) == 2
    assert sorted(path.name for path in folder.glob("*.pkl")) == ["100_0_submitted.pkl", "100_1_submitted.pkl"]


def test_without_a_trace_in_the_queue_nothing_is_cancelled(tmp_path, fake_slurm, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    fake_slurm.fail("sbatch", "Unable to contact slurm controller (connect failure)", "Connection refused")
    assert submit(tmp_path, 1)[0] == "100"
    assert fake_slurm.calls("scancel") == []


@pytest.mark.parametrize("said", ["AssocMaxSubmitJobLimit", "QOSMaxSubmitJobPerUserLimit"])
def test_a_limit_is_told_from_a_failure_and_not_tried_again(tmp_path, fake_slurm, said):
    text = f"sbatch: error: {said}"
    fake_slurm.fail("sbatch", text)
    with pytest.raises(LimitReached, match=said):
        submit(tmp_path, 2)
    assert len(fake_slurm.calls("sbatch")) == 1


def test_a_full_job_table_is_a_limit_once_patience_has_ended(tmp_path, fake_slurm, monkeypatch):
    full = "sbatch: error: Batch job submission failed: Resource temporarily unavailable"
    fake_slurm.fail("sbatch", full, full)
    monkeypatch.setattr(controller.retried, "__kwdefaults__", {"patience_s": 0.0, "between": lambda _: None})
    with pytest.raises(LimitReached, match="Resource temporarily unavailable"):
        submit(tmp_path, 2)


def test_a_mistake_is_told_as_slurm_tells_it(tmp_path, fake_slurm):
    fake_slurm.fail("sbatch", "sbatch: error: invalid partition specified: gpuu")
    with pytest.raises(SlurmError) as error:
        submit(tmp_path, 2)
    assert not isinstance(error.value, LimitReached)
    assert str(error.value) == "sbatch: error: invalid partition specified: gpuu"


def test_the_environment_is_back_after_an_error(tmp_path, fake_slurm, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    fake_slurm.fail("sbatch", "sbatch: error: invalid partition specified: gpuu")
    with pytest.raises(SlurmError):
        submit(tmp_path, 1)
    assert os.environ["SLURM_JOB_ID"] == "9"
