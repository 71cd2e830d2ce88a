"""The Markdown report: tables that every reader renders, and text that stays text."""

import re
from dataclasses import replace

import pytest

from analysis.answers.summary import sentences
from analysis.report import markdown
from analysis.report.excerpts import top
from analysis.wording import Sentence


@pytest.fixture
def rendered(toy, figures):
    return markdown.render(toy, figures, sentences(toy))


def tables_of(text):
    """Each table as rows of cells, split at unescaped bars."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, flags=re.MULTILINE)
    return [[re.split(r"(?<!\\)\|", line)[1:-1] for line in table.strip().split("\n")] for table in found]


def test_every_row_of_a_table_has_as_many_cells(rendered):
    tables = tables_of(rendered)
    assert len(tables) == 3
    for table in tables:
        assert {len(row) for row in table} == {len(table[0])}
        assert all(re.fullmatch(r" ?-+:? ?", cell) for cell in table[1])


def test_the_main_tables_and_answers_are_there(rendered):
    headings = re.findall(r"^## (.*)$", rendered, flags=re.MULTILINE)
    assert headings == [
        "Answers",
        "Leaderboard: best 5 and dense",
        "Maximum matching sparsity",
        "Comparisons over all tickets",
        "Figures",
        "Methods",
    ]
    assert "- All of the 90 planned results are done, with 3 seeds per entry." in rendered


def test_points_are_indented_below_their_sentence():
    sentence = Sentence(topic="T", lead="Lead:", points=("a_b", "c"), end="End.", table="rows")
    assert markdown.bullet(sentence) == "- Lead:\n  - a\\_b\n  - c\n  - End."


def test_signs_of_markdown_and_html_are_escaped():
    assert markdown.literal("a|b <i> pgd_accuracy [0, 1] *") == r"a\|b \<i\> pgd\_accuracy \[0, 1\] \*"


def test_long_cells_end_in_dots(toy):
    board = toy.leaderboard.assign(pruner=toy.leaderboard["pruner"] + "(checkpoint=" + "x" * 90 + ")")
    cells = [
        cell.strip()
        for table in tables_of(markdown.render(replace(toy, leaderboard=board), [], []))
        for row in table
        for cell in row
    ]
    assert any(cell.endswith("...") for cell in cells)
    # Escapes take a sign each.
    assert max(len(cell.replace("\\", "")) for cell in cells) <= markdown.CELL_WIDTH


def test_figures_are_links_to_their_files(rendered):
    assert r"![Accuracy against sparsity, by \<pruner\>](figures/curve_digits.svg)" in rendered
    assert "[Its numbers](curve%20digits.csv)" in rendered


def test_the_dense_network_is_shown_even_where_tickets_lead(toy):
    board = toy.leaderboard
    shown = top(board[board["dataset"] == "digits"], 1)
    assert shown["pruner"].tolist() == ["dense"]
    tickets_first = board[board["dataset"] == "digits"].sort_values("pruner", ascending=False, kind="stable")
    assert top(tickets_first, 1)["pruner"].tolist() == ["omp", "dense"]


def test_an_empty_store_gives_a_short_report(without):
    tables = without(lambda *_: ("missing", "not run"))
    text = markdown.render(tables, [], sentences(tables))
    assert "Nothing is evaluated yet" in text
    assert "90 missing" in text
