import math

import numpy as np
import pandas as pd
import pytest

from analysis.frame import ENTRY
from analysis.published import (
    CSV_COLUMNS,
    DIFFERENCE,
    FOLDER,
    PUBLISHED_COLUMNS,
    check,
    published,
    read_published,
)
from bench.catalog import ARCHITECTURES, DATASETS, PRETRAININGS, PRUNERS

FIRST = {
    "study": "s", "item": "table 1", "architecture": "resnet18", "pretraining": "supervised", "pruner": "omp", "source": "imagenet",
    "granularity": "unstructured", "sparsity": "0.5904", "dataset": "cifar10", "transfer": "finetune", "objective": "standard",
    "fraction": "1.0", "metric": "accuracy", "value": "0.9", "sd": "", "n_runs": "", "read_out_error": "0.003",
    "unit": "fraction", "reference": "paper, table 1", "remark": "",
}  # fmt: skip


def folder(tmp_path, *rows):
    pd.DataFrame([FIRST | row for row in rows], columns=list(CSV_COLUMNS)).to_csv(tmp_path / "s.csv", index=False)
    return tmp_path


def board(**entry):
    """Three seeds, mean 0.91, sd 0.01: half-width 4.302653 * 0.01 / sqrt(3) = 0.024841."""
    plain = {name: FIRST[name] for name in ENTRY if name in FIRST}
    plain |= {
        "sparsity": 0.5904,
        "fraction": 1.0,
        "grid": "toy",
        "pretraining_seed": 0,
        "round": 4,
        "selection": "last",
    }
    numbers = {
        "mean": 0.91,
        "sd": 0.01,
        "n": 3,
        "complete": True,
        "diff_mean": -0.02,
        "diff_low": -0.03,
        "diff_high": -0.01,
    }
    return pd.DataFrame([plain | numbers | entry])


def test_measured_stands_beside_published_with_the_combined_uncertainty(tmp_path):
    found = published(board(), folder=folder(tmp_path, {})).iloc[0]
    assert [found["measured_mean"], found["measured_sd"], found["measured_n"]] == [0.91, 0.01, 3]
    assert found["difference"] == pytest.approx(0.01)
    assert found["uncertainty"] == pytest.approx(math.hypot(0.024841, 0.003), abs=1e-6)
    assert found["inside"]
    assert found["note"] == "their deviation is not published: the uncertainty holds ours and the read-out error"


def test_their_deviation_counts_as_the_interval_of_their_mean(tmp_path):
    found = published(board(), folder=folder(tmp_path, {"value": "0.86", "sd": "0.01", "n_runs": "5"})).iloc[0]
    # t(0.975, 4) * 0.01 / sqrt(5) = 2.776445 * 0.004472 = 0.012417.
    assert found["uncertainty"] == pytest.approx(math.sqrt(0.024841**2 + 0.012417**2 + 0.003**2), abs=1e-6)
    assert not found["inside"]
    assert found["note"] == ""


def test_differences_to_dense_are_compared_with_paired_differences(tmp_path):
    found = published(board(), folder=folder(tmp_path, {"unit": DIFFERENCE, "value": "-0.025"})).iloc[0]
    assert found["measured_mean"] == -0.02
    assert np.isnan(found["measured_sd"])
    assert found["uncertainty"] == pytest.approx(math.hypot(0.01, 0.003))
    assert found["inside"]


@pytest.mark.parametrize(
    ("entry", "axis"),
    [
        ({"dataset": "svhn"}, "dataset"),
        ({"architecture": "resnet50"}, "architecture"),
        ({"pruner": "imp"}, "pruner"),
        ({"sparsity": 0.5906}, "sparsity"),
        ({"metric": "nll", "fraction": 0.1}, "fraction"),
    ],
)
def test_what_is_not_measured_stays_and_names_the_first_axis_that_differs(tmp_path, entry, axis):
    found = published(board(**entry), folder=folder(tmp_path, {})).iloc[0]
    assert found["note"] == f"not measured: no entry has its {axis}"
    assert np.isnan(found["measured_mean"])
    assert pd.isna(found["inside"])


def test_sparsities_agree_to_four_decimals_and_a_blank_source_is_any(tmp_path):
    found = published(board(sparsity=0.59043, source="places"), folder=folder(tmp_path, {}, {"source": ""}))
    assert found["measured_mean"].isna().tolist() == [True, False]
    assert found["note"].iloc[0] == "not measured: no entry has its source"


def test_every_selection_and_grid_has_its_row(tmp_path):
    both = pd.concat([board(selection="best_validation"), board(), board(grid="again")])
    found = published(both, folder=folder(tmp_path, {}, {"dataset": "svhn"}))
    assert found[["grid", "selection"]].to_numpy().tolist() == [
        ["again", "last"],
        ["toy", "best_validation"],
        ["toy", "last"],
        ["", ""],
    ]
    pd.testing.assert_frame_equal(found, published(both[::-1], folder=tmp_path))


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        ({"n": 1, "sd": np.nan}, "no interval of ours: fewer than two seeds, equal values, or not a mean"),
        ({"sd": 0.0}, "no interval of ours: fewer than two seeds, equal values, or not a mean"),
        ({"complete": False, "diff_mean": np.nan}, "a planned seed or the dense network is missing"),
    ],
)
def test_without_an_interval_of_ours_nothing_is_inside_or_outside(tmp_path, entry, note):
    found = published(board(**entry), folder=folder(tmp_path, {})).iloc[0]
    assert found["difference"] == pytest.approx(0.01)
    assert pd.isna(found["inside"])
    assert found["note"] == note


def test_double_win_sparsities_are_the_sparsest_up_to_which_all_are(tmp_path):
    words = {
        name: FIRST[name]
        for name in ("architecture", "pretraining", "source", "pruner", "granularity", "dataset", "transfer")
    }
    words |= {
        "grid": "toy",
        "fraction": 1.0,
        "pretraining_seed": 0,
        "selection": "last",
        "robust_metric": "pgd_accuracy",
    }
    wins = [(0.2, True), (0.36, True), (0.488, False), (0.5904, True)]
    table = pd.DataFrame([words | {"sparsity": sparsity, "double_win": won} for sparsity, won in wins])
    path = folder(
        tmp_path,
        {"metric": "double_win_sparsity", "unit": "sparsity", "value": "0.488", "sparsity": "", "objective": ""},
    )
    found = published(board(), table[::-1], folder=path).iloc[0]
    assert found["measured_mean"] == 0.36
    assert found["difference"] == pytest.approx(-0.128)
    assert pd.isna(found["inside"])
    assert published(board(), folder=path)["note"].tolist() == ["not measured: no entry has its sparsity"]


def test_an_empty_board_and_an_empty_folder(tmp_path):
    assert published(board()[:0], folder=folder(tmp_path, {}))["note"].tolist() == [
        "not measured: no entry has its dataset"
    ]
    nothing = published(board(), folder=tmp_path / "none")
    assert (list(nothing), len(nothing)) == (list(PUBLISHED_COLUMNS), 0)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"value": "95.26"}, "line 2: the value is not a fraction of 1"),
        ({"value": ""}, "line 2: the value is not a fraction of 1"),
        ({"sparsity": "0.95"}, r"line 2: the sparsity is neither 1 - 0.8\^k nor a tenth"),
        ({"unit": "percent"}, "line 2: the unit is not one of fraction, difference to dense, sparsity"),
        ({"sd": "0.01"}, "line 2: a deviation needs the number of runs"),
        ({"read_out_error": "0"}, "line 2: the read-out error is not positive"),
        ({"reference": ""}, "line 2: where it was read is not said"),
        ({"value": "high"}, "Unable to parse string 'high'"),
    ],
)
def test_wrong_numbers_are_refused_with_their_line(tmp_path, row, problem):
    with pytest.raises(ValueError, match=f"s.csv.*{problem}"):
        read_published(folder(tmp_path, row))


def test_other_columns_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("study,value\ns,0.5\n")
    with pytest.raises(ValueError, match=r"s.csv has the columns study, value; published numbers need study, item"):
        read_published(tmp_path)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.csv")), ids=lambda path: path.stem)
def test_a_study_has_one_sound_file(path):
    found = read_published(FOLDER)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert list(table) == list(CSV_COLUMNS)
    assert set(table["study"]) == {path.stem}
    assert check(found[found["study"] == path.stem]) == []
    assert not table.duplicated(
        ["item", "architecture", "pretraining", "pruner", "sparsity", "dataset", "transfer", "metric"]
    ).any()


def test_images_are_described_in_words_of_the_catalog():
    found = read_published().query("study != 'chen2020_bert'")
    later = {"pretraining": {"simclr", "moco"}, "dataset": {"voc2007", "voc2012"}}
    for axis, known in (
        ("architecture", ARCHITECTURES),
        ("pretraining", PRETRAININGS),
        ("pruner", PRUNERS),
        ("dataset", DATASETS),
    ):
        assert set(found[axis].str.split("(").str[0]) <= set(known) | later.get(axis, set())


@pytest.mark.parametrize(
    ("item", "dataset", "sparsity", "value"),
    [
        ("figure 3, (m_Img, theta_Img)", "cifar10", 0, 0.9526),
        ("figure 3, (m_sim, theta_sim)", "svhn", 15, 0.9659),
        ("figure 3, (m_T, theta_5%)", "fashion_mnist", 18, 0.932),
        ("figure 3, (m_T, theta_0)", "cifar100", 4, 0.752),
        ("dense.png, (m_MoCo, theta_MoCo)", "voc2012", 8, 0.711),
        ("dense.png, (m_T, theta_Img)", "voc2007", 4, 0.518),
    ],
)
def test_spot_checks_of_the_digitised_curves(item, dataset, sparsity, value):
    found = read_published().query("item == @item and dataset == @dataset").set_index("sparsity")
    assert found["value"][round(1 - 0.8**sparsity, 10)] == value


def test_the_abstracts_range_of_the_self_supervised_study_is_in_its_curves():
    """Sparsest level with a mean of at least dense: simCLR masks on SVHN reach 96.48 %, the abstract's upper end."""
    curve = read_published().query("item == 'figure 3, (m_sim, theta_sim)' and dataset == 'svhn'")
    dense = curve.loc[curve["sparsity"] == 0, "value"].item()
    assert curve.loc[curve["value"] >= dense, "sparsity"].max() == pytest.approx(1 - 0.8**15)
