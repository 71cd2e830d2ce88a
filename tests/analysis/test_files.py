import csv
import json

import pytest

from analysis import files
from analysis.frame import COLUMNS, frame
from analysis.leaderboard import leaderboard


def write(rows, out):
    table = frame(rows, grid="toy")
    return files.write(table, leaderboard(table), out)


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_and_figure_is_written_and_listed(small_grid, tmp_path):
    written = write(small_grid, tmp_path)
    names = [
        "curve_digits_accuracy_linear_standard_last_1.png",
        "leaderboard_digits_accuracy.csv",
        "missing.csv",
        "rows.csv",
    ]
    assert sorted(path.name for path in written) == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "analysis.json"])
    contents = json.loads((tmp_path / "analysis.json").read_text())
    assert contents["files"] == names
    assert (contents["grid"], contents["commits"], contents["rows"]) == (["toy"], ["0123abc"], 12)


def test_a_rebuild_is_byte_identical_whatever_the_order_read(small_grid, tmp_path):
    write(small_grid, tmp_path / "first")
    write(small_grid[::-1], tmp_path / "second")
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    assert len(first) == 5
    assert first == second


def test_rows_hold_full_precision_and_nothing_for_what_is_missing(row, tmp_path):
    write([row("omp", 0.5904, 0, 1 / 3), row("omp", 0.5904, 1, status="missing", reason="not run")], tmp_path)
    done, missing = read(tmp_path / "rows.csv")
    assert list(done) == list(COLUMNS)
    assert float(done["value"]) == 1 / 3
    assert done["sparsity"] == "0.5904"
    assert (done["key"], done["status"], done["kept"]) == ("e-omp-0.5904-0", "done", "100")
    assert [missing[name] for name in ("value", "kept", "achieved_sparsity", "seconds")] == ["", "", "", ""]


def test_leaderboards_hold_fixed_decimals_but_whole_axis_values(small_grid, row, tmp_path):
    write([*small_grid, row("omp", 0.9648156281, 0, 1 / 3)], tmp_path)
    found = read(tmp_path / "leaderboard_digits_accuracy.csv")
    by_level = {(line["pruner"], line["sparsity"]): line for line in found}
    half = by_level["omp", "0.5"]
    assert (half["mean"], half["sd"], half["diff_mean"]) == ("0.800000", "0.010000", "-0.100000")
    assert by_level["omp", "0.9648156281"]["mean"] == "0.333333"
    incomplete = by_level["omp", "0.9"]
    assert [incomplete[name] for name in ("rank", "sd", "diff_mean")] == ["", "", ""]
    assert (incomplete["complete"], incomplete["n"], incomplete["n_planned"]) == ("False", "1", "3")
    assert [line["rank"] for line in found] == ["1", "2", "3", "4", ""]


def test_missing_is_a_header_alone_when_nothing_is_missing(row, tmp_path):
    write([row(value=0.5)], tmp_path)
    assert len((tmp_path / "missing.csv").read_text().splitlines()) == 1


def test_a_grid_without_results_has_tables_and_no_figures(row, tmp_path):
    write([row(status="missing", reason="not run")], tmp_path)
    assert not list(tmp_path.glob("*.png"))
    assert read(tmp_path / "missing.csv")[0]["reason"] == "not run"
    assert read(tmp_path / "leaderboard_digits_accuracy.csv")[0]["n"] == "0"


def test_files_of_an_earlier_analysis_go_and_other_files_stay(row, tmp_path):
    write([row(value=0.5), row(value=0.5, dataset="digits_noisy")], tmp_path)
    (tmp_path / "leaderboard_notes.csv").write_text("mine")
    write([row(value=0.5)], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("leaderboard_*")) == [
        "leaderboard_digits_accuracy.csv",
        "leaderboard_notes.csv",
    ]
    assert [path.name for path in tmp_path.glob("*.png")] == ["curve_digits_accuracy_linear_standard_last_1.png"]


@pytest.mark.parametrize(
    "listed", ["not json", "[]", '{"files": 3}', '{"files": ["../leaderboard_keep.csv", "own.txt", 7]}']
)
def test_a_foreign_list_of_files_removes_nothing(row, tmp_path, listed):
    out = tmp_path / "out"
    out.mkdir()
    kept = [tmp_path / "leaderboard_keep.csv", out / "own.txt"]
    for path in kept:
        path.write_text("mine")
    (out / "analysis.json").write_text(listed)
    write([row(value=0.5)], out)
    assert [path.read_text() for path in kept] == ["mine", "mine"]
    assert "rows.csv" in json.loads((out / "analysis.json").read_text())["files"]


def test_labels_become_distinct_safe_file_names(row, tmp_path):
    labels = ["folder(name=a b, classes=2)", "folder(name=a/b, classes=2)"]
    write([row(value=0.5, dataset=label, metric="pgd_accuracy(steps=50)") for label in labels], tmp_path)
    names = sorted(path.name for path in tmp_path.glob("leaderboard_*"))
    assert names == [
        "leaderboard_folder-name=a-b-classes=2_pgd_accuracy-steps=50.csv",
        "leaderboard_folder-name=a-b-classes=2_pgd_accuracy-steps=50~2.csv",
    ]
    assert {read(tmp_path / name)[0]["dataset"] for name in names} == set(labels)


def test_many_figures_are_drawn_in_parallel_to_the_same_bytes(row, tmp_path):
    few = [row(value=0.5, fraction=1.0)]
    many = [row(value=0.5, fraction=k / 10) for k in range(1, 11)]
    write(few, tmp_path / "few")
    write(many, tmp_path / "many")
    name = "curve_digits_accuracy_linear_standard_last_1.png"
    assert len(list((tmp_path / "many").glob("*.png"))) == 10
    assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "few" / name).read_bytes()


def test_beyond_the_limit_the_settings_with_the_most_sparsities_are_drawn(row, tmp_path):
    rows = [row("omp", sparsity, value=0.5, dataset="digits") for sparsity in (0.5, 0.9)]
    rows += [row("omp", 0.5, value=0.5, dataset=name) for name in ("digit_glyphs", "digits_noisy")]
    table = frame(rows, grid="toy")
    written = files.write(table, leaderboard(table), tmp_path, figures=1)
    assert [path.name for path in written if path.suffix == ".png"] == [
        "curve_digits_accuracy_linear_standard_last_1.png"
    ]
