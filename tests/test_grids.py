"""The shipped grids that run offline, end to end; the others as plans."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis import __main__ as analysis
from bench import grid, submit
from bench.catalog import ARCHITECTURES
from bench.plan import plan
from bench.results import rows

GRIDS = Path(__file__).parents[1] / "grids"
# The smoke grid is at toy size already.
TOYS = [path for path in sorted(GRIDS.glob("*.yaml")) if path.stem != "smoke"]


@pytest.mark.slow
def test_smoke_runs_to_complete_rows_and_a_leaderboard(data_root, tmp_path, capsys):
    path, root = GRIDS / "smoke.yaml", tmp_path / "runs"
    assert (
        submit.main(
            [str(path), "--data", str(data_root), "--root", str(root), "--workers", "2", "--cluster", "local", "--yes"]
        )
        == 0
    )
    found = rows(plan(grid.read(path)), root=root)
    assert {row.status for row in found} == {"done"}
    assert analysis.main([str(path), "--root", str(root), "--figures", "1"]) == 0
    assert (root / "analysis" / "smoke" / "leaderboards" / "digits_accuracy.csv").exists()
    assert (root / "analysis" / "smoke" / "missing.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(("name", "needs"), [("resnet18", "torchvision:resnet18"), ("resnet50", "imagenet")])
def test_a_plan_without_its_data_names_the_commands(tmp_path, capsys, name, needs):
    arguments = [
        str(GRIDS / f"{name}.yaml"),
        "--root",
        str(tmp_path / "runs"),
        "--data",
        str(tmp_path / "data"),
        "--cluster",
        "local",
    ]
    assert submit.main([*arguments, "--dry-run"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"python -m bench.prepare {needs} --data" in printed
    assert "upstream and" in printed
    assert not (tmp_path / "runs").exists()
    assert submit.main([*arguments, "--yes"]) == 2
    assert "python -m bench.prepare cifar10 --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{grid}", "--workers", "0"], "--workers 0: give at least 1"),
        (["{grid}", "--only", "pruner=lmp"], "no cell of"),
        (["{grid}", "seed=["], "the value is not YAML"),
        (["{grid}/below"], "cannot be read"),
        (["{folder}"], "cannot be read"),
        (["{grid}", "--root", "{grid}"], "cannot be"),
        (["{grid}", "--root", "{grid}/below"], "cannot be"),
        (["{grid}", "--device", "cuda"], "nvidia-smi shows no GPU here"),
    ],
)
def test_a_bad_command_line_is_one_sentence_and_exit_code_2(
    write_grid, data_root, tmp_path, capsys, monkeypatch, arguments, message
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    filled = [argument.format(grid=write_grid(), folder=tmp_path) for argument in arguments]
    root = [] if "--root" in arguments else ["--root", str(tmp_path / "runs")]
    assert submit.main([*filled, *root, "--data", str(data_root), "--cluster", "local", "--yes"]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("bench.submit: ")
    assert "Traceback" not in printed.err


def test_damaged_files_of_an_embedded_set_are_written_again(write_grid, data_root, tmp_path, capsys):
    copy = tmp_path / "data"
    shutil.copytree(data_root, copy)
    victim = copy / "beton" / "digits" / "test-8.beton"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-100])
    grid = write_grid({"pruner": ["dense"]})
    arguments = [str(grid), "--data", str(copy), "--root", str(tmp_path / "runs"), "--cluster", "local"]
    assert submit.main([*arguments, "--yes"]) == 0
    assert f"Writing digits (test, 8 px) to {copy}." in capsys.readouterr().out
    assert victim.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.parametrize("path", TOYS, ids=lambda path: path.stem)
def test_every_shipped_grid_runs_end_to_end_at_toy_size(path, tmp_path, capsys, monkeypatch):
    """The command of the README, on an empty folder and without any data set."""
    # The other cores are the other test workers': two runs with two threads each on two cores take twice as long.
    monkeypatch.setattr(submit, "cores", lambda: 1)
    places = ["--root", str(tmp_path / "runs"), "--data", str(tmp_path / "data")]
    arguments = [str(path), "--toy", *places, "--cluster", "local", "--workers", "1", "--yes"]
    assert submit.main(arguments) == 0, "".join(capsys.readouterr())
    assert analysis.main([str(path), "toy=true", "--root", str(tmp_path / "runs"), "--figures", "1"]) == 0
    out = tmp_path / "runs" / "analysis" / f"{path.stem}-toy"
    rows = pd.read_csv(out / "rows.csv")
    assert set(rows["status"]) == {"done"}
    assert len(pd.read_csv(out / "missing.csv")) == 0
    assert (out / "report.html").stat().st_size > 100_000
    # Every word of the real grid but its data sets is there.
    real = grid.read(path)
    for axis in ("objective", "transfer", "granularity"):
        assert set(rows[axis]) == {str(getattr(cell, axis)) for cell in real.cells}, axis
    networks = {cell.architecture for cell in real.cells}
    assert set(rows["architecture"]) == {ARCHITECTURES[word.name].toy or str(word) for word in networks}
    assert set(rows["pruner"].str.partition("(")[0]) == {cell.pruner.name for cell in real.cells}
