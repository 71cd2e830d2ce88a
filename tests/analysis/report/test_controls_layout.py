from dataclasses import replace

import pytest

from analysis.answers.summary import sentences
from analysis.compiling import compiled
from analysis.frame import frame
from analysis.report import markdown, page
from analysis.report.layouts import controls_layouts, kind

BERT = {"architecture": "bert_base", "pretraining": "huggingface", "source": "mlm", "transfer": "finetune"}
# Value of each seed on rte (accuracy at 0.6) and cola (correlation at 0.5); mnli has a random mask alone.
VALUES = {
    ("rte", 0.0, "dense"): (0.66, 0.67, 0.68),
    ("rte", 0.6, "imp(on=downstream)"): (0.652, 0.66, 0.673),
    ("rte", 0.6, "random"): (0.55, 0.57, 0.56),
    ("rte", 0.6, "imp(on=downstream, control=permuted_layers)"): (0.45, 0.46, 0.44),
    ("rte", 0.6, "imp(on=downstream, rewind=never)"): (0.66, 0.66, 0.66),
    ("cola", 0.0, "dense"): (0.5, 0.6, 0.55),
    ("cola", 0.5, "imp(on=downstream)"): (0.3, 0.35, 0.34),
    ("cola", 0.5, "random"): (0.3, 0.34, 0.35),
}
METRICS = {"rte": "accuracy", "cola": "matthews"}


@pytest.fixture
def tables(row):
    rows = [
        row(pruner, sparsity, seed, value, dataset=dataset, metric=METRICS[dataset], **BERT)
        for (dataset, sparsity, pruner), values in VALUES.items()
        for seed, value in enumerate(values)
    ]
    # The last seed of the random masks of cola has failed.
    rows[-1] = replace(rows[-1], value=None, status="failed", reason="transfer 12 failed: x")
    return compiled(frame(rows, grid="toy"), name="toy")


def test_rows_are_kinds_of_networks_and_columns_are_data_sets(tables):
    (layout,) = controls_layouts(tables.controls)
    assert layout.heads == ["rte: accuracy at 60.0 %", "cola: matthews at 50.0 %"]
    assert [(label, *cells) for label, cells in layout.rows] == [
        ("dense network", "0.670 ± 0.010", "0.550 ± 0.050"),
        ("published, chen2020_bert", "0.662 ± 0.036 (+0.008)", "0.545 ± 0.004 (+0.005)"),
        ("ticket: imp(on=downstream)", "0.662 ± 0.011 *", "0.330 ± 0.026"),
        ("published, chen2020_bert", "0.660 ± 0.024 (+0.002)", "0.538 ± 0.009 (-0.208)"),
        ("random masks: random", "0.560 ± 0.010", "0.320 ± 0.028 °"),
        ("published, chen2020_bert", "0.560 (+0.000)", "0.096 (+0.224)"),
        ("its mask, whole layers permuted: imp(on=downstream, control=permuted_layers)", "0.450 ± 0.010", ""),
        ("published, chen2020_bert", "0.527 (-0.077)", ""),
        ("not rewound (standard pruning): imp(on=downstream, rewind=never)", "0.660 ± 0.000 *", ""),
    ]
    assert "Mean ± standard deviation of 2 to 3 seeds" in layout.note
    assert "°: a planned seed is missing. In brackets: measured - published." in layout.note


@pytest.mark.parametrize(
    ("role", "pruner", "found"),
    [
        ("ticket", "omp", "ticket: omp"),
        ("control", "omp(control=reversed)", "the opposite mask: omp(control=reversed)"),
        ("variant", "imp(rewind_epoch=1)", "rewound to epoch 1: imp(rewind_epoch=1)"),
        ("variant", "imp(rewind=finetuned)", "rewound otherwise: imp(rewind=finetuned)"),
    ],
)
def test_kinds_are_told_in_words(role, pruner, found):
    assert kind(role, pruner) == found


def test_the_report_shows_the_table_in_both_formats(tables, toy):
    text = page.render(tables, [], [])
    assert "<h3>Tickets and their controls</h3>" in text
    assert "0.662 ± 0.036 (+0.008)" in text
    assert "Tickets and their controls" not in page.render(toy, [], [])
    plain = markdown.render(tables, [], [])
    lines = [line for line in plain.splitlines() if line.startswith("| dense network") or "not rewound" in line]
    assert lines[0] == "| dense network | 0.670 ± 0.010 | 0.550 ± 0.050 |"
    assert lines[1].endswith("| 0.660 ± 0.000 \\* |  |")
    assert "Tickets and their controls" not in markdown.render(toy, [], [])


def test_a_sentence_says_against_which_controls_tickets_win(tables):
    (found,) = [sentence for sentence in sentences(tables) if sentence.topic == "Do tickets beat their controls"]
    random, permuted = found.points
    # 0.102, 0.090, 0.113: half-width 4.302653 * 0.011504 / sqrt(3) = 0.0286; on cola, of two seeds, 12.7062 * 0.005.
    assert random == (
        "imp(on=downstream) against random masks (random): better on 1 and not tested on 1 of 2 data sets; least cola "
        "+0.005 matthews (95 % interval [-0.0585, +0.0685]); most rte +10.2 points accuracy (95 % interval [+7.3, +13.0])"
    )
    assert permuted.startswith(
        "imp(on=downstream) against its mask, whole layers permuted (imp(on=downstream, control="
    )
    assert permuted.endswith("better on 1 of 1 data set; rte +21.2 points accuracy (95 % interval [+16.6, +25.8])")
    assert [found.n, found.end] == [2, "Rests on 23 of 24 planned results."]


def test_a_sentence_says_whose_masks_are_good_elsewhere(row):
    rows = []
    found = {"dense": (0.7, 0.6), "imp(on=rte)": (0.6, 0.3), "imp(on=cola)": (0.55, 0.4), "imp": (0.62, 0.45)}
    for pruner, values in found.items():
        for dataset, value in zip(METRICS, values, strict=True):
            for seed in (0, 1):
                axes = {"dataset": dataset, "metric": METRICS[dataset], **BERT}
                rows.append(row(pruner, 0.0 if pruner == "dense" else 0.7, seed, value, **axes))
    tables = compiled(frame(rows, grid="toy"), name="toy")
    (told,) = [sentence for sentence in sentences(tables) if sentence.topic == "Which masks are good elsewhere"]
    assert told.text == (
        "At 70.0 % with finetune transfer, standard objective, all labels, masks found on mlm by imp are at or above the "
        "targets' own on 2 of 2 other targets, the most of 3 sources; next cola, on 0 of 1 (by first score of each "
        "target; means alone, no test)."
    )
