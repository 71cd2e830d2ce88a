"""The set-up script, without installing anything: PATH holds no more than the tools it needs to look around."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("sh", "cat", "cksum", "dirname", "id", "xargs", "echo")


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / ".ci").mkdir()
    for name in (".ci/setup", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    tools = checkout / "tools"
    if not tools.exists():
        tools.mkdir()
        for name in TOOLS:
            (tools / name).symlink_to(shutil.which(name))
    environment = {"PATH": str(tools), **variables}
    return subprocess.run([checkout / ".ci/setup"], env=environment, capture_output=True, text=True, check=False)


def finish(checkout: Path) -> None:
    """Leave what a finished set-up leaves."""
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to("/bin/true")
    pins = 'echo "$(pwd -P) $(cat pyproject.toml constraints.txt | cksum)" >.venv/ticketbench-ready'
    subprocess.run(["sh", "-c", pins], cwd=checkout, check=True)


def test_missing_system_packages_are_named_for_apt_and_conda(checkout):
    done = run(checkout)
    assert done.returncode == 2
    assert (
        "apt-get install python3 python3-venv python3-dev g++ pkg-config libopencv-dev libturbojpeg0-dev" in done.stderr
    )
    assert "conda install -c conda-forge 'python>=3.11' opencv libjpeg-turbo pkg-config compilers" in done.stderr
    assert not (checkout / ".venv").exists()


def test_an_unusable_interpreter_is_named(checkout):
    done = run(checkout, PYTHON="/nowhere/python")
    assert done.returncode == 2
    assert "PYTHON=/nowhere/python is not a Python of at least 3.11" in done.stderr


def test_a_finished_set_up_is_left_alone(checkout):
    finish(checkout)
    done = run(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_pins_are_set_up_again(checkout, name):
    finish(checkout)
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    assert run(checkout).returncode == 2


def test_a_copied_checkout_is_set_up_again(checkout, tmp_path_factory):
    finish(checkout)
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    shutil.copytree(checkout, copy, symlinks=True)
    assert run(copy).returncode == 2


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in pins if not line.startswith("#")}
    extras = project["optional-dependencies"]
    assert "ticketbench[text]" in extras["test"]
    wanted = [*project["dependencies"], *extras["test"], *extras["text"]]
    assert {re.split(r"[<>=[]", name)[0].lower() for name in wanted} - {"ticketbench"} <= pinned
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*", line) for line in pins if not line.startswith("#"))
