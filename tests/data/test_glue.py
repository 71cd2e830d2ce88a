"""GLUE, read from small files in the official layouts."""

import numpy as np
import pytest

from bench.catalog import DATASETS, load
from bench.data import DataError, vocabularies

# The official headers; CoLA has none.
MNLI = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse\tsentence1\tsentence2\t"
FOLDERS = {
    "mnli": "MNLI", "qqp": "QQP", "stsb": "STS-B", "wnli": "WNLI", "qnli": "QNLI", "mrpc": "MRPC", "rte": "RTE", "sst2": "SST-2",
    "cola": "CoLA",
}  # fmt: skip
# Training file, then what is expected: the two texts and the label or score of every example.
FILES = {
    "mnli": (
        f"{MNLI}label1\tgold_label\n"
        "0\t1\t1n\tfiction\tp\tp\tp\tp\tThe cat sat.\tShe sold it.\tneutral\tneutral\n"
        "1\t2\t2c\tfiction\tp\tp\tp\tp\tThe cat sat.\tThe cat ran.\tcontradiction\tcontradiction\n"
        "2\t3\t3e\tfiction\tp\tp\tp\tp\tThe cat sat.\tIt sat.\tentailment\tentailment\n",
        [("The cat sat.", "She sold it.", 2), ("The cat sat.", "The cat ran.", 0), ("The cat sat.", "It sat.", 1)],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
        '0\t1\t2\tWho "is it?\tWho was it?\t1\n'
        "1\t3\t4\tbroken\n"
        "2\t5\t6\tWhere?\tWhen?\t0\n",
        [('Who "is it?', "Who was it?", 1), ("Where?", "When?", 0)],
    ),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tmain\tf\t2012\t1\tnone\tnone\tThe cat.\tA cat.\t4.600\n"
        "1\tmain\tf\t2012\t2\tnone\tnone\tThe cat.\tA book.\t0.250\n",
        [("The cat.", "A cat.", 4.6), ("The cat.", "A book.", 0.25)],
    ),
    "wnli": (
        "index\tsentence1\tsentence2\tlabel\n0\tThe cat sat on the mat.\tThe mat sat.\t0\n1\tShe sold it.\tIt was sold.\t1\n",
        [("The cat sat on the mat.", "The mat sat.", 0), ("She sold it.", "It was sold.", 1)],
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWho sat?\tThe cat sat.\tentailment\n1\tWhere?\tThe cat sat.\tnot_entailment\n",
        [("Who sat?", "The cat sat.", 0), ("Where?", "The cat sat.", 1)],
    ),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t10\t11\tShe sold it.\tIt was sold.\n0\t12\t13\tIt sat.\tIt ran.\n",
        [("She sold it.", "It was sold.", 1), ("It sat.", "It ran.", 0)],
    ),
    "rte": (
        "index\tsentence1\tsentence2\tlabel\n0\tThe cat sat.\tIt ran.\tnot_entailment\n1\tThe cat sat.\tIt sat.\tentailment\n",
        [("The cat sat.", "It ran.", 1), ("The cat sat.", "It sat.", 0)],
    ),
    "sst2": (
        "sentence\tlabel\na film that runs too long \t0\nthe cat , the cat ! \t1\n",
        [("a film that runs too long ", None, 0), ("the cat , the cat ! ", None, 1)],
    ),
    "cola": (
        "gj04\t1\t\tThe cat sat.\ngj04\t0\t*\tCat the sat the.\n",
        [("The cat sat.", None, 1), ("Cat the sat the.", None, 0)],
    ),
}  # fmt: skip
OTHER = {"mnli": ("dev_matched", "dev_mismatched")}


def lay(raw, name, text=None):
    """The set's files, all with the same rows."""
    folder = raw / "glue" / FOLDERS[name]
    folder.mkdir(parents=True)
    for file in ("train", *OTHER.get(name, ("dev",))):
        (folder / f"{file}.tsv").write_text(FILES[name][0] if text is None else text, encoding="utf-8")
    return folder


def read(name, split, raw):
    return load(DATASETS[name].source)(split, raw, download=False, options={})


@pytest.mark.parametrize("name", FILES)
def test_texts_and_labels_are_those_of_the_official_columns(name, raw, hugging_face):
    lay(raw, name)
    expected, oracle = FILES[name][1], hugging_face("uncased", raw)
    for split in ("train", "test", *DATASETS[name].splits):
        found = read(name, split, raw)
        values = found.labels if name != "stsb" else found.values
        assert values.tolist() == pytest.approx([row[2] for row in expected])
        for i, (first, second, _) in enumerate(expected):
            encoded = oracle(first, second)
            assert found.tokens(i).tolist() == encoded["input_ids"]
            assert found.second[i] == (0 if second is None else encoded["token_type_ids"].index(1))


def test_scores_are_values_and_whole_numbers_as_labels(raw):
    lay(raw, "stsb")
    found = read("stsb", "train", raw)
    assert found.labels.tolist() == [5, 0]
    assert found.values.dtype == np.float32


def test_the_matched_development_set_tests_and_the_other_one_is_mismatched(raw):
    folder = lay(raw, "mnli")
    rows = FILES["mnli"][0].splitlines(keepends=True)
    (folder / "dev_mismatched.tsv").write_text(rows[0] + rows[2])
    assert read("mnli", "test", raw).labels.tolist() == [2, 0, 1]
    assert read("mnli", "mismatched", raw).labels.tolist() == [0]


def test_a_development_file_of_mnli_has_labels_of_five_annotators(raw):
    folder = lay(raw, "mnli")
    row = "0\t1\t1n\tfiction\tp\tp\tp\tp\tThe cat.\tIt.\tneutral\tneutral\tentailment\tneutral\tneutral\tentailment\n"
    (folder / "dev_matched.tsv").write_text(f"{MNLI}label1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n{row}")
    assert read("mnli", "test", raw).labels.tolist() == [1]


def test_pairs_are_at_most_128_tokens_long(raw):
    lay(raw, "rte", f"index\tsentence1\tsentence2\tlabel\n0\t{'the cat ' * 300}\tit sat\tentailment\n")
    found = read("rte", "train", raw)
    assert len(found.tokens(0)) == 128
    # Three special tokens and both words of the second sentence stay.
    assert found.second[0] == 128 - 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rte", "index\tsentence1\tlabel\n", r"train\.tsv: no column 'sentence2' \(found: index, sentence1, label\)"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\tb\tmaybe\n", r"train\.tsv, line 3: label 'maybe' \(known: entailment, not_entailment\)"),
        ("cola", "gj04\t1\t\tThe cat sat.\ngj04\t1\n", r"train\.tsv, line 2: list index out of range"),
        ("stsb", FILES["stsb"][0].replace("0.250", "5.25"), r"train\.tsv, line 3: score '5\.25', not in \[0, 5\]"),
        ("sst2", "sentence\tlabel\n", r"train\.tsv: no examples"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named_by_its_line(name, text, message, raw):
    lay(raw, name, text)
    with pytest.raises(DataError, match=message):
        read(name, "train", raw)


def test_missing_files_and_splits_are_named(raw):
    with pytest.raises(
        DataError, match=r"qnli: missing or damaged files .*glue/QNLI/train\.tsv.*no train\.tsv.*Unpack"
    ):
        read("qnli", "train", raw)
    lay(raw, "qnli")
    with pytest.raises(DataError, match=r"qnli: no split 'mismatched' \(known: train, test\)"):
        read("qnli", "mismatched", raw)


def test_a_file_that_is_not_utf_8_is_named(raw):
    folder = lay(raw, "sst2")
    (folder / "train.tsv").write_bytes(b"sentence\tlabel\ncaf\xe9\t1\n")
    with pytest.raises(DataError, match=r"sst2: missing or damaged files .*can't decode byte 0xe9"):
        read("sst2", "train", raw)


def test_the_number_of_classes_is_the_catalogs():
    from bench.data.sources.glue import TASKS

    assert {name: max(len(task.words), 1) for name, task in TASKS.items()} == {
        name: DATASETS[name].classes for name in TASKS
    }
    assert set(vocabularies.VOCABULARIES) >= {DATASETS[name].vocabulary for name in TASKS}
