import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.frame import frame
from analysis.leaderboard import leaderboard
from analysis.plots import curves as plots
from bench.catalog import PRETRAININGS, PRUNERS


def curves(rows):
    table = frame(rows, grid="toy")
    return plots.curves(table, leaderboard(table))


def axes_of(rows):
    (shown,) = curves(rows)
    figure = plots._figure(shown)
    return figure, [axes for axes in figure.axes if axes.get_visible()]


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
    assert ("digits", "accuracy", "linear", "standard", "last", 0.1) in settings


def test_a_curve_runs_from_dense_to_sparse_over_the_weights_remaining(row):
    rows = [row("omp", s, seed, v) for s, v in ((0.9, 0.6), (0.5, 0.8)) for seed in (0, 1)]
    _, (axes,) = axes_of(rows)
    assert line(axes, "supervised, omp").get_xdata() == pytest.approx([0.5, 0.1])
    assert line(axes, "supervised, omp").get_ydata() == pytest.approx([0.8, 0.6])
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left > 1 > 0.1 > right


def test_ticks_are_labelled_with_sparsity(row):
    _, (axes,) = axes_of([row("dense", 0.0, 0, 0.9), row("omp", 0.5, 0, 0.8), row("omp", 0.9, 0, 0.7)])
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
    assert set(plots.COLOURS) <= set(PRETRAININGS)
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
    assert figure.get_supxlabel() == (
        "lines: mean of n = 1 to 3 seeds; bands: 95% Student t interval over seeds\n"
        "dots: single seeds; crosses and gaps: fewer seeds than planned, or none"
    )
    figure, _ = axes_of([row("omp", 0.9, seed, 0.5 + seed) for seed in range(6)])
    assert figure.get_supxlabel() == "lines: mean of n = 6 seeds; bands: 95% Student t interval over seeds"
    figure, _ = axes_of([row("omp", 0.9, seed, 0.5) for seed in range(6)])
    assert figure.get_supxlabel() == "lines: mean of n = 6 seeds"


@pytest.mark.parametrize("sparsities", [(), (0.9,), (0.0,)])
def test_a_single_level_can_be_drawn(row, tmp_path, sparsities):
    rows = [row("dense", 0.0, seed, 0.9) for seed in (0, 1)]
    rows += [row("omp", s, seed, 0.5 + seed) for s in sparsities for seed in (0, 1)]
    (shown,) = curves(rows)
    plots.draw(shown, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_bytes_do_not_depend_on_the_readers_settings(small_grid, tmp_path):
    (shown,) = curves(small_grid)
    plots.draw(shown, tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 20, "font.family": "monospace", "savefig.dpi": 30}):
        plots.draw(shown, tmp_path / "b.png")
        assert matplotlib.rcParams["font.size"] == 20
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_long_words_leave_room_for_the_curve(row, tmp_path, recwarn):
    label = "ticket(path=/scratch/someone/published/double_win/imagenet_adversarial/{round}-checkpoint.pth.tar)"
    rows = [row("dense", 0.0, value=0.9), row(label, 0.5, value=0.8), row(label, 0.9, value=0.7)]
    table = frame(rows, grid="toy")
    (shown,) = plots.curves(table, leaderboard(table))
    plots.draw(shown, tmp_path / "curve.png")
    assert not [warning for warning in recwarn if "constrained_layout" in str(warning.message)]
