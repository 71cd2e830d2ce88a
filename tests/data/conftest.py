"""What tests of text share: folders of raw files with vocabularies, and Hugging Face's tokenizer to compare with."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WORDS = (
    "the cat sat on mat where did she sit ##ting sold her book paris is in france , . ? ! ' - [ ] tower of ##ness london "
    "un ##want ##ed a film that runs too long what follows who wrote it"
)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw files with a vocabulary in the place of bert-base-uncased's: all letters, and the words above."""
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}
    letters = string.ascii_lowercase + string.digits
    known = list(dict.fromkeys([*WORDS.split(), *letters, *(f"##{letter}" for letter in letters)]))
    lines = [special.get(i, f"[unused{i}]") for i in range(30_522)]
    lines[1000 : 1000 + len(known)] = known
    path = tmp_path / "bert-base-uncased" / "vocab.txt"
    path.parent.mkdir()
    path.write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


@pytest.fixture(scope="session")
def embedded_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files where the embedded corpus and its vocabulary are gathered once."""
    from bench.data import vocabularies

    root = tmp_path_factory.mktemp("raw")
    vocabularies.read("embedded", root)
    return root


@pytest.fixture(scope="session")
def hugging_face() -> Callable[[str, Path], Any]:
    """Hugging Face's tokenizer with one of our vocabularies."""
    from transformers.models.bert.tokenization_bert import BertTokenizer

    from bench.data import vocabularies

    def made(name: str, raw_root: Path) -> Any:
        pieces = vocabularies.read(name, raw_root)
        return BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True)

    return made
