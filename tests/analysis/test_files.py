import csv
import json

import pytest

from analysis import files, schema
from analysis.compiling import compiled
from analysis.frame import COLUMNS, frame

BOARD = "leaderboards/digits_accuracy.csv"
CURVE = "figures/curve_toy_digits_accuracy_linear_standard_last_1.png"


def write(rows, out, **options):
    return files.write(compiled(frame(rows, grid="toy"), name="toy"), out, **options).paths


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_table_and_figure_is_written_and_listed(small_grid, tmp_path):
    written = {str(path.relative_to(tmp_path)) for path in write(small_grid, tmp_path)}
    assert {
        "report.html",
        "rows.csv",
        "missing.csv",
        "datapackage.json",
        BOARD,
        "leaderboards/overall.csv",
        CURVE,
    } < written
    tables = {name.removesuffix(".csv").rpartition("/")[2] for name in written if name.endswith(".csv")}
    assert tables == {"rows", "missing", "digits_accuracy", *schema.TABLES} - {"leaderboard"}
    assert {name.replace(".png", ".svg") for name in written if name.endswith(".png")} == {
        name for name in written if name.endswith(".svg")
    }
    assert set(contents(tmp_path)) == written | {"analysis.json"}
    listed = json.loads((tmp_path / "analysis.json").read_text())
    assert listed["files"] == sorted(written)
    assert (listed["grids"], listed["commits"], listed["rows"]) == (["toy"], ["0123abc"], 12)


def test_a_rebuild_is_byte_identical_whatever_the_order_read(small_grid, tmp_path):
    every = {"formats": ("html", "markdown", "latex")}
    write(small_grid, tmp_path / "first", **every)
    write(small_grid[::-1], tmp_path / "second", **every)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert {"REPORT.md", "report.html"} < set(contents(tmp_path / "first"))


def test_the_data_package_describes_every_column_of_every_table(small_grid, tmp_path):
    write(small_grid, tmp_path)
    resources = json.loads((tmp_path / "datapackage.json").read_text())["resources"]
    assert {found["path"] for found in resources} == {name for name in contents(tmp_path) if name.endswith(".csv")}
    for found in resources:
        with (tmp_path / found["path"]).open(encoding="utf-8", newline="") as file:
            assert next(csv.reader(file)) == [field["name"] for field in found["schema"]["fields"]]
        assert all(len(field["description"]) > 3 for field in found["schema"]["fields"])
    rows = next(found for found in resources if found["path"] == "rows.csv")
    types = {field["name"]: field["type"] for field in rows["schema"]["fields"]}
    assert [types[name] for name in ("value", "seed", "kept", "higher_is_better", "pruner")] == [
        "number", "integer", "integer", "boolean", "string",
    ]  # fmt: skip


def test_rows_hold_full_precision_and_nothing_for_what_is_missing(row, tmp_path):
    write([row("omp", 0.5904, 0, 1 / 3), row("omp", 0.5904, 1, status="missing", reason="not run")], tmp_path)
    done, missing = read(tmp_path / "rows.csv")
    assert list(done) == list(COLUMNS)
    assert float(done["value"]) == 1 / 3
    assert done["sparsity"] == "0.5904"
    assert (done["key"], done["status"], done["kept"]) == ("e-omp-0.5904-0", "done", "100")
    assert [missing[name] for name in ("value", "kept", "achieved_sparsity", "seconds")] == ["", "", "", ""]


def test_leaderboards_hold_six_digits_but_whole_axis_values(small_grid, row, tmp_path):
    write([*small_grid, row("omp", 0.9648156281, 0, 1 / 3)], tmp_path)
    found = read(tmp_path / BOARD)
    by_level = {(line["pruner"], line["sparsity"]): line for line in found}
    half = by_level["omp", "0.5"]
    assert (half["mean"], half["sd"], half["diff_mean"]) == ("0.8", "0.01", "-0.1")
    assert by_level["omp", "0.9648156281"]["mean"] == "0.333333"
    incomplete = by_level["omp", "0.9"]
    assert [incomplete[name] for name in ("rank", "sd", "diff_mean")] == ["", "", ""]
    assert (incomplete["complete"], incomplete["n"], incomplete["n_planned"]) == ("False", "1", "3")
    assert [line["rank"] for line in found] == ["1", "2", "3", "4", ""]


def test_missing_is_a_header_alone_when_nothing_is_missing(row, tmp_path):
    write([row(value=0.5)], tmp_path)
    assert len((tmp_path / "missing.csv").read_text().splitlines()) == 1


def test_a_grid_without_results_has_tables_a_report_and_no_figures(row, tmp_path):
    write([row(status="missing", reason="not run")], tmp_path)
    assert not list(tmp_path.rglob("*.png"))
    assert read(tmp_path / "missing.csv")[0]["reason"] == "not run"
    assert read(tmp_path / BOARD)[0]["n"] == "0"
    assert "not run" in (tmp_path / "report.html").read_text()


def test_files_of_an_earlier_analysis_go_and_other_files_stay(row, tmp_path):
    write([row(value=0.5), row(value=0.5, dataset="digits_noisy")], tmp_path, formats=("latex", "markdown"))
    (tmp_path / "leaderboards" / "notes.csv").write_text("mine")
    write([row(value=0.5)], tmp_path)
    found = set(contents(tmp_path))
    assert {name for name in found if name.startswith("leaderboards/")} == {
        BOARD, "leaderboards/notes.csv", "leaderboards/overall.csv",
    }  # fmt: skip
    assert not {name for name in found if "digits_noisy" in name or name.startswith("latex/") or name == "REPORT.md"}


@pytest.mark.parametrize(
    "listed",
    [
        "not json",
        "[]",
        '{"files": 3}',
        '{"files": ["../rows.csv", "own.txt", "tables/../own.csv", "figures/own.txt", 7]}',
    ],
)
def test_a_foreign_list_of_files_removes_nothing(row, tmp_path, listed):
    out = tmp_path / "out"
    (out / "figures").mkdir(parents=True)
    kept = [tmp_path / "rows.csv", out / "own.txt", out / "own.csv", out / "figures" / "own.txt"]
    for path in kept:
        path.write_text("mine")
    (out / "analysis.json").write_text(listed)
    write([row(value=0.5)], out)
    assert [path.read_text() for path in kept] == ["mine"] * 4
    assert "rows.csv" in json.loads((out / "analysis.json").read_text())["files"]


def test_labels_become_distinct_safe_file_names(row, tmp_path):
    labels = ["folder(name=a b, classes=2)", "folder(name=a/b, classes=2)"]
    write([row(value=0.5, dataset=label, metric="pgd_accuracy(steps=50)") for label in labels], tmp_path)
    names = sorted(path.name for path in (tmp_path / "leaderboards").glob("folder*"))
    assert names == [
        "folder-name=a-b-classes=2_pgd_accuracy-steps=50.csv",
        "folder-name=a-b-classes=2_pgd_accuracy-steps=50~2.csv",
    ]
    assert {read(tmp_path / "leaderboards" / name)[0]["dataset"] for name in names} == set(labels)


def test_names_that_no_file_system_takes_are_cut_and_stay_distinct():
    names = files.distinct_names([("x" * 400, "a"), ("x" * 400, "b")])
    assert len(set(names.values())) == 2
    assert all(len(name) < 220 for name in names.values())


def test_many_figures_are_drawn_in_parallel_to_the_same_bytes(row, tmp_path):
    few = [row(value=0.5, fraction=1.0)]
    many = [row(value=0.5, fraction=k / 10) for k in range(1, 11)]
    write(few, tmp_path / "few")
    write(many, tmp_path / "many")
    assert len(list((tmp_path / "many" / "figures").glob("curve_*.png"))) == 10
    assert (tmp_path / "many" / CURVE).read_bytes() == (tmp_path / "few" / CURVE).read_bytes()


def test_beyond_the_limit_the_settings_with_the_most_sparsities_are_drawn(row, tmp_path):
    rows = [row("omp", sparsity, value=0.5, dataset="digits") for sparsity in (0.5, 0.9)]
    rows += [row("omp", 0.5, value=0.5, dataset=name) for name in ("digit_glyphs", "digits_noisy")]
    written = files.write(compiled(frame(rows, grid="toy"), name="toy"), tmp_path, figures=1)
    assert [path.name for path in written.paths if path.match("curve_*.png")] == [CURVE.rpartition("/")[2]]
    assert written.figures == 3
