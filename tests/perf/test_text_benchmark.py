"""The benchmark of texts compares like with like."""

import numpy as np
import pytest
import torch

from bench.data import text as loader
from bench.perf import text


@pytest.mark.slow
def test_every_case_is_measured_against_the_first():
    rows = text.run(repeats=1, quick=True)
    cases = [text.RELEASED, text.COLLATED, text.OURS]
    assert [(row["benchmark"], row["case"]) for row in rows] == [
        *(("padding of texts", case) for case in cases),
        *(("load texts", case) for case in cases),
        *(("train bert_tiny x32", case) for case in [*cases, text.SUITE]),
    ]
    assert [rows[first]["ratio"] for first in (0, 3, 6)] == [1] * 3
    assert all(row["value"] > 0 for row in rows)
    padding = [row["value"] for row in rows[:3]]
    assert padding == sorted(padding, reverse=True)


def test_all_cases_read_the_same_texts(tmp_path):
    pytest.importorskip("transformers")
    pairs = text.made(70)
    view = text.view_of_texts(tmp_path / "texts.beton", pairs, "cpu")
    ours = [text.named(batch) for batch in loader.batches(view, 0, 0)]

    def seen(batches):
        found = []
        for batch in batches:
            for ids, segments, mask, label in zip(
                batch["input_ids"], batch["token_type_ids"], batch["attention_mask"], batch["labels"], strict=True
            ):
                n = int(mask.sum())
                assert not mask[n:].any()
                assert not ids[n:].any()
                found.append((ids[:n].tolist(), segments[:n].tolist(), int(label)))
        return sorted(found)

    expected = sorted(
        (ids.tolist(), (np.arange(len(ids)) >= second).astype(int).tolist(), int(label))
        for ids, second, label in zip(pairs.ids, pairs.second, pairs.labels, strict=True)
    )
    assert seen(ours) == expected
    assert seen(text.released(pairs, "cpu")()) == expected
    assert seen(text.collated(pairs, "cpu")()) == expected


def test_rates_count_tokens_that_are_no_padding():
    assert text.rates({"a": [2.0, 4.0]}, {"a": [(10, 32), (20, 64)]}) == {"a": [15.0, 7.5]}


def test_the_first_texts_of_an_epoch_are_trained_on():
    seen = []

    class Network(torch.nn.Linear):
        def forward(self, input_ids):
            seen.append(input_ids)
            return type("Output", (), {"loss": self.weight.sum()})()

    text.plain(Network(1, 1), lambda: iter([{"input_ids": i} for i in range(5)]), 3)()
    assert seen == [0, 1, 2]
