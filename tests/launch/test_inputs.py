"""What a plan reads that is not there, named before anything runs."""

from pathlib import Path

from bench import grid
from bench.launch.inputs import missing_data, sets_read
from bench.plan import plan

TEXTS = Path(__file__).parents[2] / "grids" / "bert_lth.yaml"


def test_every_missing_set_and_model_is_named_once_with_its_command(tmp_path):
    found = missing_data(plan(grid.read(TEXTS)).stages.values(), tmp_path)
    names = ["mlm", "mnli", "qqp", "stsb", "wnli", "qnli", "mrpc", "rte", "sst2", "cola", "squad"]
    assert sorted(text.split(",")[0] for text in found[:-1]) == sorted(names)
    assert all(f"`python -m bench.prepare {text.split(',')[0]} --data {tmp_path}`" in text for text in found[:-1])
    folder = tmp_path / "weights" / "bert-base-uncased"
    command = f"`python -m bench.prepare huggingface:bert-base-uncased --data {tmp_path}`"
    assert found[-1] == f"bert-base-uncased: no folder {folder}. Run {command}"
    folder.mkdir(parents=True)
    assert len(missing_data(plan(grid.read(TEXTS)).stages.values(), tmp_path)) == len(names)


def test_an_evaluation_reads_the_split_that_its_word_names(tmp_path):
    planned = plan(grid.read(TEXTS))
    read = {
        str(stage.parameters.metric): {split for _, split in sets_read(stage)}
        for stage in planned.stages.values()
        if stage.kind == "evaluate" and stage.parameters.data.dataset.name == "mnli"
    }
    assert read == {"glue": {"test"}, "glue(split=mismatched)": {"mismatched"}}
