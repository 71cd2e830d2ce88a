import pandas as pd
import pytest

from analysis.frame import COLUMNS, frame
from analysis.join import join, read_csv

LINE = "resnet50,supervised,imagenet,omp,0.5,cifar10,finetune,standard,1.0,0,accuracy,0.91"
HEADER = "architecture,pretraining,source,pruner,sparsity,dataset,transfer,objective,fraction,seed,metric,value"


@pytest.fixture
def write(tmp_path):
    def make(*lines, header=HEADER, name="theirs.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n")
        return path

    return make


def test_written_rows_are_read_back_as_they_were(small_grid, tmp_path):
    table = frame(small_grid, grid="toy")
    table.to_csv(tmp_path / "rows.csv", index=False)
    pd.testing.assert_frame_equal(read_csv(tmp_path / "rows.csv"), table)


def test_a_file_written_by_hand_needs_the_axes_and_the_value_only(write):
    table = read_csv(write(LINE, LINE.replace(",0.91", ",").replace(",0,acc", ",1,acc")))
    assert list(table.columns) == list(COLUMNS)
    assert table["status"].tolist() == ["done", "missing"]
    assert table[["grid", "granularity", "selection", "pretraining_seed", "higher_is_better"]].iloc[0].tolist() == [
        "theirs", "unstructured", "last", 0, True,
    ]  # fmt: skip
    assert table["kept"].isna().all()


@pytest.mark.parametrize(
    ("line", "header", "said"),
    [
        (LINE, HEADER.replace("pruner", "prune"), "theirs.csv has no column pruner"),
        (LINE.replace("0.91", "91 %"), HEADER, 'theirs.csv, line 2: value "91 %" is not a number'),
        (LINE.replace(",0,acc", ",,acc"), HEADER, "line 2: seed is blank"),
        (LINE.replace("accuracy", "rouge"), HEADER, "metric rouge: write True or False"),
        (LINE + ",finished", HEADER + ",status", 'status "finished" is not known (known: done, missing'),
        (LINE.replace("accuracy,0.91", ""), HEADER + ",status", "line 2: metric is blank"),
        (LINE.replace("cifar10", ""), HEADER, "line 2: dataset is blank"),
    ],
)
def test_a_file_that_says_nothing_clear_is_refused(write, line, header, said):
    with pytest.raises(ValueError, match=r".") as error:
        read_csv(write(line, header=header))
    assert said in str(error.value)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "no.csv").write_text("")
    with pytest.raises(ValueError, match="no CSV file with a header"):
        read_csv(tmp_path / "no.csv")


def test_rows_of_two_grids_stay_apart_and_equal_rows_are_one(small_grid):
    table = frame(small_grid, grid="toy")
    assert len(join([table, table])) == len(table)
    assert len(join([table, table.assign(grid="other")])) == 2 * len(table)


def test_what_one_frame_lacks_the_other_gives(row):
    done = frame([row(seed=0, value=0.5), row(seed=1, status="missing", reason="not run")], grid="toy")
    more = frame([row(seed=0, status="failed", reason="out of memory"), row(seed=1, value=0.7)], grid="toy")
    for order in ([done, more], [more, done]):
        joined = join(order)
        assert joined[["seed", "status", "value"]].to_numpy().tolist() == [[0, "done", 0.5], [1, "done", 0.7]]


def test_two_values_of_one_cell_are_refused(row):
    with pytest.raises(ValueError, match="two results of one cell"):
        join([frame([row(value=0.5)], grid="toy"), frame([row(value=0.6)], grid="toy")])
