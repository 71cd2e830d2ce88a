"""LaTeX tables: balanced, rectangular, and without a sign that LaTeX would take as its own."""

import re
from dataclasses import replace

import pytest

from analysis.report import latex
from analysis.report.columns import COLUMNS


@pytest.fixture
def found(toy):
    return latex.tables(toy)


def test_a_leaderboard_per_data_set_and_metric_and_the_main_tables(found):
    assert list(found) == [
        "leaderboard_digit_glyphs_accuracy.tex",
        "leaderboard_digits_accuracy.tex",
        "leaderboard_digits_noisy_accuracy.tex",
        "maxima.tex",
        "comparisons.tex",
    ]


def test_environments_are_balanced_and_every_row_has_all_columns(found):
    for text in found.values():
        begun, ended = re.findall(r"\\begin\{(\w+)\}", text), re.findall(r"\\end\{(\w+)\}", text)
        assert begun == ended[::-1] == ["table", "tabular"]
        columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)[1]
        body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert len(rows) >= 2
        for line in rows:
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
        assert body.count(r"\midrule") == 1
        depth = re.sub(r"\\[{}]", "", text)
        assert depth.count("{") == depth.count("}")


def test_no_special_sign_is_left_unescaped(found):
    for text in found.values():
        for line in text.split("\n"):
            if line.startswith((r"\label", r"\begin", r"\end")):
                continue
            assert not re.search(r"(?<!\\)[_%#]", line), line
            assert not re.search(r"[~^<>]", line.replace("$<$", "").replace("$>$", "")), line
            assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0, line


def test_every_special_sign_has_an_escape():
    assert latex.escape(r"a_b 5% &#$ {x} ~^ \ <") == (
        r"a\_b 5\% \&\#\$ \{x\} \textasciitilde{}\textasciicircum{} \textbackslash{} $<$"
    )


def test_numbers_are_right_aligned_with_minus_signs(toy):
    rows = toy.comparisons.head(2).assign(diff_mean=[-0.5, 0.25], diff_low=-1.0, diff_high=-0.25)
    columns = [column for column in COLUMNS["comparisons"] if column.heading in ("axis", "difference", "95 % interval")]
    text = latex.table(rows.assign(axis=["a", "b"]), columns, caption="C", label="t_x", n_rows=2)
    assert r"\begin{tabular}{lrr}" in text
    assert r"a & $-$0.5000 & {[}$-$1.0000, $-$0.2500{]} \\" in text
    assert r"b & +0.2500 & {[}$-$1.0000, $-$0.2500{]} \\" in text
    assert r"\label{tab:t-x}" in text


def test_the_dense_network_is_in_every_leaderboard(found):
    for name, text in found.items():
        if name.startswith("leaderboard"):
            assert " & dense & " in text
            assert "Intervals: 95 \\% Student t." in text


def test_names_that_differ_in_signs_only_get_files_of_their_own(toy):
    board = toy.leaderboard.assign(
        dataset=toy.leaderboard["dataset"].map({"digits": "a b", "digit_glyphs": "a(b"}).fillna("c")
    )
    names = [name for name in latex.tables(replace(toy, leaderboard=board)) if name.startswith("leaderboard")]
    assert names == ["leaderboard_a-b_accuracy.tex", "leaderboard_a-b_accuracy~2.tex", "leaderboard_c_accuracy.tex"]


def test_nothing_done_gives_no_tables_of_claims(without):
    found = latex.tables(without(lambda *_: ("missing", "not run")))
    assert all("nan" not in text for text in found.values())
