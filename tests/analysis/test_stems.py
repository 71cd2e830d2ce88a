import pandas as pd
import pytest

from analysis.frame import frame, methods
from analysis.stems import networks, without_stem
from bench.catalog import ARCHITECTURES


@pytest.mark.parametrize(
    ("label", "bare"),
    [
        ("resnet50", "resnet50"),
        ("resnet50(stem=cifar)", "resnet50"),
        ("other(stem=cifar, width=2)", "other(width=2)"),
        ("other(width=2, stem=cifar)", "other(width=2)"),
        ("other(system=stem)", "other(system=stem)"),
    ],
)
def test_the_stem_is_left_out_of_the_label_and_nothing_else(label, bare):
    assert without_stem(label) == bare


def test_the_option_is_still_called_stem():
    assert "stem" in ARCHITECTURES["resnet50"].options


def places(*pairs):
    return pd.DataFrame([("toy", *pair) for pair in pairs], columns=["grid", "architecture", "dataset"])


def test_stems_that_go_with_the_data_set_are_of_one_network():
    table = places(("resnet50(stem=cifar)", "cifar10"), ("resnet50", "voc2012"), ("resnet18(stem=cifar)", "cifar10"))
    assert networks(table).tolist() == ["resnet50", "resnet50", "resnet18(stem=cifar)"]


def test_stems_that_are_compared_on_a_data_set_are_two_networks():
    table = places(("resnet50(stem=cifar)", "cifar10"), ("resnet50", "cifar10"), ("resnet50", "voc2012"))
    assert networks(table).tolist() == ["resnet50(stem=cifar)", "resnet50", "resnet50"]


def test_grids_are_judged_by_themselves_and_nothing_is_no_network():
    table = places(("resnet50(stem=cifar)", "cifar10"), ("resnet50", "voc2012")).assign(grid=["one", "two"])
    assert networks(table).tolist() == ["resnet50(stem=cifar)", "resnet50"]
    assert networks(table[:0]).empty


def test_a_method_is_one_on_all_data_sets_whatever_its_stem(row):
    rows = [
        row(value=0.5, pretraining=pretraining, architecture=architecture, dataset=dataset)
        for pretraining in ("simclr", "moco")
        for architecture, dataset in (("resnet50(stem=cifar)", "cifar10"), ("resnet50", "voc2012"))
    ]
    assert set(methods(frame(rows, grid="toy"))) == {"simclr", "moco"}
