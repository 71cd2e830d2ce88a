"""Figures of methods over data sets: ranks, pairs, aggregates, profiles, comparisons."""

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.plots import aggregates, comparisons
from analysis.plots import critical_difference as ranks_plots

KEYS = {
    "grid": "toy",
    "metric": "accuracy",
    "selection": "last",
    "transfer": "linear",
    "objective": "standard",
    "fraction": 1.0,
    "sparsity": 0.9,
}
LONG = "supervised, ticket(path=/scratch/someone/published/double_win/{round}-checkpoint.pth.tar)"


def ranks(*rows):
    return pd.DataFrame(
        [KEYS | {"method": m, "mean_rank": r, "group": g, "n_datasets": 8} for m, r, g in rows],
        columns=[*KEYS, "method", "mean_rank", "group", "n_datasets"],
    )


def pairs(*rows):
    return pd.DataFrame(
        [
            KEYS
            | {
                "method_a": a,
                "method_b": b,
                "n": 8,
                "diff_mean": d,
                "wins": w,
                "ties": t,
                "losses": 8 - w - t,
                "p_holm": p,
            }
            for a, b, d, w, t, p in rows
        ]
    )


def bars(axes):
    return [
        (line.get_xdata()[0], line.get_xdata()[-1])
        for line in axes.lines
        if line.get_linewidth() == 2.5 and len(line.get_xdata()) == 2
    ]


def test_a_bar_joins_each_group_of_methods_that_are_not_told_apart():
    table = ranks(("imp", 1.5, "a"), ("omp", 2.0, "ab"), ("lmp", 2.75, "b"), ("random", 3.75, "c"))
    (drawing,) = ranks_plots.diagrams(table)
    figure = drawing.draw()
    assert bars(figure.axes[0]) == [(1.5, 2.0), (2.0, 2.75)]
    assert "N = 8 data sets" in figure.texts[1].get_text()
    assert "0.05" in figure.texts[1].get_text()


def test_a_member_between_the_ends_of_a_bar_is_told_from_a_bystander():
    table = ranks(("imp", 1.0, "a"), ("omp", 2.0, "b"), ("lmp", 3.0, "a"))
    (axes,) = ranks_plots.diagrams(table)[0].draw().axes
    dots = [
        line.get_xdata().tolist() for line in axes.lines if line.get_marker() == "o" and line.get_color() == "black"
    ]
    assert dots == [[1.0, 3.0]]


def test_the_diagram_names_every_method_with_its_rank_and_the_omnibus_test():
    table = ranks(("imp", 1.25, "a"), ("omp", 1.75, "a"))
    omnibus = pd.DataFrame([KEYS | {"f": 3.5, "df1": 1, "df2": 7, "p": 0.0312}])
    figure = ranks_plots.diagrams(table, omnibus)[0].draw()
    assert {text.get_text() for text in figure.axes[0].texts} == {"imp  1.25", "1.75  omp"}
    assert "F(1, 7) = 3.5, p = 0.031" in figure.texts[1].get_text().replace("\n", " ")


def test_names_in_the_diagram_do_not_cover_each_other():
    names = [f"{LONG} {i}" if i % 3 else f"omp {i}" for i in range(12)]
    (drawing,) = ranks_plots.diagrams(ranks(*((name, i + 1.0, "a") for i, name in enumerate(names))))
    figure = drawing.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_one_method_and_unknown_ranks_have_no_diagram():
    assert ranks_plots.diagrams(ranks(("imp", 1.0, "a"))) == []
    assert ranks_plots.diagrams(ranks(("imp", np.nan, ""), ("omp", np.nan, ""))) == []
    assert ranks_plots.diagrams(ranks()) == []


def test_a_cell_is_the_better_ranked_row_minus_the_column_whichever_way_the_table_has_it():
    table = ranks(("imp", 1.0, "a"), ("omp", 2.0, "b"), ("random", 3.0, "c"))
    found = pairs(
        ("imp", "omp", -0.02, 1, 2, 0.04), ("omp", "random", -0.1, 0, 0, 0.0001), ("random", "imp", 0.12, 8, 0, np.nan)
    )
    axes, bar = ranks_plots.matrices(found, table)[0].draw().axes
    cells = {(text.get_position()[1] - 0.5, text.get_position()[0] - 0.5): text.get_text() for text in axes.texts}
    assert cells[0, 0] == "+0.02\n5/2/1\np = 0.040"
    assert cells[1, 1] == "+0.1\n8/0/0\np < 0.001"
    assert cells[0, 1] == "+0.12\n8/0/0\nno p"
    assert cells[1, 0] == ""
    assert axes.collections[0].get_clim() == (-0.12, 0.12)
    assert bar.get_ylabel() == "row - column, accuracy (↑ better)"


def test_blue_is_better_also_where_lower_is():
    table = ranks(("imp", 1.0, "a"), ("omp", 2.0, "b")).assign(metric="nll(bins=15)")
    found = pairs(("imp", "omp", 0.5, 0, 0, 0.04)).assign(metric="nll(bins=15)")
    axes, _ = ranks_plots.matrices(found, table)[0].draw().axes
    red, _, blue, _ = axes.collections[0].to_rgba(-0.5)
    assert blue > red


def test_pairs_without_a_difference_have_no_matrix():
    assert ranks_plots.matrices(pairs(("imp", "omp", np.nan, 0, 0, np.nan)), ranks(("imp", 1.0, "a"))) == []


def scores(*rows):
    columns = [f"{name}{limit}" for name in ("iqm", "worst_quartile") for limit in ("", "_low", "_high")]
    return pd.DataFrame(
        [
            KEYS | {"method": m, "n_tasks": 3, "n_runs": 9} | dict(zip(columns, values, strict=True))
            for m, *values in rows
        ],
        columns=[*KEYS, "method", "n_tasks", "n_runs", *columns],
    )


def test_methods_stand_below_each_other_the_best_first():
    table = scores(("omp", 0.8, 0.7, 0.9, 0.5, 0.4, 0.6), ("imp", 0.9, 0.85, 0.95, 0.7, 0.6, 0.8))
    figure = aggregates.dots(table)[0].draw()
    iqm, worst = figure.axes
    assert [text.get_text() for text in iqm.get_yticklabels()] == ["imp", "omp"]
    assert [line.get_xdata()[0] for line in worst.lines[:2]] == [0.7, 0.5]
    assert iqm.collections[0].get_paths()[0].vertices[:, 0].tolist() == [0.85, 0.95]
    assert "n = 3 data sets" in figure.texts[1].get_text()


def test_profiles_have_a_line_for_each_method():
    table = pd.DataFrame(
        [
            KEYS | {"method": m, "tau": t, "share": 1 - t, "low": 0.9 - t, "high": 1.1 - t}
            for m in ("omp", "imp")
            for t in (0.5, 0.0)
        ]
    )
    figure = aggregates.curves(table)[0].draw()
    (axes,) = figure.axes
    assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines[:2]} == {
        "imp": [1.0, 0.5],
        "omp": [1.0, 0.5],
    }
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["imp", "omp"]


def test_aggregates_without_a_number_have_no_figure():
    assert aggregates.dots(scores(("omp", *[np.nan] * 6))) == []
    assert aggregates.dots(scores()) == []
    assert aggregates.curves(pd.DataFrame(columns=[*KEYS, "method", "tau", "share", "low", "high"])) == []


def compared(dataset="digits", unit="seed", diff=0.02, **columns):
    blank = dict.fromkeys(("architecture", "pretraining", "source", "pruner", "granularity", "sparsity"), "")
    row = blank | {"axis": "pretraining", "level_a": "supervised", "level_b": "pgd_adversarial", "unit": unit}
    row |= {"grid": "toy", "metric": "accuracy", "selection": "last", "dataset": dataset, "transfer": "linear"}
    row |= {
        "objective": "standard",
        "fraction": "1",
        "higher_is_better": True,
        "n": 3,
        "diff_mean": diff,
        "p_holm": 0.04,
    }
    return row | {"diff_low": diff - 0.01, "diff_high": diff + 0.01, "margin": 0.005} | columns


def test_a_forest_has_a_row_for_each_data_set_and_ends_with_all_of_them():
    table = pd.DataFrame([compared("", "dataset", 0.01), compared("glyphs", diff=0.0), compared("digits")])
    (drawing,) = comparisons.forests(table, "pretraining")
    figure = drawing.draw()
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["digits", "glyphs", "over data sets"]
    points = [(line.get_marker(), line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()) == 1]
    assert points == [("s", 0.02), ("s", 0.0), ("D", 0.01)]
    assert axes.collections[1].get_paths()[0].vertices[:, 0].tolist() == pytest.approx([0.01, 0.03])
    assert axes.get_xlabel().startswith("pgd_adversarial minus supervised (→")


def test_rows_of_single_pruners_and_other_axes_are_not_mixed_in():
    table = pd.DataFrame([compared(), compared(pruner="omp"), compared(sparsity="0.9"), compared(axis="pruner")])
    (drawing,) = comparisons.forests(table, "pretraining")
    assert len(drawing.draw().axes[0].get_yticks()) == 1


def test_many_rows_go_on_further_pages_without_splitting_a_transfer():
    table = pd.DataFrame([compared(f"set{i:02d}", transfer=f"transfer{j}") for j in range(4) for i in range(14)])
    found = comparisons.forests(table, "pretraining")
    assert [drawing.setting[-1] for drawing in found] == [1, 2]
    assert [len(drawing.draw().axes[0].get_yticks()) for drawing in found] == [28, 28]


def test_without_a_difference_there_is_no_forest():
    assert comparisons.forests(pd.DataFrame([compared(diff=np.nan)]), "pretraining") == []
    assert comparisons.forests(pd.DataFrame([compared()])[:0], "pretraining") == []
