import pytest

from bench import words
from bench.catalog import ARCHITECTURES, METRICS, PRETRAININGS, PRUNERS


def test_a_bare_word_has_its_default_options():
    word = words.parse("imp", "pruner", PRUNERS)
    assert (word.name, word["on"], word.label) == ("imp", "upstream", "imp")


@pytest.mark.parametrize("item", ["imp(on=downstream)", {"imp": {"on": "downstream"}}, " imp( on = downstream ) "])
def test_every_form_gives_the_same_word(item):
    word = words.parse(item, "pruner", PRUNERS)
    assert word["on"] == "downstream"
    assert word.label == "imp(on=downstream)"
    assert words.parse(word.label, "pruner", PRUNERS) == word


def test_a_default_written_out_is_the_same_word():
    assert words.parse("imp(on=upstream)", "pruner", PRUNERS) == words.parse("imp", "pruner", PRUNERS)


def test_labels_read_as_they_are_written():
    word = words.parse("pgd(margin=true, epsilon=4)", "evaluate", METRICS)
    assert word.label == "pgd(epsilon=4, margin=true)"
    assert words.parse(word.label, "evaluate", METRICS) == word


def test_a_whole_number_is_accepted_for_a_float():
    assert words.parse("pgd_adversarial(epsilon=4)", "pretraining", PRETRAININGS)["epsilon"] == 4.0


@pytest.mark.parametrize(
    ("item", "axis", "table", "message"),
    [
        ("imq", "pruner", PRUNERS, 'pruner "imq" is not in bench/catalog.py (known: dense, grasp, imp, lmp, omp, random, snip, synflow, ticket). Did you mean "imp"?'),
        ("lmp(om=downstream)", "pruner", PRUNERS, 'pruner "lmp" has no option "om" (known: allocation, control, objective, on). Did you mean "on"?'),
        ("dense(on=downstream)", "pruner", PRUNERS, 'pruner "dense" has no option "on" (it takes none).'),
        ("resnet50(stem=cifer)", "architecture", ARCHITECTURES, "architecture resnet50(stem=...) is 'cifer' (known: cifar, imagenet). Did you mean \"cifar\"?"),
        ("checkpoint", "pretraining", PRETRAININGS, 'pretraining "checkpoint" needs path: write checkpoint(path=...)'),
        ("pgd_adversarial(epsilon=x)", "pretraining", PRETRAININGS, "pretraining pgd_adversarial(epsilon=...) is 'x', which is not of type float"),
        ("imp(on)", "pruner", PRUNERS, 'pruner "imp(on)": option "on" has no value; write on=...'),
    ],
)  # fmt: skip
def test_a_bad_word_says_what_is_known(item, axis, table, message):
    with pytest.raises(words.WordError) as error:
        words.parse(item, axis, table)
    assert str(error.value) == message


@pytest.mark.parametrize("item", [3, ["imp"], {"imp": 1, "omp": 2}, {"imp": "downstream"}, "imp omp"])
def test_what_is_no_word_is_said_to_be_none(item):
    with pytest.raises(words.WordError, match="is not a word"):
        words.parse(item, "pruner", PRUNERS)
