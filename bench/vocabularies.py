"""The vocabularies that text sets are written in and that language models read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """How many tokens there are, and the ids of the special ones."""

    size: int
    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


VOCABULARIES = {
    "uncased": Vocabulary(size=30_522, pad=0, unk=100, cls=101, sep=102, mask=103),
    "embedded": Vocabulary(size=4_096, pad=0, unk=1, cls=2, sep=3, mask=4),
}
"""`uncased`: vocab.txt of bert-base-uncased. `embedded`: of the corpus that is part of this
project."""
