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
    reported,
)
from analysis.tasks import first_score
from bench.catalog import ARCHITECTURES, DATASETS, PRETRAININGS, PRUNERS
from bench.words import parse

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


def test_numbers_are_described_in_words_of_the_catalog():
    found = read_published()
    for axis, known in (
        ("architecture", ARCHITECTURES),
        ("pretraining", PRETRAININGS),
        ("pruner", PRUNERS),
        ("source", {**DATASETS, "": None}),
        ("dataset", DATASETS),
    ):
        assert set(found[axis].str.split("(").str[0]) <= set(known)


def test_texts_are_measured_by_the_first_score_of_their_set_and_masked_by_words_that_grids_take():
    found = read_published().query("study == 'chen2020_bert'")
    assert found["metric"].tolist() == [first_score(dataset) for dataset in found["dataset"]]
    for label in found["pruner"].unique():
        assert str(parse(label, "pruner", PRUNERS)) == label


@pytest.mark.parametrize(
    ("item", "values"),
    [
        ("table 2, full BERT", "82.4 90.2 88.4 54.9 89.1 85.2 66.2 92.1 54.5 88.1 63.5"),
        ("table 2, (m_IMP, theta_0)", "82.6 90.0 88.2 54.9 88.9 84.9 66.0 91.9 53.8 87.7 63.2"),
        ("table 2, (m_RP, theta_0)", "67.5 76.3 21.0 53.5 61.9 69.6 56.0 83.1 9.6 31.8 32.3"),
        ("table 2, (m_IMP, theta_0')", "61.0 77.0 9.2 53.5 60.5 68.4 54.5 80.2 0.0 18.6 14.4"),
        ("table 2, (m_IMP, theta_0'')", "70.1 79.2 19.6 53.3 62.0 69.6 52.7 82.6 4.0 24.2 42.3"),
        ("figure 2, mask found on wnli", "-2.69 -2.67 -21.27 -5.17 -4.18 -15.33 -10.93 -4.78 -54.51 -7.85 -5.73"),
        ("figure 2, mask found on mlm", "0.20 -0.16 -0.97 0.12 0.30 -3.65 -6.35 -0.19 -7.36 -2.29 -0.34"),
        ("figure 2, one-shot pruning of theta_0", "0.07 -0.57 -3.12 -1.41 -0.01 -12.68 -7.32 -0.99 -22.30 -2.83 -6.39"),
    ],
)  # fmt: skip
def test_spot_checks_of_the_bert_tables(item, values):
    found = read_published().query("study == 'chen2020_bert' and item == @item").set_index("dataset")["value"]
    names = ["mnli", "qqp", "stsb", "wnli", "qnli", "mrpc", "rte", "sst2", "cola", "squad", "mlm"]
    assert (100 * found[names]).round(2).tolist() == [float(value) for value in values.split()]


def test_a_mask_of_the_target_is_the_same_by_either_word(tmp_path):
    row = {"source": "mlm", "dataset": "mnli", "pruner": "imp(on=downstream)"}
    path = folder(tmp_path, row, row | {"pruner": "imp(on=qqp)"})
    entry = {"source": "mlm", "dataset": "mnli"}
    named, other = board(pruner="imp(on=mnli)", **entry), board(pruner="imp(on=qqp)", mean=0.8, **entry)
    partial = board(pruner="imp(on=downstream)", complete=False, mean=0.1, **entry)
    found = published(pd.concat([partial, named, other]), folder=path)
    # One row for the mask of mnli: of two entries of it the one with all its seeds.
    assert found["measured_mean"].tolist() == [0.91, 0.8]


def test_what_is_reported_of_an_entry_is_the_first_number_in_fractions(tmp_path):
    path = folder(
        tmp_path,
        {"unit": DIFFERENCE, "value": "-0.1"},
        {"value": "0.85", "sd": "0.02", "n_runs": "3"},
        {"value": "0.7", "item": "again"},
        {"value": "0.6", "dataset": "svhn", "source": ""},
    )
    entries = pd.concat([board(), board(dataset="svhn", source="places"), board(dataset="gtsrb")]).set_axis([5, 3, 4])
    found = reported(entries, folder=path)
    assert found.index.tolist() == [5, 3, 4]
    assert found["study"].tolist() == ["s", "s", ""]
    assert found["value"].tolist()[:2] == [0.85, 0.6]
    assert found.loc[5, ["sd", "n_runs"]].tolist() == [0.02, 3]
    assert found.loc[4, ["value", "sd", "n_runs"]].isna().all()
    assert reported(entries, folder=tmp_path / "none")["value"].isna().all()


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
