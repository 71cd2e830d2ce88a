"""The text loader, through `open_split`."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.catalog import described
from bench.data import DataError, beton, masking, open_split
from bench.data.records import Passage, Questions, Texts
from bench.data.vocabularies import VOCABULARIES
from bench.spec import Data, Views, Word

N = {"train": 210, "test": 50, "mismatched": 30}
BATCH = 8


def describe(name, **changes):
    entry = described(Word(name))
    data = Data(
        dataset=Word(name), classes=entry.classes, resolution=entry.resolution, loader="text", mean=entry.mean,
        std=entry.std, validation=10, task=entry.task,
    )  # fmt: skip
    return dataclasses.replace(data, **changes)


CASES = {
    "classes": describe("mnli"),
    "values": describe("python_similarity"),
    "questions": describe("squad"),
    "masked": describe("python_docs"),
}


def made(word, split):
    """Random texts of 4 to 60 tokens, every other one a pair; questions with windows of 1, 2 and 3 texts in turn."""
    entry = described(word)
    n, vocabulary = N[split], VOCABULARIES[entry.vocabulary]
    draw = np.random.default_rng(len(split))
    lengths = draw.integers(4, 61, size=n)
    rows = [
        np.array([vocabulary.cls, *draw.integers(200, vocabulary.size, size=size - 2), vocabulary.sep], np.uint16)
        for size in lengths
    ]
    second = np.where(np.arange(n) % 2, lengths // 2, 0)
    if entry.task == "question_answering":
        second = lengths // 2
    values = draw.uniform(0, 5, size=n).astype(np.float32)
    labels = np.arange(n) % entry.classes
    if entry.task == "sentence_regression":
        labels = np.rint(values).astype(np.int64)
    question = np.repeat(np.arange(n), np.arange(n) % 3 + 1)[:n]
    asked = question[-1] + 1
    questions = Questions(
        question=question,
        start=second,
        end=lengths - 2,
        offsets=np.repeat(np.arange(lengths.sum(), dtype=np.int32)[:, None], 2, axis=1),
        passages=[f"passage {i}" for i in range(asked)],
        answers=[(f"answer {i}",) for i in range(asked)],
        ids=[f"id{i}" for i in range(asked)],
    )
    return Texts(labels=labels, second=second, tokens=rows.__getitem__, values=values, questions=questions)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for data in CASES.values():
            word = data.dataset
            patch.setattr(beton, "load", lambda _, word=word: lambda name, *_args, **_options: made(word, name))
            for split in ("train", "test", *described(data.dataset).splits):
                beton.write(data.dataset, split, data_root=root, resolution=described(data.dataset).resolution)
    return root


def opened(root, case, split="train", **changes):
    arguments = {"batch_size": BATCH, "seed": 5, "shuffle": True} | changes
    data = arguments.pop("data", CASES[case])
    return open_split(data, split, data_root=root, **arguments)


def read(root, case, split="train", epoch=0, start_step=0, **changes):
    return list(opened(root, case, split, **changes).batches(epoch, start_step))


def same(a, b):
    """Are two batches, or parts of them, equal bit for bit?"""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def whole(batches):
    """Index -> the ids and segments of its text without padding, and what is asked of it."""
    found = {}
    for batch in batches:
        for i, index in enumerate(batch.indices.tolist()):
            n = int(batch.inputs[i, 0].count_nonzero())
            label = batch.labels[i]
            per_token = isinstance(label, torch.Tensor) and label.dim() == 1
            found[index] = (batch.inputs[i, :, :n].tolist(), label[:n].tolist() if per_token else label)
    return found


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_resumed_at_any_step_is_the_tail_of_the_epoch(root, case):
    epoch = read(root, case, epoch=2)
    for step in (1, len(epoch) - 1, len(epoch)):
        assert same(read(root, case, epoch=2, start_step=step), epoch[step:])


@pytest.mark.parametrize("case", CASES)
def test_the_number_of_threads_changes_nothing(root, case):
    assert same(read(root, case), read(root, case, threads=3))


@pytest.mark.parametrize("case", CASES)
def test_the_batch_size_changes_no_example(root, case):
    assert same(sorted(whole(read(root, case)).items()), sorted(whole(read(root, case, batch_size=11)).items()))


@pytest.mark.parametrize("case", CASES)
def test_another_epoch_or_seed_has_another_order(root, case):
    orders = [
        torch.cat([batch.indices for batch in read(root, case, **change)]) for change in ({}, {"epoch": 1}, {"seed": 6})
    ]
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("case", CASES)
def test_ranks_together_read_every_batch_and_pad_alike(root, case):
    parts = [read(root, case, rank=rank, world_size=3) for rank in range(3)]
    for step, batch in enumerate(read(root, case)):
        # A last batch of fewer examples than ranks is every rank's.
        shares = [part[step] for part in parts] if len(batch.indices) >= 3 else [parts[0][step]]
        assert torch.equal(torch.cat([share.inputs for share in shares]), batch.inputs)
        assert torch.equal(torch.cat([share.indices for share in shares]), batch.indices)
        assert same([label for share in shares for label in share.labels], list(batch.labels))


@pytest.mark.parametrize("case", CASES)
def test_every_example_comes_once_as_it_is_stored(root, case):
    data = CASES[case]
    split = opened(root, case)
    found = whole(split.batches(0))
    assert sorted(found) == list(range(split.n_examples))
    file, rows = split.read.args[0].beton, split.read.args[0].rows
    for index, ((ids, segments), label) in found.items():
        row = rows[index]
        stored = file.buffer[file.pointers[row] : file.pointers[row] + file.lengths[row]].view("<u2").tolist()
        second = int(file.second[row]) or len(stored)
        assert segments == [0] * second + [1] * (len(stored) - second)
        if case == "masked":
            restored = [old if old != masking.NOT_CHOSEN else new for new, old in zip(ids, label, strict=True)]
            assert restored == stored
            assert any(old != masking.NOT_CHOSEN for old in label)
        else:
            assert ids == stored
        if case == "classes":
            assert label == file.labels[row] == split.labels[index]
        if case == "values":
            assert label == file.targets.values[row]
        if case == "questions":
            first = int(file.lengths[:row].sum()) // 2
            question = int(file.targets.questions.question[row])
            assert same(
                label,
                Passage(
                    second, len(stored) - 2, question, f"id{question}", file.targets.questions.offsets[first:][: len(stored)],
                    f"passage {question}", (f"answer {question}",),
                ),
            )  # fmt: skip
    assert data.task == split.read.args[0].task


@pytest.mark.parametrize("case", CASES)
def test_a_batch_is_as_long_as_its_longest_text(root, case):
    for batch in read(root, case):
        assert batch.inputs.dtype == torch.int64
        assert batch.inputs.shape == (len(batch.indices), 2, int(batch.inputs[:, 0].count_nonzero(dim=1).max()))
        padding = batch.inputs[:, 0] == 0
        assert (batch.inputs[:, 1][padding] == 0).all()
        if case == "masked":
            assert (batch.labels[padding] == masking.NOT_CHOSEN).all()


def test_labels_are_what_the_objectives_read(root):
    kinds = {case: read(root, case)[0].labels for case in CASES}
    assert (kinds["classes"].dtype, kinds["values"].dtype, kinds["masked"].dtype) == (
        torch.int64, torch.float32, torch.int64,
    )  # fmt: skip
    assert all(isinstance(label, Passage) for label in kinds["questions"])


def test_dropping_the_last_batch_keeps_the_others(root):
    epoch = read(root, "classes", batch_size=9)
    assert len(epoch[-1].indices) < 9
    assert same(read(root, "classes", batch_size=9, drop_last=True), epoch[:-1])


def test_what_is_evaluated_comes_in_its_own_order(root):
    batches = read(root, "classes", "test", shuffle=False)
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(N["test"]))


def test_masks_of_evaluation_are_fixed_and_those_of_training_new_in_every_epoch(root):
    def labels(split, **changes):
        found = whole(read(root, "masked", split, shuffle=False, **{"seed": 0} | changes))
        return [found[i][1] for i in sorted(found)]

    assert labels("test") == labels("test", batch_size=3)
    assert labels("train") != labels("train", epoch=1)
    # A subset of a split masks its texts as the whole split does.
    some = opened(root, "masked", "test", shuffle=False, seed=0, examples=20)
    rows = some.read.args[0].rows
    assert [label for _, (_, label) in sorted(whole(some.batches(0)).items())] == [labels("test")[row] for row in rows]


def test_a_smaller_length_keeps_the_first_tokens_and_the_last_separator(root):
    file = beton.read(Word("mnli"), "test", data_root=root, resolution=128)
    data = dataclasses.replace(CASES["classes"], resolution=20)
    found = whole(read(root, "classes", "test", data=data))
    for row, ((ids, segments), _) in found.items():
        stored = file.buffer[file.pointers[row] : file.pointers[row] + file.lengths[row]].view("<u2").tolist()
        n = min(len(stored), 20)
        assert ids == [*stored[: n - 1], 102]
        second = min(int(file.second[row]) or n, n)
        assert segments == [0] * second + [1] * (n - second)


def test_an_answer_that_was_cut_off_is_not_in_the_window(root):
    data = dataclasses.replace(CASES["questions"], resolution=30)
    file = beton.read(Word("squad"), "test", data_root=root, resolution=384)
    found = whole(read(root, "questions", "test", data=data))
    cut = 0
    for row, ((ids, _), label) in found.items():
        n = int(file.lengths[row]) // 2
        assert len(label.offsets) == len(ids) == min(n, 30)
        if n > 30:
            cut += 1
            assert (label.start, label.end, label.offsets[-1].tolist()) == (0, 0, [-1, -1])
        else:
            assert (label.start, label.end) == (n // 2, n - 2)
    assert cut > 0


def test_windows_of_a_question_stay_together(root):
    data = dataclasses.replace(CASES["questions"], fraction=0.5)
    splits = {split: opened(root, "questions", split, data=data) for split in ("train", "validation")}
    asked = {split: [label.question for _, label in whole(s.batches(0)).values()] for split, s in splits.items()}
    windows = np.bincount(splits["train"].read.args[0].beton.targets.questions.question)
    assert not set(asked["train"]) & set(asked["validation"])
    assert len(set(asked["validation"])) == 10
    assert all(asked[split].count(q) == windows[q] for split in asked for q in asked[split])
    few = whole(opened(root, "questions", "test", examples=4).batches(0))
    assert len({label.question for _, label in few.values()}) == 4


def test_further_splits_have_files_of_their_own(root):
    split = opened(root, "classes", "mismatched")
    assert split.n_examples == N["mismatched"]
    assert split.read.args[0].beton.path.name == "mismatched-128.beton"


def test_nothing_held_out_leaves_all_for_training(root):
    data = dataclasses.replace(CASES["classes"], validation=0)
    assert opened(root, "classes", data=data).n_examples == N["train"]
    with pytest.raises(DataError, match="the validation split is empty"):
        opened(root, "classes", "validation", data=data)


def test_labels_for_stratified_subsets_are_whole_numbers(root):
    data = dataclasses.replace(CASES["values"], fraction=0.2)
    split = opened(root, "values", data=data)
    assert (split.labels.dtype, split.n_examples) == (np.int64, 40)
    assert set(split.labels) == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        ("values", {"split": "mismatched"}, r"split 'mismatched' \(known: train, validation, test\)"),
        ("classes", {"split": "dev"}, r"split 'dev' \(known: train, validation, test, mismatched\)"),
        (
            "classes",
            {"loader": "stream"},
            "is a sentence_classification set, and the stream loader reads none: text does",
        ),
        ("classes", {"augmentation": ("flip",)}, r"the text loader has no augmentation 'flip' \(known: none\)"),
        ("classes", {"views": Views()}, "two views are of images"),
    ],
)
def test_requests_that_do_not_fit_are_refused(root, case, changes, message):
    data = dataclasses.replace(CASES[case], loader=changes.get("loader", "text"))
    rest = {name: value for name, value in changes.items() if name != "loader"}
    with pytest.raises(DataError, match=message):
        opened(root, case, rest.pop("split", "train"), data=data, **rest)


def test_the_text_loader_reads_no_images():
    data = dataclasses.replace(CASES["classes"], dataset=Word("digits"), task="classification")
    with pytest.raises(DataError, match="digits is a classification set, and the text loader reads none"):
        open_split(data, "train", data_root="nowhere", batch_size=8)


def test_lengths_that_leave_nothing_of_a_text_are_refused(root):
    split = opened(root, "classes", data=dataclasses.replace(CASES["classes"], resolution=2))
    with pytest.raises(DataError, match="texts of 2 tokens"):
        split.batches(0)


def test_a_damaged_text_is_named(root, tmp_path):
    file = beton.read(Word("mnli"), "test", data_root=root, resolution=128)
    copy = tmp_path / "beton" / file.path.parent.name
    copy.mkdir(parents=True)
    for path in file.path.parent.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / file.path.name).open("r+b") as out:
        out.seek(int(file.pointers[3]))
        out.write(b"\xff\xff")
    with pytest.raises(DataError, match="text 3 has a token that is none of the 30522 of its vocabulary"):
        read(tmp_path, "classes", "test")


def test_leaving_an_epoch_early_leaves_the_loader_usable(root):
    split = opened(root, "masked", threads=2)
    batches = split.batches(0)
    next(batches)
    del batches
    assert len(list(split.batches(0))) == split.steps_per_epoch
