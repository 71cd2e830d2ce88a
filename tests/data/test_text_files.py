"""`.beton` files of texts, and the values and questions beside them."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from bench.data import DataError, beton, layout, targets, tokens
from bench.data.records import Questions, Texts
from bench.data.vocabularies import VOCABULARIES
from bench.spec import Word

# [CLS] 5 6 [SEP] and [CLS] 7 [SEP] 8 9 [SEP] in the embedded vocabulary.
SINGLE, PAIR = [2, 5, 6, 3], [2, 7, 3, 8, 9, 3]
TOPICS, SIMILARITY, DOCS, SQUAD = map(Word, ("python_topics", "python_similarity", "python_docs", "squad"))


def texts(*rows, second=None, labels=None, **others):
    found = [np.array(row, np.uint16) for row in rows]
    return Texts(
        labels=np.zeros(len(rows), np.int64) if labels is None else np.array(labels),
        second=np.zeros(len(rows), np.int64) if second is None else np.array(second),
        tokens=found.__getitem__,
        **others,
    )


# Two windows of the first question, one of the second.
QUESTIONS = Questions(
    question=np.array([0, 0, 1]),
    start=np.array([3, 0, 4]),
    end=np.array([4, 0, 4]),
    offsets=np.arange(32, dtype=np.int32).reshape(16, 2),
    passages=["a b c", "dé"],
    answers=[("b",), ("d", "dé")],
    ids=["x", "y"],
)
ASKED = [[101, 7, 102, 8, 9, 102], [101, 7, 102, 102], [101, 7, 102, 8, 9, 102]]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes what it is given as the training split of a set and reads it back."""

    def written(word, found, split="train"):
        monkeypatch.setattr(beton, "load", lambda _: lambda *_args, **_options: found)
        resolution = beton.described(word).resolution
        beton.write(word, split, data_root=tmp_path, resolution=resolution)
        return beton.read(word, split, data_root=tmp_path, resolution=resolution)

    return written


def stored(file, i):
    return file.buffer[file.pointers[i] : file.pointers[i] + file.lengths[i]].view("<u2").tolist()


def test_texts_written_are_the_texts_read(write):
    file = write(TOPICS, texts(SINGLE, PAIR, second=[0, 3], labels=[11, 4]))
    assert [stored(file, i) for i in range(2)] == [SINGLE, PAIR]
    assert (file.second.tolist(), file.labels.tolist()) == ([0, 3], [11, 4])
    assert (file.vocabulary, file.storage, file.targets) == ("embedded", "tokens", None)
    assert len(file.heights) == len(file.widths) == len(file.jpeg) == 0


def test_records_have_the_layout_of_ffcv():
    from ffcv import types

    fields = [types.TYPE_ID_HANDLER[type_id]() for _, type_id in layout.TEXT_FIELDS]
    theirs = types.get_metadata_type(fields)
    assert theirs == layout.TEXT_SAMPLE


def test_files_are_byte_for_byte_those_of_the_writer_of_ffcv(tmp_path):
    from ffcv.fields import BytesField, IntField
    from ffcv.writer import DatasetWriter

    draw = np.random.default_rng(0)
    # 2 MiB hold no whole number of these, so that a page is turned.
    rows = [draw.integers(0, 4096, size=int(draw.integers(60_000, 90_000)), dtype=np.uint16) for _ in range(16)]
    second, labels = np.arange(16), np.arange(16) % 3
    samples = [(row.view(np.uint8), int(s), int(k)) for row, s, k in zip(rows, second, labels, strict=True)]
    fields = {"tokens": BytesField(), "second": IntField(), "label": IntField()}
    writer = DatasetWriter(str(tmp_path / "theirs"), fields, page_size=layout.PAGE, num_workers=1)
    writer.from_indexed_dataset(samples)
    with (tmp_path / "ours").open("w+b") as out:
        layout.write_texts(out, labels, second, (row.tobytes() for row in rows))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


READ_BY_FFCV = """
import json, sys
from ffcv.fields.basics import IntDecoder
from ffcv.fields.bytes import BytesDecoder
from ffcv.loader import Loader, OrderOption

pipelines = {"tokens": [BytesDecoder()], "second": [IntDecoder()], "label": [IntDecoder()]}
loader = Loader(sys.argv[1], 1, num_workers=1, order=OrderOption.SEQUENTIAL, pipelines=pipelines)
# Its batches share their memory, as wide as the longest text.
print(json.dumps([(read[0].view("<u2").tolist(), int(s[0, 0]), int(k[0, 0])) for read, s, k in loader]))
"""


@pytest.mark.slow
def test_the_loader_of_ffcv_reads_the_same_tokens(write):
    file = write(TOPICS, texts(SINGLE, PAIR, SINGLE, second=[0, 3, 0], labels=[1, 2, 3]))
    # In a process of its own: the loader marks numba's type of byte arrays as read-only, for all that compiles later.
    command = [sys.executable, "-c", READ_BY_FFCV, str(file.path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = json.loads(printed.splitlines()[-1])
    assert [(row[: len(text)], s, k) for (row, s, k), text in zip(found, (SINGLE, PAIR, SINGLE), strict=True)] == [
        (SINGLE, 0, 1),
        (PAIR, 3, 2),
        (SINGLE, 0, 3),
    ]


def test_the_sidecar_says_what_the_files_hold(write):
    file = write(SIMILARITY, texts(SINGLE, PAIR, labels=[4, 0], values=np.array([3.6, 0.25], np.float32)))
    sidecar = json.loads(file.path.with_suffix(".json").read_text())
    assert (sidecar["task"], sidecar["vocabulary"], sidecar["n"], sidecar["tokens"]) == (
        "sentence_regression",
        "embedded",
        2,
        10,
    )
    assert sidecar["sha256"] == beton.digest(file.path)
    assert sidecar["targets_sha256"] == beton.digest(file.targets.path)
    assert sorted(path.name for path in file.path.parent.iterdir()) == [
        "train-64.beton",
        "train-64.json",
        "train-64.labels.npy",
        "train-64.values.npy",
    ]


def test_values_of_regression_lie_beside(write):
    file = write(SIMILARITY, texts(SINGLE, PAIR, labels=[4, 0], values=np.array([3.6, 0.25], np.float32)))
    assert file.targets.values.tolist() == [np.float32(3.6), 0.25]
    assert file.targets.values.dtype == np.float32


def test_questions_lie_beside(write):
    file = write(SQUAD, texts(*ASKED, second=[3, 3, 3], questions=QUESTIONS))
    found = file.targets.questions
    for name in ("question", "start", "end", "offsets"):
        assert (getattr(found, name) == getattr(QUESTIONS, name)).all()
    assert (found.passages, found.answers, found.ids) == (QUESTIONS.passages, QUESTIONS.answers, QUESTIONS.ids)
    assert file.targets.pointers.tolist() == [0, 6, 10]
    assert found.offsets.dtype == np.int32


def test_writing_twice_gives_the_same_bytes(write):
    found = texts(*ASKED, second=[3, 3, 3], questions=QUESTIONS)
    first, second = ((file.sha256, file.targets.sha256) for file in (write(SQUAD, found), write(SQUAD, found)))
    assert first == second


@pytest.mark.parametrize(
    ("word", "found", "message"),
    [
        (TOPICS, texts(SINGLE, [2, 4096, 3]), "text 1: token 4096 in a vocabulary of 4096"),
        (TOPICS, texts([2] + 63 * [9] + [3]), "text 0: 65 tokens, where 2 to 64 are expected"),
        (TOPICS, texts(SINGLE, []), "text 1: 0 tokens"),
        (TOPICS, texts([5, 6, 3]), r"text 0: it reads 5 ... 3, not \[CLS\] 2 ... \[SEP\] 3"),
        (TOPICS, texts([2, 5, 6]), r"text 0: it reads 2 ... 6, not \[CLS\] 2 ... \[SEP\] 3"),
        (TOPICS, texts(PAIR, second=[6]), "text 0: its second part begins at 6 of 6 tokens"),
        (TOPICS, texts(PAIR, second=[-1]), "text 0: its second part begins at -1"),
        (DOCS, texts(SINGLE, [2, 3]), "text 1: no token that could be masked"),
        (TOPICS, texts(SINGLE, labels=[12]), "labels 12 to 12, where 12 classes are expected"),
        (TOPICS, texts(), "train split: no examples"),
        (SIMILARITY, texts(SINGLE), "without values: its source must give them"),
        (SIMILARITY, texts(SINGLE, values=np.zeros(2, np.float32)), r"values of shape \(2,\), where 1 finite"),
        (SIMILARITY, texts(SINGLE, values=np.array([np.nan], np.float32)), "where 1 finite ones are expected"),
        (SQUAD, texts(*ASKED), "without questions: its source must give them"),
    ],
)
def test_texts_that_do_not_fit_are_refused_by_name(write, word, found, message):
    with pytest.raises(DataError, match=message):
        write(word, found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": np.array([0, 1, 0])}, "number 0, with 2 passages"),
        ({"question": np.array([1, 0, 1])}, "text 0 of 6 tokens belongs to question 1"),
        ({"question": np.array([0, 0, 2])}, "2 questions, the last text's is number 2"),
        ({"start": np.array([3, 0, 5])}, "text 2 of 6 tokens belongs to question 1 with an answer at 5 to 4"),
        ({"end": np.array([4, 4, 4])}, "text 1 of 4 tokens belongs to question 0 with an answer at 0 to 4"),
        ({"offsets": QUESTIONS.offsets[1:]}, r"offsets of shape \(15, 2\) for 16 tokens"),
        ({"answers": [("b",), ()]}, "of which none may be empty"),
        ({"start": np.array([3, 0])}, "3 texts with 3 questions, 2 answers"),
    ],
)
def test_questions_that_do_not_fit_their_texts_are_refused(changes, message):
    found = texts(*ASKED, questions=dataclasses.replace(QUESTIONS, **changes))
    with pytest.raises(DataError, match=message):
        targets.write_texts(io.BytesIO(), found, np.array([6, 4, 6]), task="question_answering")


def test_scores_of_regression_may_round_to_more_values_than_there_are_classes(write):
    found = texts(SINGLE, PAIR, labels=[5, 2], values=np.array([5.0, 2.2], np.float32))
    assert write(SIMILARITY, found).labels.tolist() == [5, 2]


def overwrite(path, position, value):
    with path.open("r+b") as file:
        file.seek(position)
        file.write(value)


SECOND_RECORD = layout.HEADER.itemsize + 3 * layout.FIELD.itemsize + layout.TEXT_SAMPLE.itemsize


@pytest.mark.parametrize(
    ("position", "value"),
    [
        (SECOND_RECORD + layout.TEXT_SAMPLE.fields["f1"][1], np.int64(6)),  # the second text begins behind the end
        (-8, np.int64(130)),  # more tokens than the set's length
        (-8, np.int64(11)),  # half a token
        (-8, np.int64(10)),  # fewer than the sidecar says
        (-16, np.int64(1 << 40)),
    ],
)
def test_a_damaged_file_is_refused(write, tmp_path, position, value):
    file = write(TOPICS, texts(SINGLE, PAIR, second=[0, 3]))
    size = file.path.stat().st_size
    overwrite(file.path, position % size, value.tobytes())
    with pytest.raises(DataError, match="damaged or foreign"):
        beton.read(TOPICS, "train", data_root=tmp_path, resolution=64)


def test_values_that_are_not_as_written_are_refused(write, tmp_path):
    file = write(SIMILARITY, texts(SINGLE, values=np.array([1.0], np.float32)))
    overwrite(file.targets.path, file.targets.path.stat().st_size - 1, b"\x07")
    with pytest.raises(DataError, match=r"train-64.values.npy is not that of the sidecar"):
        beton.read(SIMILARITY, "train", data_root=tmp_path, resolution=64)


def test_a_shorter_length_reads_the_same_file():
    assert beton.file_resolution(Word("mnli"), resolution=48, loader="text") == 128


def test_special_tokens_are_those_no_text_consists_of():
    found = tokens.special(np.array([101, 7, 103, 100, 102, 0]), VOCABULARIES["uncased"])
    assert found.tolist() == [True, False, False, False, True, True]
