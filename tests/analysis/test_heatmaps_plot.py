import numpy as np
import pandas as pd

from analysis.layers import SETTING
from analysis.plots import heatmaps
from analysis.plots.cells import ink

NETWORK = {"grid": "toy", "architecture": "resnet8", "granularity": "unstructured", "sparsity": 0.9, "round": 10}
ROW = NETWORK | {
    "pretraining": "supervised",
    "source": "letters",
    "pretraining_seed": 0,
    "transfer": "linear",
    "objective": "standard",
    "fraction": 1.0,
    "metric": "accuracy",
    "selection": "last",
    "family": "imp",
}


def texts(axes):
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def pair(a, b, iou, expected=0.1):
    names = {"ticket_a": a, "ticket_b": b, "name_a": f"name {a}", "name_b": f"name {b}"}
    return {name: ROW[name] for name in SETTING} | names | {"iou": iou, "expected_iou": expected}


def test_overlap_is_symmetric_with_the_expected_one_in_brackets():
    axes, _ = heatmaps.overlaps(pd.DataFrame([pair("x", "y", 0.5)]))[0].draw().axes
    assert texts(axes) == {(0, 0): "", (0, 1): "0.50\n(0.10)", (1, 0): "0.50\n(0.10)", (1, 1): ""}
    assert axes.collections[0].get_clim() == (0, 1)


def test_tickets_of_one_name_are_told_apart_by_their_keys():
    table = pd.DataFrame([pair("aaaaaaaa", "bbbbbbbb", 0.5)]).assign(name_a="imp", name_b="imp")
    axes, _ = heatmaps.overlaps(table)[0].draw().axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["imp aaaaaa", "imp bbbbbb"]


def layer(ticket, position, sparsity, name=None):
    row = {name: ROW[name] for name in SETTING} | {
        "ticket": ticket,
        "name": ticket,
        "layer": name or f"layer{position}",
    }
    return row | {"position": position, "layer_sparsity": sparsity}


def test_layers_run_from_the_input_to_the_output():
    rows = [layer("x", 10, 0.95), layer("x", 2, 0.8), layer("y", 2, 0.9), layer("y", 10, 0.85)]
    axes, _ = heatmaps.profiles(pd.DataFrame(rows))[0].draw().axes
    assert [text.get_text() for text in axes.get_xticklabels()] == ["layer2", "layer10"]
    assert texts(axes) == {(0, 0): "0.80", (0, 1): "0.95", (1, 0): "0.90", (1, 1): "0.85"}
    assert axes.collections[0].get_clim() == (0.8, 1)


def test_a_deep_network_keeps_legible_ticks():
    axes, _ = heatmaps.profiles(pd.DataFrame([layer("x", i, 0.5) for i in range(150)]))[0].draw().axes
    assert not any(texts(axes).values())
    assert len(axes.get_xticks()) <= 40
    assert [text.get_text() for text in axes.get_xticklabels()][:2] == ["layer0", "layer5"]


def test_tables_without_a_number_have_no_heat_map():
    assert heatmaps.overlaps(pd.DataFrame([pair("x", "y", np.nan)])) == []
    assert heatmaps.profiles(pd.DataFrame([layer("x", 0, np.nan)])) == []


def test_empty_kernels_are_left_white_and_counted():
    kept = np.array([[0, 0, 0], [0, 9, 4]])
    figure = heatmaps.kernels(kept, "conv1")
    image = figure.axes[0].images[0]
    assert np.ma.getmaskarray(image.get_array()).tolist() == [[True, True, True], [True, False, False]]
    assert "4 of 6 kernels are empty; so are 1 of 2 output and 1 of 3 input channels" in figure.texts[
        1
    ].get_text().replace("\n", " ")
    assert heatmaps.kernels(np.zeros((2, 2), int), "conv1").axes


def test_text_is_black_on_light_cells_and_white_on_dark_ones():
    assert [ink(colour) for colour in ((1, 1, 1), (0.8, 0.8, 0.8), (0.4, 0, 0.1), (0, 0, 0, 1))] == [
        "black",
        "black",
        "white",
        "white",
    ]
