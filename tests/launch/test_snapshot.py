"""The code that runs is the code that was submitted, whatever happens to the checkout meanwhile."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from bench import grid
from bench.launch import provenance, snapshot
from bench.plan import plan
from bench.spec import as_json
from bench.store import Store, StoreError

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the packages, which `take` reads in place of this checkout; free to edit."""
    copy = tmp_path / "checkout"
    for package in snapshot.PACKAGES:
        shutil.copytree(CHECKOUT / package, copy / package)
    monkeypatch.setattr(snapshot, "running", lambda: copy)
    return copy


@pytest.fixture(scope="module")
def editable(tmp_path_factory):
    """A Python in which this checkout is installed as `pip install -e` does it: a path file and an import hook."""
    folder = tmp_path_factory.mktemp("editable")
    venv.create(folder, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "site.pth").write_text(f"{sysconfig.get_path('purelib')}\n{CHECKOUT}\nimport editable_finder\n")
    (site / "editable_finder.py").write_text(
        "import importlib.machinery, sys\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        f"        return importlib.machinery.PathFinder.find_spec(name, [{str(CHECKOUT)!r}])\n"
        "sys.meta_path.append(Finder)\n"
    )
    return folder / "bin" / "python"


def run(python, text, *arguments, path=None):
    """What a Python started in the checkout's folder prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if path is not None:
        environment |= {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    command = [str(python), "-c", text, *map(str, arguments)]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def contents(folder):
    return {path: (folder / path).read_bytes() for path in snapshot.files(folder)}


def test_a_snapshot_holds_the_code_and_the_data_it_reads_and_nothing_else(checkout, tmp_path):
    (checkout / "analysis" / "published" / "notes.txt").write_text("stray")
    (checkout / "bench" / "notes.txt").write_text("stray")
    (checkout / "bench" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "bench" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_x.py").write_text("")
    taken = snapshot.take(tmp_path / "runs")
    names = {path.relative_to(taken).as_posix() for path in taken.rglob("*") if path.is_file()}
    code = {
        path.relative_to(checkout).as_posix()
        for package in snapshot.PACKAGES
        for path in (checkout / package).rglob("*.py")
    }
    data = {name for name in names if not name.endswith(".py")} - {"snapshot.json"}
    assert names == code | data | {"snapshot.json"}
    assert {str(Path(name).parent) + Path(name).suffix for name in data} == {
        "analysis/published.csv", "analysis/report.css", "analysis/report.j2", "analysis/report.js",
    }  # fmt: skip
    assert contents(taken) == contents(checkout)


def test_the_package_data_are_those_of_the_installation():
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    assert {name: tuple(patterns) for name, patterns in snapshot.DATA.items()} == {
        name: tuple(patterns) for name, patterns in project["tool"]["setuptools"]["package-data"].items()
    }


def test_a_snapshot_is_named_by_its_hash_and_says_where_it_came_from(tmp_path):
    taken = snapshot.take(tmp_path / "runs")
    about = json.loads((taken / "snapshot.json").read_text())
    assert taken.parent == tmp_path / "runs" / "slurm" / "code"
    assert about["hash"] == snapshot.digest(CHECKOUT) == snapshot.digest(taken)
    assert taken.name == about["hash"][:12]
    assert about["files"] == snapshot.digests(taken)
    assert {"commit": about["commit"], "dirty": about["dirty"]} == snapshot.origin(CHECKOUT)


def test_the_hash_is_of_paths_and_contents(checkout):
    hashes = [snapshot.digest(checkout)]
    (checkout / "bench" / "cost.py").write_text("# other\n")
    hashes.append(snapshot.digest(checkout))
    (checkout / "bench" / "cost.py").rename(checkout / "bench" / "price.py")
    hashes.append(snapshot.digest(checkout))
    (checkout / "bench" / "price.py").unlink()
    hashes.append(snapshot.digest(checkout))
    (checkout / "bench" / "notes.txt").write_text("not code")
    assert len(set(hashes)) == 4
    assert snapshot.digest(checkout) == hashes[-1]


def test_editing_the_checkout_changes_nothing_in_a_snapshot_and_makes_another(checkout, tmp_path):
    first = snapshot.take(tmp_path / "runs")
    before = contents(first)
    (checkout / "bench" / "cost.py").write_text("raise SystemExit('edited')\n")
    (checkout / "bench" / "store.py").unlink()
    assert contents(first) == before
    second = snapshot.take(tmp_path / "runs")
    assert second != first
    assert (second / "bench" / "cost.py").read_text() == "raise SystemExit('edited')\n"
    assert contents(first) == before


def test_an_existing_snapshot_serves_again(tmp_path):
    first = snapshot.take(tmp_path / "runs")
    written = (first / "snapshot.json").stat().st_mtime_ns
    assert snapshot.take(tmp_path / "runs") == first
    assert (first / "snapshot.json").stat().st_mtime_ns == written
    assert os.listdir(first.parent) == [first.name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "bench" / "cost.py").unlink(),
        lambda folder: (folder / "bench" / "cost.py").write_text("# cut"),
        lambda folder: (folder / "bench" / "extra.py").write_text(""),
        lambda folder: (folder / "snapshot.json").unlink(),
        lambda folder: (folder / "snapshot.json").write_text("{"),
        lambda folder: shutil.rmtree(folder / "bench"),
    ],
    ids=["missing", "changed", "added", "no record", "torn record", "half gone"],
)
def test_a_damaged_snapshot_is_not_trusted_nor_touched(tmp_path, damage):
    first = snapshot.take(tmp_path / "runs")
    damage(first)
    left = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    second = snapshot.take(tmp_path / "runs")
    assert second.name == f"{first.name}-2"
    assert snapshot.digest(second) == snapshot.digest(CHECKOUT)
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == left
    assert snapshot.take(tmp_path / "runs") == second


def test_a_file_edited_while_it_is_copied_is_named_by_what_was_copied(checkout, tmp_path, monkeypatch):
    copyfile = shutil.copyfile

    def edited(source, target):
        (checkout / "bench" / "cost.py").write_text("# edited under the copy\n")
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", edited)
    taken = snapshot.take(tmp_path / "runs")
    assert (
        json.loads((taken / "snapshot.json").read_text())["hash"] == snapshot.digest(taken) == snapshot.digest(checkout)
    )


def test_processes_that_take_one_at_once_get_the_same(tmp_path):
    text = "import sys; from pathlib import Path; from bench.launch import snapshot; print(snapshot.take(Path(sys.argv[1])))"
    command = [sys.executable, "-c", text, str(tmp_path / "runs")]
    processes = [subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    places = {process.communicate()[0].strip() for process in processes}
    (place,) = places
    assert [process.returncode for process in processes] == [0] * 4
    # Nothing half-made is left beside it.
    assert os.listdir(Path(place).parent) == [Path(place).name]


def test_a_process_that_loses_the_race_takes_the_winners(checkout, tmp_path, monkeypatch):
    write = snapshot.write_json

    def overtaken(path, about):
        write(path, about)
        winner = path.parents[1] / about["hash"][:12]
        shutil.copytree(path.parent, winner)

    monkeypatch.setattr(snapshot, "write_json", overtaken)
    taken = snapshot.take(tmp_path / "runs")
    assert os.listdir(taken.parent) == [taken.name] == [snapshot.digest(checkout)[:12]]


def test_a_root_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        snapshot.take(tmp_path / "file")


def test_python_imports_the_snapshot_although_it_is_started_in_a_checkout_that_is_installed(editable, tmp_path):
    taken = snapshot.take(tmp_path / "runs")
    text = "import bench.spec, analysis; print(bench.__file__, bench.spec.__file__, analysis.__file__, sep='\\n')"
    assert all(Path(line).is_relative_to(CHECKOUT) for line in run(editable, text).splitlines())
    assert all(Path(line).is_relative_to(taken) for line in run(editable, text, path=taken).splitlines())


@pytest.mark.slow
def test_the_manifest_of_a_stage_that_ran_from_a_snapshot_names_it(editable, checkout, tmp_path, tiny, data_root):
    taken = snapshot.take(tmp_path / "runs")
    about = json.loads((taken / "snapshot.json").read_text())
    (checkout / "bench" / "launch" / "task.py").write_text("raise SystemExit('edited')\n")
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "pretraining": ["random"], "pruner": ["dense"], "sparsity": [0.0]}))
    (stage,) = (stage for stage in plan(grid.read(path)).stages.values() if stage.kind == "pretrain")
    text = (
        "import json, sys; from pathlib import Path\n"
        "from bench.launch.task import Settings, run_stage; from bench.spec import from_json\n"
        "settings = Settings(root=Path(sys.argv[1]), data_root=Path(sys.argv[2]))\n"
        "print(run_stage(from_json(json.loads(sys.argv[3])), settings))"
    )
    said = run(editable, text, tmp_path / "runs", data_root, json.dumps(as_json(stage)), path=taken)
    assert "status='done'" in said
    made = Store(tmp_path / "runs").open(stage.key).manifest["made"]
    assert (made["code"], made["commit"], made["dirty"]) == (about["hash"], about["commit"], about["dirty"])
    assert made["code"] == snapshot.digest(taken) != snapshot.digest(checkout)


def test_commit_and_hash_of_a_snapshot_are_its_own_not_those_of_a_checkout_around_it(tmp_path):
    taken = snapshot.take(tmp_path / "checkout" / "runs")
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path / "checkout", check=True)
    assert snapshot.origin(taken) == snapshot.origin(CHECKOUT)
    (taken / "bench" / "cost.py").write_text("# edited\n")
    assert snapshot.origin(taken) == {"commit": snapshot.origin(CHECKOUT)["commit"], "dirty": True}
    (taken / "snapshot.json").write_text("{")
    assert snapshot.origin(taken) == {"commit": "unknown", "dirty": True}


def test_the_commit_of_an_installation_without_git_is_unknown(tmp_path):
    (tmp_path / "bench").mkdir()
    assert snapshot.origin(tmp_path) == {"commit": "unknown", "dirty": False}


def test_the_running_code_is_this_checkout():
    assert snapshot.running() == CHECKOUT
    assert provenance.code() == {**snapshot.origin(CHECKOUT), "code": snapshot.digest(CHECKOUT)}


@pytest.mark.parametrize(
    ("environ", "job", "restarts"),
    [
        ({}, "", 0),
        ({"SLURM_JOB_ID": "123"}, "123", 0),
        ({"SLURM_JOB_ID": "127", "SLURM_ARRAY_JOB_ID": "123", "SLURM_ARRAY_TASK_ID": "0"}, "123_0", 0),
        ({"SLURM_JOB_ID": "127", "SLURM_ARRAY_JOB_ID": "123", "SLURM_ARRAY_TASK_ID": "4", "SLURM_RESTART_COUNT": "2"}, "123_4", 2),
    ],
)  # fmt: skip
def test_a_record_names_the_job_it_was_made_in(environ, job, restarts):
    assert (provenance.job(environ), provenance.restarts(environ)) == (job, restarts)
