import csv
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.__main__ import main
from bench.grid import read
from bench.plan import plan


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_that_has_not_run_is_all_missing_and_no_error(tiny_grid, tmp_path, capsys):
    assert main([str(tiny_grid), "--root", str(tmp_path / "runs")]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny"
    assert {line["reason"] for line in lines(out / "missing.csv")} == {"not run"}
    assert len(lines(out / "missing.csv")) == len(lines(out / "rows.csv")) == 4
    printed = capsys.readouterr().out
    assert "4 results planned: 4 missing" in printed
    assert "nothing" in printed.lower()


def test_a_half_finished_grid_has_a_leaderboard_of_what_is_complete(tiny_grid, publish, tmp_path, capsys):
    publish(tiny_grid, tmp_path / "runs")
    assert main([str(tiny_grid), "--root", str(tmp_path / "runs")]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny"
    dense, omp = lines(out / "leaderboards" / "digits_accuracy.csv")
    assert (dense["pruner"], dense["rank"], dense["mean"], dense["n"]) == ("dense", "1", "0.905", "2")
    assert (omp["pruner"], omp["rank"], omp["n"], omp["n_planned"], omp["complete"]) == ("omp", "", "1", "2", "False")
    assert [line["metric"] for line in lines(out / "missing.csv")] == ["accuracy"]
    printed = capsys.readouterr().out
    assert "4 results planned: 3 done, 1 missing" in printed
    assert f"Written to {out}/: " in printed
    assert "3 of 4 planned results are done" in printed.replace("\n", " ")


def test_overrides_and_out_are_taken(tiny_grid, tmp_path):
    assert (
        main([str(tiny_grid), "--out", str(tmp_path / "here"), "seed=[0, 1, 2]", "--root", str(tmp_path / "runs")]) == 0
    )
    assert len(lines(tmp_path / "here" / "rows.csv")) == 6
    assert not (tmp_path / "runs" / "analysis").exists()


def test_a_selection_keeps_its_dense_references_and_has_its_own_folder(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs")
    assert main([str(tiny_grid), "--root", str(tmp_path / "runs"), "--only", "pruner=omp", "--only", "seed=0"]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny_only_pruner=omp_seed=0"
    found = {line["pruner"]: line for line in lines(out / "leaderboards" / "digits_accuracy.csv")}
    assert found["omp"]["diff_mean"] == "-0.1"
    assert found["dense"]["n_planned"] == "1"


def test_the_root_comes_from_the_environment(tiny_grid, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETBENCH_ROOT", str(tmp_path / "elsewhere"))
    assert main([str(tiny_grid)]) == 0
    assert (tmp_path / "elsewhere" / "analysis" / "tiny" / "rows.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.yaml"], "absent.yaml: there is no such file"),
        (["{grid}", "pruner=[synfow]"], 'pruner "synfow" is not in bench/catalog.py'),
        (["{grid}", "--only", "colour=red"], "--only colour=red: write axis=value"),
        (["{grid}", "--margin", "accuracy=high"], "--margin accuracy=high: write metric=value with a positive number"),
        (["{grid}", "--tasks", "digits,cifar10"], 'no ticket is planned for "cifar10" (known: digits)'),
        (["seed=[0]"], "no grid and no rows.csv among seed=[0]"),
        (["{csv}"], "theirs.csv has no column architecture"),
        (["{csv}", "seed=[0]"], "seed=[0] replaces a field of a grid, but only CSV files were given"),
        (["{csv}.csv"], "theirs.csv.csv: No such file or directory"),
        (["{grid}", "--out", "{grid}"], "tiny.yaml: File exists"),
        (["{grid}", "--out", "{grid}/below"], "tiny.yaml/below: Not a directory"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(tiny_grid, tmp_path, capsys, arguments, message):
    csv_file = tmp_path / "theirs.csv"
    csv_file.write_text("value\n0.5\n")
    filled = [argument.format(grid=tiny_grid, csv=csv_file) for argument in arguments]
    assert main([*filled, "--root", str(tmp_path / "runs")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_torch_is_never_imported(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs")
    code = (
        "import sys; from analysis.__main__ import main; "
        f"assert main([{str(tiny_grid)!r}, '--root', {str(tmp_path / 'runs')!r}]) == 0; "
        "print(sorted(name for name in sys.modules if name in ('torch', 'ffcv', 'numba', 'matplotlib.pyplot')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_rows_alone_need_no_package_of_training(tmp_path):
    theirs = tmp_path / "theirs.csv"
    theirs.write_text(
        "architecture,pretraining,source,pruner,sparsity,dataset,transfer,objective,fraction,seed,metric,value\n"
        + "".join(f"resnet8,supervised,letters,omp,0.9,digits,linear,standard,1,{i},accuracy,0.9{i}\n" for i in (0, 1))
    )
    code = (
        f"import sys; from analysis.__main__ import main; assert main([{str(theirs)!r}]) == 0; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert {"analysis", "numpy", "jinja2"} < loaded
    assert loaded.isdisjoint({"torch", "torchvision", "ffcv", "numba", "sklearn", "submitit", "statsmodels", "cv2"})


def test_the_shipped_demo_grid_compiles(tmp_path):
    assert main(["grids/demo.yaml", "--root", str(tmp_path)]) == 0
    assert len(lines(tmp_path / "analysis" / "demo" / "rows.csv")) > 400


def test_rows_hold_what_the_store_holds(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs")
    main([str(tiny_grid), "--root", str(tmp_path / "runs")])
    rows = lines(tmp_path / "runs" / "analysis" / "tiny" / "rows.csv")
    first = next(row for row in rows if row["pruner"] == "omp" and row["seed"] == "0" and row["metric"] == "accuracy")
    planned = plan(read(tiny_grid))
    cells = {(c.pruner.name, c.seed): stages for c, stages in zip(read(tiny_grid).cells, planned.cells, strict=True)}
    stages = cells["omp", 0]
    assert (first["key"], first["ticket"]) == (stages.evaluate[0], stages.ticket)
    assert (first["value"], first["commit"], first["round"], first["grid"]) == ("0.8", "0123abc", "10", "tiny")


def test_written_rows_alone_give_the_same_leaderboards_beside_them(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs")
    main([str(tiny_grid), "--root", str(tmp_path / "runs")])
    copied = tmp_path / "laptop" / "rows.csv"
    copied.parent.mkdir()
    copied.write_bytes((tmp_path / "runs" / "analysis" / "tiny" / "rows.csv").read_bytes())
    assert main([str(copied)]) == 0
    for name in ("leaderboards/digits_accuracy.csv", "tables/maxima.csv", "tables/comparisons.csv", "missing.csv"):
        there = tmp_path / "runs" / "analysis" / "tiny" / name
        assert (tmp_path / "laptop" / "analysis" / name).read_bytes() == there.read_bytes()


def test_a_grid_and_rows_of_others_share_one_leaderboard(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs", count=4)
    theirs = tmp_path / "theirs.csv"
    theirs.write_text(
        "architecture,pretraining,source,pruner,sparsity,dataset,transfer,objective,fraction,seed,metric,value\n"
        + "".join(f"resnet8,supervised,letters,theirs,0.9,digits,linear,standard,1,{i},accuracy,0.95\n" for i in (0, 1))
    )
    assert main([str(tiny_grid), str(theirs), "--root", str(tmp_path / "runs")]) == 0
    found = lines(tmp_path / "runs" / "analysis" / "tiny+theirs" / "leaderboards" / "digits_accuracy.csv")
    assert [(line["grid"], line["pruner"], line["rank"]) for line in found] == [
        ("theirs", "theirs", "1"), ("tiny", "dense", "2"), ("tiny", "omp", "3"),
    ]  # fmt: skip


def test_margins_and_the_bootstrap_are_taken(tiny_grid, publish, tmp_path):
    publish(tiny_grid, tmp_path / "runs", count=4)
    asked = ["--margin", "accuracy=0.2", "--interval", "bootstrap", "--format", "markdown", "--format", "latex"]
    assert main([str(tiny_grid), "--root", str(tmp_path / "runs"), *asked]) == 0
    out = tmp_path / "runs" / "analysis" / "tiny"
    _, omp = lines(out / "leaderboards" / "digits_accuracy.csv")
    assert (omp["margin"], omp["ci_low"], omp["ci_high"]) == ("0.2", "0.797929", "0.812071")
    assert (out / "REPORT.md").is_file()
    assert list((out / "latex").glob("*.tex"))
    assert not (out / "report.html").exists()
