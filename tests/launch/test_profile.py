import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from bench.launch import profile
from bench.launch.resources import TRAINING
from bench.launch.sbatch_options import FIELDS, OWN, option_problem
from bench.spec import KINDS

SLURM = Path(__file__).parents[2] / "slurm"
SHIPPED = sorted(SLURM.glob("*.yaml"))


@pytest.fixture
def write_profile(tmp_path):
    def write(content):
        path = tmp_path / "cluster.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def test_stages_differ_from_the_defaults_where_they_say_so(write_profile):
    found = profile.read(
        write_profile(
            {
                "defaults": {"partition": "long", "cpus": 4, "memory_gb": 8, "target_minutes": 30},
                "stages": {"pretrain": {"cpus": 16, "target_minutes": None}, "evaluate": {"partition": None}},
            }
        )
    )
    shown = {kind: (r.partition, r.cpus, r.memory_gb, r.target_minutes) for kind, r in found.resources.items()}
    assert shown == {
        "pretrain": ("long", 16, 8.0, None),
        "prune": ("long", 4, 8.0, 30.0),
        "transfer": ("long", 4, 8.0, 30.0),
        "evaluate": (None, 4, 8.0, 30.0),
    }


def test_every_kind_of_stage_has_resources(write_profile):
    found = profile.read(write_profile("{}"))
    assert tuple(found.resources) == KINDS
    assert set(profile.StagesFile.model_fields) == set(KINDS)
    assert set(TRAINING) < set(KINDS)


def test_the_continuation_runs_where_the_defaults_say_and_asks_for_little(write_profile):
    path = write_profile(
        {
            "defaults": {"partition": "gpu", "account": "a", "gpus": 4, "cpus": 32, "sbatch": {"reservation": "r"}},
            "continuation": {"partition": "cpu", "memory_gb": 4},
        }
    )
    assert profile.read(path).continuation == profile.Resources(
        partition="cpu", account="a", gpus=0, cpus=1, memory_gb=4.0, minutes=30, sbatch=(("reservation", "r"),)
    )


def test_overrides_replace_fields(write_profile):
    found = profile.read(
        write_profile({"defaults": {"cpus": 4}}), ["defaults.cpus=6", "stages.prune.minutes=7", "max_jobs=9"]
    )
    assert (found.resources["pretrain"].cpus, found.resources["prune"].minutes, found.max_jobs) == (6, 7, 9)


def test_mail_goes_out_at_the_end_and_on_failure_unless_said_otherwise(write_profile):
    asked = [{}, {"mail": {"user": "a@b"}}, {"mail": {"type": ["ALL"]}}]
    found = [profile.read(write_profile(content)) for content in asked]
    assert [(one.mail_user, one.mail_type) for one in found] == [(None, ()), ("a@b", ("END", "FAIL")), (None, ("ALL",))]


def test_auto_is_one_gpu_where_there_are_any(write_profile):
    found = profile.read(write_profile({"stages": {"pretrain": {"gpus": 4}, "evaluate": {"gpus": 0}}}))
    with_any, without = profile.with_gpus(found, True), profile.with_gpus(found, False)
    assert [r.gpus for r in found.resources.values()] == [4, "auto", "auto", 0]
    assert [r.gpus for r in with_any.resources.values()] == [4, 1, 1, 0]
    assert [r.gpus for r in without.resources.values()] == [4, 0, 0, 0]


def test_equal_resources_are_one_group(write_profile):
    found = profile.read(write_profile({"defaults": {"sbatch": {"exclusive": True, "comment": "x"}}}))
    assert len(set(found.resources.values())) == 1
    assert found.resources["prune"].sbatch == (("comment", "x"), ("exclusive", True))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_resolved_copy_reads_back_equal(write_profile, path):
    found = profile.with_gpus(profile.read(path), True)
    copy = write_profile(profile.as_yaml(found))
    again = profile.read(copy)
    assert again == found
    assert again.path == copy
    # Nothing is left to defaults: every field is written out.
    written = yaml.safe_load(copy.read_text())
    assert all(
        set(written["stages"][kind]) == {f.name for f in dataclasses.fields(profile.Resources)} for kind in KINDS
    )


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        ({"stages": {"pretrain": {"minuts": 3}}}, "minuts", 'unknown field "stages.pretrain.minuts" (known: account, '),
        ({"stages": {"pretrain": {"minuts": 3}}}, "minuts", 'Did you mean "minutes"?'),
        ({"stages": {"evaluation": {}}}, "evaluation", '(known: evaluate, pretrain, prune, transfer). Did you mean "evaluate"?'),
        ({"continuation": {"pack": 3}}, "pack", 'unknown field "continuation.pack"'),
        ({"partition": "gpu"}, "partition", 'unknown field "partition" (known: continuation, defaults, '),
        ({"defaults": {"cpus": 0}}, "cpus", "defaults.cpus is 0; input should be greater than or equal to 1"),
        ({"defaults": {"cpus": "4"}}, "cpus", "defaults.cpus is '4'; input should be a valid integer"),
        ({"defaults": {"cpus": None}}, "cpus", "defaults.cpus is None; input should be a valid integer"),
        ({"defaults": {"cpus": True}}, "cpus", "defaults.cpus is True"),
        ({"defaults": {"memory_gb": float("inf")}}, "memory_gb", "defaults.memory_gb is inf; input should be a finite number"),
        ({"defaults": {"qos": ""}}, "qos", "defaults.qos is ''; string should have at least 1 character"),
        ({"defaults": {"gpus": "some"}}, "gpus", "defaults.gpus is 'some'; write auto, or a number of GPUs per node"),
        ({"defaults": {"gpus": -1}}, "gpus", "defaults.gpus is -1; write auto"),
        ({"defaults": None}, "defaults", "defaults is None; input should be a dictionary"),
        ({"setup": "module load x"}, "setup", "setup is 'module load x'; input should be a valid list"),
        ({"mail": {"user": "a@b", "type": ["DONE"]}}, "- DONE", "mail.type.0 is 'DONE'; input should be 'BEGIN', 'END', 'FAIL'"),
        ({"max_jobs": 0}, "max_jobs", "max_jobs is 0"),
        ({"signal_delay_s": 0}, "signal_delay_s", "signal_delay_s is 0"),
        ({"disk_wait_minutes": -1}, "disk_wait_minutes", "disk_wait_minutes is -1"),
        ({"defaults": {"minutes": 3}, "signal_delay_s": 180}, "minutes", "the time limit of 3 minutes is not above signal_delay_s 180"),
        ({"defaults": {"target_minutes": 300}}, "target_minutes", "target_minutes 300 is above the time limit of 240 minutes"),
        ({"stages": {"evaluate": {"nodes": 2}}}, "nodes", "evaluate: runs in one process; set nodes and tasks_per_node to 1"),
        ({"stages": {"prune": {"gpus": 6, "tasks_per_node": 4}}}, "gpus", "prune: gpus 6 is not a multiple of tasks_per_node 4"),
        ({"stages": {"prune": {"tasks_per_node": 4}}}, "tasks_per_node", "gpus auto is one GPU per node; write gpus: 4, or 0"),
        ({"stages": {"prune": {"nodes": 2, "concurrent": 3}}}, "concurrent", "concurrent 3 needs nodes 1 and tasks_per_node 1, not 2 tasks"),
        ({"defaults": {"sbatch": {"array": "0-3"}}}, "array", 'sbatch option "array" is set by the suite: arrays follow from the grid'),
        ({"stages": {"prune": {"sbatch": {"time": 3}}}}, "time", 'sbatch option "time" is set by the suite; use the field minutes'),
        ({"continuation": {"sbatch": {"mem": "4G"}}}, "mem", "use the field memory_gb"),
        ({"defaults": {"sbatch": {"nice": 1.5}}}, "nice", '"nice" is 1.5; write a word, a whole number, or true'),
        ({"defaults": {"sbatch": ["exclusive"]}}, "sbatch", "write a mapping of sbatch options to values"),
        ("defaults: [", None, "not YAML"),
        ("", None, "is not a mapping of fields to values (see slurm/gpu.yaml)"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_refused_with_its_line(write_profile, content, line, message):
    path = write_profile(content)
    with pytest.raises(profile.ProfileError) as error:
        profile.read(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    if line is not None:
        number = int(re.search(r", line (\d+):", str(error.value))[1])
        assert path.read_text().splitlines()[number - 1].strip().startswith(line)


def test_a_problem_of_the_defaults_is_said_once_for_all_kinds(write_profile):
    with pytest.raises(profile.ProfileError) as error:
        profile.read(
            write_profile({"defaults": {"gpus": 2, "tasks_per_node": 4}, "stages": {"evaluate": {"tasks_per_node": 1}}})
        )
    (line,) = str(error.value).splitlines()
    assert "line 2: pretrain, prune, transfer: gpus 2 is not a multiple" in line


def test_a_missing_profile_is_named_with_where_the_shipped_ones_are(tmp_path):
    with pytest.raises(profile.ProfileError, match=r"there is no such file\. Shipped profiles are in slurm/"):
        profile.read(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", [*FIELDS, *OWN])
def test_options_that_the_suite_sets_are_refused_however_they_are_written(name):
    for written in (name, f"--{name}", name.replace("-", "_")):
        problem = option_problem(written, "x")
        assert "is set by the suite" in problem
        assert f"use the field {FIELDS[name]}" in problem if name in FIELDS else OWN[name] in problem


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("part", "gpu", "use the field partition"),
        ("p", "gpu", "use the field partition"),
        ("--reservation", "x", "without dashes in front"),
        ("gres", "gpu:2", "use the fields gpus and gpu_type"),
        ("gres", "lscratch:100", ""),
        ("reservation", "x", ""),
        ("exclusive", True, ""),
        ("exclusive", False, "write a word"),
        ("nice", 100, ""),
        ("x", "y", "without dashes in front"),
        (7, "y", "without dashes in front"),
    ],
)  # fmt: skip
def test_other_options_pass_under_their_long_names(name, value, message):
    problem = option_problem(name, value)
    assert message in problem
    assert bool(problem) is bool(message)


def test_fields_named_in_refusals_exist():
    fields = {f.name for f in dataclasses.fields(profile.Resources)} | set(profile.ProfileFile.model_fields)
    assert set(FIELDS.values()) <= fields


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid_and_names_the_schema(path):
    profile.read(path)
    assert path.read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"


def test_the_default_profile_asks_for_nothing_that_a_cluster_may_lack():
    found = profile.read(SLURM / "default.yaml")
    for asked in (*found.resources.values(), found.continuation):
        assert (asked.partition, asked.account, asked.qos, asked.constraint, asked.memory_gb) == (None,) * 5
        assert asked.sbatch == ()
        assert asked.processes == 1
    assert {asked.gpus for asked in found.resources.values()} == {"auto"}


def test_the_exported_schema_is_current_and_knows_every_field():
    text = (SLURM / "schema.json").read_text()
    assert text == profile.schema(), "run: python -m bench.launch.profile > slurm/schema.json"
    found = json.loads(text)
    assert set(found["properties"]) == set(profile.ProfileFile.model_fields)
    assert set(found["$defs"]["Resources"]["properties"]) == {f.name for f in dataclasses.fields(profile.Resources)}
    assert found["$defs"]["Resources"]["additionalProperties"] is False
