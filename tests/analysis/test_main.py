import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from bench.grid import read
from bench.plan import plan
from bench.store import Store

GRID = """
name: tiny
protocol: demo
architecture: [resnet8]
pretraining: [supervised]
pruner: [dense, omp]
sparsity: {rate: 0.2, rounds: [0, 10]}
dataset: [digits]
transfer: [linear]
seed: [0, 1]
evaluate: [accuracy]
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID)
    return path


def publish(grid: Path, root: Path) -> None:
    """Evaluations with accuracy 0.9 (dense) and 0.8 (omp), plus seed / 100; the last one is not there."""
    loaded = read(grid)
    planned = plan(loaded)
    for cell, stages in list(zip(loaded.cells, planned.cells, strict=True))[:-1]:
        accuracy = (0.9 if cell.pruner.name == "dense" else 0.8) + cell.seed / 100
        found = {
            "metrics": {"accuracy": accuracy, "nll": 1 - accuracy},
            "n_examples": 500,
            "ticket": {"sparsity": cell.sparsity, "kept": 100, "prunable": 1000},
        }
        with Store(root).publish(planned.stages[stages.evaluate[0]], {"commit": "0123abc", "seconds": 1.5}) as folder:
            (folder / "metrics.json").write_text(json.dumps(found))


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_that_has_not_run_is_all_missing_and_no_error(grid, tmp_path, capsys):
    assert main([str(grid), "--root", str(tmp_path / "runs")]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny"
    assert {line["reason"] for line in lines(out / "missing.csv")} == {"not run"}
    assert len(lines(out / "missing.csv")) == len(lines(out / "rows.csv")) == 4
    printed = capsys.readouterr().out
    assert "4 results planned: 4 missing" in printed
    assert "nothing to rank" in printed


def test_a_half_finished_grid_has_a_leaderboard_of_what_is_complete(grid, tmp_path, capsys):
    publish(grid, tmp_path / "runs")
    assert main([str(grid), "--root", str(tmp_path / "runs")]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny"
    dense, omp = lines(out / "leaderboard_digits_accuracy.csv")
    assert (dense["pruner"], dense["rank"], dense["mean"], dense["n"]) == ("dense", "1", "0.905000", "2")
    assert (omp["pruner"], omp["rank"], omp["n"], omp["n_planned"], omp["complete"]) == ("omp", "", "1", "2", "False")
    assert [line["metric"] for line in lines(out / "missing.csv")] == ["accuracy"]
    printed = capsys.readouterr().out
    assert "4 results planned: 3 done, 1 missing" in printed
    assert f"Written to {out}/: 1 leaderboard_*.csv, 1 curve_*.png, rows.csv, missing.csv" in printed


def test_overrides_and_out_are_taken(grid, tmp_path):
    assert main([str(grid), "--out", str(tmp_path / "here"), "seed=[0, 1, 2]", "--root", str(tmp_path / "runs")]) == 0
    assert len(lines(tmp_path / "here" / "rows.csv")) == 6
    assert not (tmp_path / "runs").exists()


def test_a_selection_keeps_its_dense_references_and_has_its_own_folder(grid, tmp_path):
    publish(grid, tmp_path / "runs")
    assert main([str(grid), "--root", str(tmp_path / "runs"), "--only", "pruner=omp", "--only", "seed=0"]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny_only_pruner=omp_seed=0"
    found = {line["pruner"]: line for line in lines(out / "leaderboard_digits_accuracy.csv")}
    assert found["omp"]["diff_mean"] == "-0.100000"
    assert found["dense"]["n_planned"] == "1"


def test_the_root_comes_from_the_environment(grid, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETBENCH_ROOT", str(tmp_path / "elsewhere"))
    assert main([str(grid)]) == 0
    assert (tmp_path / "elsewhere" / "analysis" / "tiny" / "rows.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "absent.yaml: there is no such file"),
        (["{grid}", "pruner=[synfow]"], 'pruner "synfow" is not in bench/catalog.py'),
        (["{grid}", "--only", "colour=red"], "--only colour=red: write axis=value"),
        (["{grid}", "--out", "{grid}"], "tiny.yaml: File exists"),
        (["{grid}", "--out", "{grid}/below"], "tiny.yaml/below: Not a directory"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(grid, tmp_path, capsys, arguments, message):
    filled = [argument.format(grid=grid) for argument in arguments]
    assert main([*filled, "--root", str(tmp_path / "runs")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_torch_is_never_imported(grid, tmp_path):
    publish(grid, tmp_path / "runs")
    code = (
        "import sys; from analysis.__main__ import main; "
        f"assert main([{str(grid)!r}, '--root', {str(tmp_path / 'runs')!r}]) == 0; "
        "print(sorted(name for name in sys.modules if name in ('torch', 'ffcv', 'numba', 'matplotlib.pyplot')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_shipped_demo_grid_compiles(tmp_path):
    assert main(["grids/demo.yaml", "--root", str(tmp_path)]) == 0
    assert len(lines(tmp_path / "analysis" / "demo" / "rows.csv")) > 400


def test_rows_hold_what_the_store_holds(grid, tmp_path):
    publish(grid, tmp_path / "runs")
    main([str(grid), "--root", str(tmp_path / "runs")])
    rows = lines(tmp_path / "runs" / "analysis" / "tiny" / "rows.csv")
    first = next(row for row in rows if row["pruner"] == "omp" and row["seed"] == "0" and row["metric"] == "accuracy")
    planned = plan(read(grid))
    cells = {(c.pruner.name, c.seed): stages for c, stages in zip(read(grid).cells, planned.cells, strict=True)}
    stages = cells["omp", 0]
    assert (first["key"], first["ticket"]) == (stages.evaluate[0], stages.ticket)
    assert (first["value"], first["commit"], first["round"], first["grid"]) == ("0.8", "0123abc", "10", "tiny")
