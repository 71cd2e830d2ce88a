"""Figures of single points: the double-win plane, cost, domain gap."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from analysis.frame import frame
from analysis.leaderboard import leaderboard
from analysis.plots import cost, gap, plane
from analysis.plots.axes import place_labels
from analysis.plots.style import settings


def board_of(rows, **columns):
    board = leaderboard(frame(rows, grid="toy"))
    return board.assign(**columns)


def both(row, pruner, sparsity, standard, robust, **axes):
    return [
        row(pruner, sparsity, seed, value + (seed - 0.5) / 50, metric=metric, **axes)
        for metric, value in (("accuracy", standard), ("pgd_accuracy", robust))
        for seed in (0, 1)
    ]


def test_the_plane_has_standard_accuracy_across_and_robust_accuracy_up(row):
    rows = both(row, "dense", 0.0, 0.9, 0.5) + both(row, "omp", 0.5, 0.8, 0.4)
    (drawing,) = plane.planes(board_of(rows))
    (axes,) = drawing.draw().axes
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 1}
    assert {(round(x, 9), round(y, 9)) for x, y in points} == {(0.9, 0.5), (0.8, 0.4)}
    assert axes.get_xlabel() == "standard accuracy (→ better)"
    assert axes.get_ylabel() == "pgd_accuracy (↑ better)"


def test_the_accuracy_on_another_split_is_no_robust_one(row):
    rows = both(row, "dense", 0.0, 0.9, 0.5)
    rows += [row("dense", 0.0, seed, 0.8, metric="accuracy(split=mismatched)") for seed in (0, 1)]
    assert [drawing.setting[-1] for drawing in plane.planes(board_of(rows))] == ["pgd_accuracy"]


def test_arrows_lead_from_dense_along_the_sparsities(row):
    rows = both(row, "omp", 0.9, 0.7, 0.3) + both(row, "omp", 0.5, 0.8, 0.4) + both(row, "dense", 0.0, 0.9, 0.5)
    (axes,) = plane.planes(board_of(rows))[0].draw().axes
    arrows = [(np.round(text.xyann, 9).tolist(), np.round(text.xy, 9).tolist()) for text in axes.texts]
    assert arrows == [([0.9, 0.5], [0.8, 0.4]), ([0.8, 0.4], [0.7, 0.3])]


def test_the_double_win_region_starts_a_margin_below_dense(row):
    rows = both(row, "dense", 0.0, 0.9, 0.5) + both(row, "omp", 0.5, 0.8, 0.4)
    (axes,) = plane.planes(board_of(rows, margin=0.01))[0].draw().axes
    (region,) = axes.patches
    assert region.get_xy().min(axis=0).tolist() == pytest.approx([0.89, 0.49])
    assert region.get_xy().max(axis=0).tolist() == pytest.approx([axes.get_xlim()[1], axes.get_ylim()[1]])
    (without,) = plane.planes(board_of(rows))[0].draw().axes
    assert not without.patches


def test_objectives_are_panels_that_show_all_of_both(row):
    rows = both(row, "dense", 0.0, 0.9, 0.5) + both(row, "dense", 0.0, 0.2, 0.1, objective="adversarial")
    (drawing,) = plane.planes(board_of(rows))
    panels = drawing.draw().axes
    assert [axes.get_title(loc="left") for axes in panels] == ["standard objective", "adversarial objective"]
    for axes in panels:
        assert axes.get_xlim()[0] < 0.2 < 0.9 < axes.get_xlim()[1]


def test_a_network_without_a_robust_accuracy_has_no_plane(row):
    assert plane.planes(board_of([row(value=0.5)])) == []
    assert plane.planes(board_of([row(metric="pgd_accuracy", value=0.5)])) == []
    assert plane.planes(board_of([])) == []


def test_the_front_holds_what_no_cheaper_or_better_one_beats():
    costs, values = pd.Series([1.0, 2.0, 3.0, 2.0, 1.0]), pd.Series([0.5, 0.7, 0.6, 0.7, 0.4])
    assert cost.pareto(costs, values, True).tolist() == [True, True, False, True, False]
    assert cost.pareto(costs, values, False).tolist() == [False, False, False, False, True]


def test_cost_is_drawn_with_the_front_of_complete_entries(row):
    rows = [row("dense", 0.0, 0, 0.9), row("omp", 0.5, 0, 0.8), row("imp", 0.5, 0, 0.95)]
    rows.append(row("imp", 0.5, 1, status="missing", reason="not run"))
    costs = {"dense": 50_000, "omp": 20_000, "imp": 30_000}
    board = board_of(rows).assign(device_hours=np.nan)
    board["macs"] = board["pruner"].map(costs).astype("Int64")
    (drawing,) = cost.fronts(board)
    (axes,) = drawing.draw().axes
    assert drawing.kind == "cost_macs"
    front = next(line for line in axes.lines if len(line.get_xdata()) > 1)
    assert front.get_xdata().tolist() == [20_000, 50_000]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_markerfacecolor() == "white"] == [30_000]
    assert [text.get_text() for text in axes.texts] == ["0.5", "dense"]


def test_hours_of_different_devices_are_different_figures(row):
    board = board_of([row("dense", 0.0, 0, 0.9), row("omp", 0.5, 0, 0.8)]).assign(macs=np.nan, dense_macs=np.nan)
    board = board.assign(device_hours=1.0, ticket_hours=2.0, device="H100")
    other = board.assign(device="x86_64")
    found = cost.fronts(pd.concat([board, other], ignore_index=True))
    assert [drawing.setting[-1] for drawing in found] == ["H100", "x86_64"]
    assert found[0].draw().axes[0].lines[0].get_xdata()[0] == 3.0


def test_one_entry_has_no_front(row):
    assert cost.fronts(board_of([row(value=0.5)])) == []
    assert cost.fronts(board_of([])) == []


SETTING = {
    "grid": "toy",
    "architecture": "resnet8",
    "source": "letters",
    "natural": "supervised",
    "robust": "pgd_adversarial",
    "pruner": "omp",
    "sparsity": np.nan,
    "transfer": "linear",
    "objective": "standard",
    "fraction": 1.0,
    "metric": "accuracy",
    "selection": "last",
    "gap_metric": "frechet_distance",
}
GAPS, GAINS = [10.0, 20.0, 40.0, 80.0], [0.01, 0.0, 0.03, 0.05]


def gap_tables(gaps=GAPS, gains=GAINS, **fit):
    points = [
        SETTING | {"dataset": f"set{i}", "gap": x, "gain": y, "gain_low": y - 0.01, "gain_high": y + 0.01, "n": 3}
        for i, (x, y) in enumerate(zip(gaps, gains, strict=True))
    ]
    line = dict.fromkeys(("slope", "slope_low", "slope_high", "intercept", "p"), np.nan) | {"n_datasets": len(gaps)}
    return pd.DataFrame(
        points, columns=[*SETTING, "dataset", "gap", "gain", "gain_low", "gain_high", "n"]
    ), pd.DataFrame([SETTING | line | fit])


def test_the_band_of_the_line_is_that_of_the_fitted_mean():
    fit = stats.linregress(GAPS, GAINS)
    half = stats.t.ppf(0.975, 2) * fit.stderr
    limits = {"slope_low": fit.slope - half, "slope_high": fit.slope + half}
    (drawing,) = gap.gaps(*gap_tables(slope=fit.slope, intercept=fit.intercept, p=fit.pvalue, **limits))
    (axes,) = drawing.draw().axes
    line = axes.lines[-1]
    x, y = np.array(GAPS), np.array(GAINS)
    residual = np.sqrt(((y - fit.intercept - fit.slope * x) ** 2).sum() / 2)
    at = np.asarray(line.get_xdata())
    width = residual * np.sqrt(1 / 4 + (at - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()) * stats.t.ppf(0.975, 2)
    band = axes.collections[-1].get_paths()[0].vertices
    assert line.get_ydata() == pytest.approx(fit.intercept + fit.slope * at, abs=1e-8)
    for i in (0, 50, 99):
        assert band[np.isclose(band[:, 0], at[i]), 1].max() == pytest.approx(line.get_ydata()[i] + width[i], abs=1e-8)


def test_no_line_without_a_known_slope():
    (axes,) = gap.gaps(*gap_tables([10.0], [0.1]))[0].draw().axes
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 1]
    assert [text.get_text() for text in axes.texts] == ["set0"]


def test_unknown_gaps_and_empty_tables_have_no_figure():
    points, regression = gap_tables([np.nan], [0.1])
    assert gap.gaps(points, regression) == []
    assert gap.gaps(points[:0], regression[:0]) == []


@settings()
def test_labels_of_close_points_do_not_cover_each_other_or_a_point():
    figure = Figure(figsize=(3.9, 3))
    axes = figure.subplots()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    x, y = [0.5, 0.52, 0.55, 0.5, 0.98], [0.5, 0.52, 0.5, 0.55, 0.98]
    place_labels(axes, x, y, ["first", "second", "third\nof two lines", "fourth", "at the corner"])
    figure.draw_without_rendering()
    boxes = [super(type(text), text).get_window_extent() for text in axes.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert not any(box.contains(*axes.transData.transform(point)) for point in zip(x, y, strict=True))
        assert box.x1 <= axes.bbox.x1
        assert box.y1 <= axes.bbox.y1
