import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.plots.looks import CLASS_COLOURS, COLOURS, PRUNER_STYLES, SPARE_COLOURS, assign, looks_of

LONG = "ticket(path=/scratch/someone/published/double_win/imagenet_adversarial/{round}-checkpoint.pth.tar)"


@style.settings()
def drawn(*, title="a title", note="a note", labels=("one", "two")):
    figure = Figure(figsize=(3.9, 2.0), layout="constrained")
    axes = figure.subplots()
    handles = [axes.plot([0, 1], [i, i + 1], "o-", label=label)[0] for i, label in enumerate(labels)]
    axes.set_title("$ & <b>")
    return style.finish(figure, title=title, note=note, handles=handles)


def test_figures_drawn_twice_have_the_same_bytes_whatever_the_readers_settings(tmp_path):
    first = style.save(drawn(), tmp_path / "first", name="x")
    with matplotlib.rc_context(
        {"font.size": 20, "font.family": "monospace", "savefig.dpi": 30, "svg.fonttype": "none"}
    ):
        second = style.save(drawn(), tmp_path / "second", name="x")
        assert matplotlib.rcParams["font.size"] == 20
    assert [path.suffix for path in first] == [".png", ".svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_saving_a_figure_leaves_it_as_it_was(tmp_path):
    figure = drawn()
    first = [path.read_bytes() for path in style.save(figure, tmp_path / "a")]
    assert [path.read_bytes() for path in style.save(figure, tmp_path / "a")] == first


def test_files_tell_no_time_and_no_version(tmp_path):
    for path in style.save(drawn(), tmp_path / "x"):
        content = path.read_bytes()
        assert b"Matplotlib" not in content
        assert b"<dc:date>" not in content


def test_ids_of_two_figures_on_a_page_do_not_clash_and_all_references_hold():
    ids = []
    for name in ("a", "b"):
        text = style.svg(drawn(), name)
        found = re.findall(r'\bid="([^"]+)"', text)
        assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)) <= {(i, "") for i in found} | {
            ("", i) for i in found
        }
        ids.append(set(found))
    assert not ids[0] & ids[1]


def test_an_svg_is_one_element_named_by_its_title_and_carries_its_letters(tmp_path):
    text = style.svg(drawn(title='"robust" & <sparse>', note="n = 3 seeds"), "x")
    root = ElementTree.fromstring(text)
    assert root.attrib["aria-label"] == '"robust" & <sparse>. N = 3 seeds.'
    assert not root.findall(".//{http://www.w3.org/2000/svg}text")
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"|"http://www\.w3\.org[^"]*"|"http://purl[^"]*"', "", text)


@pytest.mark.parametrize("labels", [("a",), tuple(f"{LONG} {i}" for i in range(12)), ("supervised, imp",) * 12])
def test_legend_title_and_note_stay_off_the_axes_and_inside_the_figure(labels):
    figure = drawn(title=LONG, note=f"{LONG}; " * 4, labels=labels)
    (axes,) = figure.axes
    panel = axes.get_tightbbox()
    boxes = [text.get_window_extent() for text in figure.texts] + [figure.legends[0].get_window_extent()]
    for i, box in enumerate(boxes):
        assert not box.overlaps(panel)
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert min(box.x0, box.y0, figure.bbox.x1 - box.x1, figure.bbox.y1 - box.y1) >= 0
    assert panel.height > 1.5 * figure.dpi


def test_long_names_break_after_their_separators():
    assert style.wrap("a/b/c and d", 5) == "a/b/c\nand d"
    assert style.wrap("supervised, imp", 12) == "supervised,\nimp"
    assert style.wrap("x" * 10, 4) == "xxxx\nxxxx\nxx"
    assert style.wrap("imp(on=x) (a b)", 9) == "imp(on=x)\n(a b)"
    assert style.wrap("", 4) == ""
    assert "".join(style.wrap(LONG, 24).split("\n")) == LONG


def test_a_method_has_the_colour_of_its_pretraining_and_the_marker_of_its_pruner():
    looks = looks_of(["supervised, imp", "pgd_adversarial(epsilon=0.03, norm=l2), imp", "omp"])
    assert looks["supervised, imp"][:2] == ("#0072B2", "s")
    assert looks["pgd_adversarial(epsilon=0.03, norm=l2), imp"][:2] == ("#D55E00", "s")
    assert looks["omp"].marker == PRUNER_STYLES["omp"].marker


def test_a_file_of_weights_looks_like_the_method_that_trained_it():
    looks = looks_of(["simclr, imp", "checkpoint(path=m.pth, method=moco), imp", "checkpoint(path=a.pth), imp"])
    assert looks["simclr, imp"].colour == COLOURS["simclr"]
    assert looks["checkpoint(path=m.pth, method=moco), imp"].colour == COLOURS["moco"]
    assert looks["checkpoint(path=a.pth), imp"].colour == COLOURS["checkpoint"]
    labels = ["checkpoint(path=m.pth, method=moco)", "checkpoint(path=s.pth, method=simclr)", "torchvision"]
    found = assign(labels, COLOURS, SPARE_COLOURS)
    assert [found[label] for label in labels] == [COLOURS[name] for name in ("moco", "simclr", "torchvision")]


def test_the_classes_of_a_scene_have_distinct_colours():
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS) == 20


def test_methods_with_the_same_words_look_different():
    looks = looks_of([f"supervised, imp(rewind_epoch={i})" for i in range(12)])
    assert len(set(looks.values())) == 12
    assert {look.colour for look in looks.values()} == {"#0072B2"}


def test_an_arrow_points_to_the_better_end():
    assert style.direction("accuracy", True) == "accuracy (↑ better)"
    assert style.direction("nll", False) == "nll (↓ better)"
    assert style.direction("cost", False, horizontal=True) == "cost (← better)"


def test_a_figure_without_a_legend_can_be_finished():
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().add_line(Line2D([0], [0]))
    assert style.finish(figure, title="t", note="n").legends == []


def test_the_place_of_axes_has_no_digits_that_vary_from_run_to_run():
    drawn = Figure(figsize=(6, 3), layout="constrained")
    for axes in drawn.subplots(2, 3, sharex=True, sharey=True).flat:
        axes.plot([0, 1 / 3], [0, 2 / 3])
    style.finish(drawn, title="three columns", note="two rows")
    places = [value for axes in drawn.axes for value in axes.get_position().bounds]
    # x0 + width comes back as a difference of corners: right to the rounding of a double, far below the ninth decimal.
    assert all(abs(value - round(value, 9)) < 1e-15 for value in places)
