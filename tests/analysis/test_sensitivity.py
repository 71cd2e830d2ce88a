import numpy as np
import pytest

from analysis.frame import frame
from analysis.leaderboard import leaderboard
from analysis.plots import sensitivity as plots
from analysis.sensitivity import SENSITIVITY_COLUMNS, sensitivity
from bench.catalog import METRICS


def shaken(row, values, pruner="omp", sparsity=0.9, clean=0.8, metric="accuracy_weight_noise_{}", **axes):
    """Results of one seed per value at every rate."""
    rows = [row(pruner, sparsity, seed, clean + seed / 100, **axes) for seed in (0, 1)]
    for rate, value in values.items():
        rows += [row(pruner, sparsity, seed, value + seed / 100, metric=metric.format(rate), **axes) for seed in (0, 1)]
    return rows


def table(rows):
    return sensitivity(leaderboard(frame(rows, grid="toy")))


def test_every_rate_has_a_row_beside_the_clean_accuracy(row):
    found = table(shaken(row, {0.001: 0.79, 0.1: 0.5}))
    assert list(found) == list(SENSITIVITY_COLUMNS)
    assert found[["perturbation", "options"]].drop_duplicates().to_numpy().tolist() == [["weight_noise", ""]]
    assert found["rate"].tolist() == [0.001, 0.1]
    assert found["mean"].tolist() == pytest.approx([0.795, 0.505])
    assert found["clean"].tolist() == pytest.approx([0.805, 0.805])
    assert found["loss"].tolist() == pytest.approx([0.01, 0.3])
    assert found["n"].tolist() == [2, 2]


def test_options_stay_apart_and_other_metrics_have_no_row(row):
    rows = shaken(row, {0.01: 0.7}, metric="accuracy_mask_swap_{}(draws=5)")
    rows += [row(value=0.5, metric="pgd_accuracy"), row(value=0.5, metric="corruption_accuracy")]
    found = table(rows)
    assert found[["perturbation", "rate", "options"]].to_numpy().tolist() == [["mask_swap", 0.01, "draws=5"]]
    nothing = table([row(value=0.5)])
    assert (list(nothing), len(nothing)) == (list(SENSITIVITY_COLUMNS), 0)


def test_every_number_of_the_metric_is_read(row):
    reports = METRICS["sensitivity"].reports
    found = table([row(value=0.5, metric=name) for name in reports])
    assert len(found) == len(reports)
    assert found["clean"].isna().all()


def test_a_panel_is_a_perturbation_at_a_sparsity_with_a_line_for_each_network(row):
    rows = []
    for pretraining in ("supervised", "random"):
        rows += shaken(row, {0.001: 0.85, 0.1: 0.6}, "dense", 0.0, 0.9, pretraining=pretraining)
        for metric in ("accuracy_weight_noise_{}", "accuracy_mask_swap_{}"):
            part = shaken(row, {0.001: 0.79, 0.1: 0.5}, metric=metric, pretraining=pretraining)
            rows += [result for result in part if result.metric != "accuracy" or "noise" in metric]
    (drawing,) = plots.sensitivities(table(rows))
    figure = drawing.draw()
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == ["dense", "90.00 % sparsity", ""]
    assert [axes.get_xlabel() for axes in panels] == [
        "noise (sd of the layer's weights)",
        "noise (sd of the layer's weights)",
        "share of the mask swapped",
    ]
    assert all(len(axes.lines) == 2 for axes in panels)
    # The unperturbed network first.
    assert panels[1].lines[0].get_ydata() == pytest.approx([0.805, 0.795, 0.505])
    assert [text.get_text() for text in panels[1].get_xticklabels()] == ["0", ".001", ".1"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["random, dense", "random, omp", "supervised, dense", "supervised, omp"]


def test_of_many_sparsities_some_are_drawn_from_the_first_to_the_last(row):
    levels = [0.2, 0.36, 0.488, 0.5904, 0.67232, 0.737856]
    rows = [result for level in levels for result in shaken(row, {0.01: 0.7}, sparsity=level)]
    figure = plots.sensitivities(table(rows))[0].draw()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert (titles[0], titles[-1], len(titles)) == ("20.00 % sparsity", "73.79 % sparsity", 4)
    assert "2 more sparsities in the table" in figure.texts[1].get_text().replace("\n", " ")


def test_without_a_value_there_is_no_figure(row):
    rows = [row(status="missing", reason="not run", metric="accuracy_weight_noise_0.01")]
    assert plots.sensitivities(table(rows)) == []
    assert np.isnan(table(rows)["mean"]).all()
