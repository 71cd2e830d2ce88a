import io

from rich.console import Console

from analysis import terminal
from analysis.answers.summary import sentences
from analysis.compiling import compiled
from analysis.frame import frame


def printed(rows, tmp_path):
    console = Console(file=io.StringIO(), width=160)
    tables = compiled(frame(rows, grid="toy"), name="toy")
    paths = [tmp_path / name for name in ("rows.csv", "tables/maxima.csv", "figures/a.png", "report.html")]
    terminal.show(tables, sentences(tables), paths, console)
    return console.file.getvalue()


def test_the_best_complete_tickets_are_shown_with_interval_and_difference(small_grid, tmp_path):
    text = printed(small_grid, tmp_path)
    assert [line.split() for line in text.splitlines() if "0.8000" in line or "0.4000" in line] == [
        ["digits", "accuracy", "2", "omp", "0.5", "0.8000", "0.7752", "..", "0.8248", "3", "-0.1000"],
        ["3", "random", "0.9", "0.4000", "0.1516", "..", "0.6484", "3", "-0.5000"],
    ]


def test_the_answers_and_the_place_of_the_files_are_shown(small_grid, tmp_path):
    text = printed(small_grid, tmp_path)
    assert "12 results planned: 10 done, 1 missing, 1 failed" in text
    assert "Which tickets match the dense network" in text
    assert f"Written to {tmp_path}/: 2 tables, 1 figures, report.html" in text


def test_axes_with_one_value_are_left_out_and_others_shown(small_grid, row, tmp_path):
    def headings(rows):
        return next(line for line in printed(rows, tmp_path).splitlines() if line.startswith("dataset"))

    assert "transfer" not in headings(small_grid)
    assert "transfer" in headings([*small_grid, row(value=0.5, transfer="finetune")])


def test_leaderboards_beyond_the_limit_are_counted(row, tmp_path):
    rows = [row(value=0.5, dataset=f"set{i}") for i in range(terminal.MAX_LEADERBOARDS + 2)]
    assert "2 more leaderboards are in the files" in printed(rows, tmp_path)
