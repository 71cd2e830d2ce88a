import pytest

from analysis.words import by_target, control, options, searched, ticket, without


def test_options_may_hold_words_with_options():
    assert options("imp(on=toy(of=mnli, classes=2), control=shuffled)") == {
        "on": "toy(of=mnli, classes=2)",
        "control": "shuffled",
    }
    assert options("dense") == options("somebodys(strange)") == {}


@pytest.mark.parametrize(
    ("label", "left"),
    [
        ("imp", "imp"),
        ("imp(on=mnli)", "imp"),
        ("imp(on=toy(of=mnli), rewind=never)", "imp(rewind=never)"),
        ("imp(objective=adversarial, on=mnli)", "imp(objective=adversarial)"),
        ("somebodys(strange, words)", "somebodys(strange, words)"),
    ],
)
def test_an_option_is_left_out(label, left):
    assert without(label, "on") == left


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("imp", "mlm"),
        ("imp(on=downstream)", "mnli"),
        ("imp(on=toy(of=qqp))", "toy(of=qqp)"),
        ("lmp", "mnli"),
        ("lmp(on=upstream)", "mlm"),
        ("omp", None),
        ("theirs", None),
        ("theirs(on=qqp)", "qqp"),
    ],
)
def test_where_a_pruner_searches(label, found):
    assert searched(label, "mlm", "mnli") == found


@pytest.mark.parametrize(
    ("label", "dataset", "found"),
    [
        ("imp(on=mnli)", "mnli", "imp(on=downstream)"),
        ("imp(on=mnli, control=shuffled)", "mnli", "imp(on=downstream, control=shuffled)"),
        ("imp(on=mnli)", "qqp", "imp(on=mnli)"),
        ("imp", "mlm", "imp(on=downstream)"),
        ("imp(control=shuffled)", "mlm", "imp(on=downstream, control=shuffled)"),
        ("imp", "qqp", "imp"),
        ("lmp(on=mnli)", "mnli", "lmp"),
        ("omp", "mlm", "omp"),
    ],
)
def test_a_mask_of_the_target_has_one_word(label, dataset, found):
    assert by_target(label, "mlm", dataset) == found


def test_a_control_is_of_the_ticket_that_its_word_finds_without_it():
    assert control("imp(on=mnli, control=permuted_layers)") == "permuted_layers"
    assert control("imp(control=none)") == control("random") == ""
    assert ticket("imp(on=mnli, rewind=never, control=permuted_layers)") == "imp(on=mnli)"
    assert ticket("imp(rewind_epoch=1)") == "imp"
