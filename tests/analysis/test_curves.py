import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from analysis.frame import CURVE, frame
from analysis.leaderboard import leaderboard
from analysis.plots import curves as plots
from analysis.plots.ladder import MAXIMA
from analysis.plots.style import save
from analysis.pretrainings import SELF_SUPERVISED
from bench.catalog import PRETRAININGS, PRUNERS


def curves(rows):
    table = frame(rows, grid="toy")
    return plots.curves(table, leaderboard(table))


def axes_of(rows):
    (shown,) = curves(rows)
    figure = plots.figure(shown)
    return figure, [axes for axes in figure.axes if axes.get_title(loc="left") not in ("", MAXIMA)]


def caption(figure):
    return figure.texts[1].get_text().replace("\n", " ")


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


def test_one_figure_per_task_metric_transfer_objective_and_fraction(row):
    rows = [
        row(value=0.5),
        row(value=0.5, transfer="finetune"),
        row(value=0.5, fraction=0.1),
        row(value=0.5, objective="adversarial"),
        row(value=0.5, dataset="digits_noisy"),
        row(value=0.5, metric="nll", higher_is_better=False),
        row(value=0.5, architecture="resnet20"),
        row(status="missing", reason="not run", fraction=0.01),
    ]
    settings = [shown.setting for shown in curves(rows)]
    assert len(settings) == 6
    assert ("toy", "digits", "accuracy", "linear", "standard", "last", 0.1) in settings


def test_a_curve_runs_from_dense_to_sparse_over_the_weights_remaining(row):
    rows = [row("omp", s, seed, v) for s, v in ((0.9, 0.6), (0.5, 0.8)) for seed in (0, 1)]
    _, (axes,) = axes_of(rows)
    assert line(axes, "supervised, omp").get_xdata() == pytest.approx([0.5, 0.1])
    assert line(axes, "supervised, omp").get_ydata() == pytest.approx([0.8, 0.6])
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > 1 > 0.1 > right


def test_ticks_are_labelled_with_sparsity(row):
    figure, _ = axes_of([row("dense", 0.0, 0, 0.9), row("omp", 0.5, 0, 0.8), row("omp", 0.9, 0, 0.7)])
    axes = figure.axes[-1]
    labels = dict(zip(axes.get_xticks(), [text.get_text() for text in axes.get_xticklabels()], strict=True))
    assert {round(float(share), 9): text for share, text in labels.items()} == {0.1: "0.9", 0.5: "0.5", 1.0: "0"}


def test_the_achieved_sparsity_is_drawn(row):
    _, (axes,) = axes_of([row("omp", 0.9, 0, 0.8, achieved=0.88)])
    assert line(axes, "supervised, omp").get_xdata() == pytest.approx([0.12])


def test_the_dense_network_is_a_level_line(small_grid):
    _, (axes,) = axes_of(small_grid)
    assert list(line(axes, "supervised, dense").get_ydata()) == pytest.approx([0.9, 0.9])


def test_a_level_without_any_result_breaks_the_line(row):
    rows = [row("omp", 0.2, 0, 0.9), row("omp", 0.5, 0, status="failed", reason="x"), row("omp", 0.9, 0, 0.7)]
    _, (axes,) = axes_of(rows)
    assert np.isnan(line(axes, "supervised, omp").get_ydata()).tolist() == [False, True, False]


def test_every_fixed_look_is_of_a_known_word_and_distinct():
    assert {name.partition("(")[0] for name in plots.PRUNER_STYLES} <= set(PRUNERS)
    assert set(plots.COLOURS) <= {*PRETRAININGS, *SELF_SUPERVISED}
    assert len({style.marker for style in plots.PRUNER_STYLES.values()}) == len(plots.PRUNER_STYLES)
    assert len(set(plots.COLOURS.values())) == len(plots.COLOURS)


def test_a_method_looks_the_same_whatever_else_is_in_the_grid(small_grid, row):
    _, (alone,) = axes_of([row("imp", 0.9, 0, 0.5, pretraining="pgd_adversarial")])
    _, (crowd,) = axes_of([*small_grid, row("imp", 0.9, 0, 0.5, pretraining="pgd_adversarial")])
    for axes in (alone, crowd):
        drawn = line(axes, "pgd_adversarial, imp")
        assert (drawn.get_marker(), drawn.get_color()) == ("s", "#D55E00")


def test_words_without_a_fixed_look_get_distinct_ones(row):
    rows = [row(f"{name}(a=1)", 0.9, 0, 0.5) for name in ("alpha", "beta", "gamma")]
    _, (axes,) = axes_of(rows)
    markers = {line(axes, f"supervised, {name}(a=1)").get_marker() for name in ("alpha", "beta", "gamma")}
    assert len(markers) == 3
    assert not markers & {style.marker for style in plots.PRUNER_STYLES.values()}


def test_single_seeds_are_dots_up_to_five(row):
    for n, expected in ((5, 5), (6, 0)):
        _, (axes,) = axes_of([row("omp", 0.9, seed, 0.5 + seed / 100) for seed in range(n)])
        blue = to_rgb(plots.COLOURS["supervised"])
        dots = [c for c in axes.collections if len(c.get_facecolor()) and tuple(c.get_facecolor()[0][:3]) == blue]
        assert sum(len(c.get_offsets()) for c in dots if c.get_sizes().tolist() == [8]) == expected


def test_each_architecture_has_a_panel_with_its_own_reference(row):
    rows = [
        row(p, s, 0, v, architecture=name)
        for name, dense in (("resnet20", 0.95), ("resnet8", 0.85))
        for p, s, v in (("dense", 0.0, dense), ("omp", 0.9, 0.5))
    ]
    _, panels = axes_of(rows)
    assert [axes.get_title(loc="left") for axes in panels] == ["resnet20", "resnet8"]
    assert [line(axes, "supervised, dense").get_ydata()[0] for axes in panels] == [0.95, 0.85]


def test_a_structured_panel_shows_the_dense_reference_too(row):
    rows = [row("dense", 0.0, 0, 0.95), row("omp", 0.9, 0, 0.5, granularity="channel"), row("omp", 0.9, 0, 0.6)]
    _, panels = axes_of(rows)
    assert [axes.get_title(loc="left") for axes in panels] == ["resnet8, channel", "resnet8, unstructured"]
    assert [line(axes, "supervised, dense").get_ydata()[0] for axes in panels] == [0.95, 0.95]


def test_the_note_says_what_bands_and_crosses_are(small_grid, row):
    figure, _ = axes_of(small_grid)
    assert caption(figure) == (
        "lines: mean of n = 1 to 3 seeds; bands: 95% Student t interval over seeds; dots: single seeds; "
        "crosses and gaps: fewer seeds than planned, or none; "
        "differences: ticket minus dense, logarithmic beyond a hundredth of the largest"
    )
    figure, _ = axes_of([row("omp", 0.9, seed, 0.5 + seed) for seed in range(6)])
    assert caption(figure) == "lines: mean of n = 6 seeds; bands: 95% Student t interval over seeds"
    figure, _ = axes_of([row("omp", 0.9, seed, 0.5) for seed in range(6)])
    assert caption(figure) == "lines: mean of n = 6 seeds"


@pytest.mark.parametrize("sparsities", [(), (0.9,), (0.0,)])
def test_a_single_level_can_be_drawn(row, tmp_path, sparsities):
    rows = [row("dense", 0.0, seed, 0.9) for seed in (0, 1)]
    rows += [row("omp", s, seed, 0.5 + seed) for s in sparsities for seed in (0, 1)]
    (shown,) = curves(rows)
    save(plots.figure(shown), tmp_path / "x")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_drawn_twice_has_the_same_bytes_whatever_the_readers_settings(small_grid, tmp_path):
    (shown,) = curves(small_grid)
    first = save(plots.figure(shown), tmp_path / "a", name="x")
    with matplotlib.rc_context({"font.size": 20, "font.family": "monospace", "savefig.dpi": 30}):
        second = save(plots.figure(shown), tmp_path / "b", name="x")
        assert matplotlib.rcParams["font.size"] == 20
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_long_words_leave_room_for_the_curve(row, tmp_path, recwarn):
    label = "ticket(path=/scratch/someone/published/double_win/imagenet_adversarial/{round}-checkpoint.pth.tar)"
    rows = [row("dense", 0.0, value=0.9), row(label, 0.5, value=0.8), row(label, 0.9, value=0.7)]
    table = frame(rows, grid="toy")
    (shown,) = plots.curves(table, leaderboard(table))
    save(plots.figure(shown), tmp_path / "curve")
    assert not [warning for warning in recwarn if "constrained_layout" in str(warning.message)]


def labelled(rows, **labels):
    """A drawn figure whose omp entries carry the columns of the `matching` table."""
    table = frame(rows, grid="toy")
    board = leaderboard(table)
    ticket = board["pruner"] == "omp"
    board = board.assign(**{name: pd.Series(value, board.index).where(ticket) for name, value in labels.items()})
    (shown,) = plots.curves(table, board)
    return plots.figure(shown)


LADDER = [("dense", 0.0, 0.9), ("omp", 0.5, 0.89), ("omp", 0.9, 0.6)]


def test_differences_to_dense_stand_below_the_values(row):
    figure, _ = axes_of([row(*entry[:2], seed, entry[2]) for entry in LADDER for seed in (0, 1)])
    values, differences = figure.axes
    assert line(values, "supervised, omp").get_ydata() == pytest.approx([0.89, 0.6])
    (drawn,) = [line for line in differences.lines if line.get_marker() == "o" and len(line.get_xdata()) == 2]
    assert drawn.get_ydata() == pytest.approx([-0.01, -0.3])
    assert differences.get_yscale() == "symlog"


def test_without_a_dense_network_there_are_no_differences(row):
    figure, _ = axes_of([row("omp", 0.5, 0, 0.8), row("omp", 0.9, 0, 0.7)])
    assert len(figure.axes) == 1


def test_the_margin_is_linear_and_the_collapse_logarithmic(row):
    figure = labelled([row(*entry[:2], 0, entry[2]) for entry in LADDER], margin=0.02)
    differences = figure.axes[1]
    place = dict(
        zip(differences.get_yticks(), [text.get_text() for text in differences.get_yticklabels()], strict=True)
    )
    assert place[0.0] == "0"
    low, high = differences.get_ylim()
    assert low < -0.3
    assert high > 0.02
    bands = [patch for axes in figure.axes for patch in axes.patches if patch.get_height() == pytest.approx(0.04)]
    assert [round(patch.get_y(), 9) for patch in bands] == [0.88, -0.02]
    assert "grey: the margin around the dense network" in caption(figure)


def test_inconclusive_points_are_hollow(row):
    figure = labelled([row(*entry[:2], 0, entry[2]) for entry in LADDER], label="inconclusive")
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [list(np.round(line.get_ydata(), 9)) for line in hollow if len(line.get_xdata())] == [[0.89, 0.6]]
    assert "hollow: inconclusive" in caption(figure)


def with_maximum(rows, **columns):
    table = frame(rows, grid="toy")
    board = leaderboard(table)
    maxima = board.loc[board["pruner"] == "omp", list(CURVE)].drop_duplicates()
    (shown,) = plots.curves(table, board, maxima.assign(**columns))
    return plots.figure(shown).axes[2]


def test_the_maximum_matching_sparsity_has_its_interval_and_bound(row):
    axes = with_maximum(
        [row(*entry[:2], 0, entry[2]) for entry in LADDER],
        estimate=0.8, estimate_low=0.7, estimate_high=0.85, bound=0.5, censoring="none",
    )  # fmt: skip
    assert {line.get_marker(): round(float(line.get_xdata()[0]), 9) for line in axes.lines} == {"|": 0.5, "o": 0.2}
    (interval,) = axes.collections[0].get_paths()
    assert sorted(np.round(interval.vertices[:, 0], 9)) == [0.15, 0.3]


def test_an_interval_that_leaves_the_levels_ends_in_an_arrow(row):
    axes = with_maximum(
        [row(*entry[:2], 0, entry[2]) for entry in LADDER],
        estimate=0.8, estimate_low=np.nan, estimate_high=0.85, bound=np.nan, censoring="interval left: reaches below",
    )  # fmt: skip
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "<"] == [axes.get_xlim()[0]]


def test_a_maximum_that_is_not_known_says_why(row):
    reason = "left: fails at the densest tested"
    axes = with_maximum(
        [row(*entry[:2], 0, entry[2]) for entry in LADDER],
        estimate=np.nan, estimate_low=np.nan, estimate_high=np.nan, bound=np.nan, censoring=reason,
    )  # fmt: skip
    assert [text.get_text() for text in axes.texts] == [reason]


def test_two_grids_are_two_figures(row):
    table = pd.concat([frame([row(value=0.5)], grid=name) for name in ("a", "b")], ignore_index=True)
    assert [shown.setting[0] for shown in plots.curves(table, leaderboard(table))] == ["a", "b"]


def test_an_empty_table_has_no_curves():
    table = frame([], grid="toy")
    assert plots.curves(table, leaderboard(table)) == []
