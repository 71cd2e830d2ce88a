"""Prose of docstrings: what is kept, and where sentences end."""

import pytest

from bench.data.prose import is_prose, paragraphs, split

DOCSTRING = """Return the first of two numbers, e.g. the larger one.  It may be
    zero. Never call it twice, please.

    Parameters
    ----------
    - a bullet with its own words that
      go on here.
    - another bullet, which is short but complete.

    >>> first(1, 2)
    1
    This line belongs to the doctest above it.

    See :func:`second` and ``third`` for *other* ways to do the same.

    \u201cQuoted\u201d text isn\u2019t lost when it is long enough.

    expr ::= term | expr "+" term
             and some more of the rule, in words that look like prose.
"""


def test_paragraphs_are_prose_without_code_headings_and_marks():
    # "It may be zero." has but four words.
    assert paragraphs(DOCSTRING) == [
        ["Return the first of two numbers, e.g. the larger one."],
        ["Never call it twice, please."],
        ["a bullet with its own words that go on here."],
        ["another bullet, which is short but complete."],
        ["See second and third for other ways to do the same."],
        ['"Quoted" text isn\'t lost when it is long enough.'],
    ]


def test_a_paragraph_is_two_where_something_in_its_middle_is_no_prose():
    text = "This is a sentence of words. X=1. This is another one of words."
    assert paragraphs(text) == [["This is a sentence of words."], ["This is another one of words."]]


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("One is here. Two is there! Three?", ["One is here.", "Two is there!", "Three?"]),
        ("Use it, i.e. The Thing. Then stop.", ["Use it, i.e. The Thing.", "Then stop."]),
        ("See os.path. It is a module.", ["See os.path.", "It is a module."]),
        ("Version 3.11 is new. (This too.) And this.", ["Version 3.11 is new.", "(This too.)", "And this."]),
        ("no capital. so no end", ["no capital. so no end"]),
    ],
)
def test_sentences_end_before_a_capital_but_not_after_an_abbreviation(paragraph, sentences):
    assert split(paragraph) == sentences


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("This is a sentence of words.", True),
        ("Too short, this.", False),
        ("a = b + c; d(e, f) -> g.", False),
        ("no full stop at the end of it", False),
    ],
)
def test_prose_has_some_plain_words_and_an_end(sentence, expected):
    assert is_prose(sentence) is expected
