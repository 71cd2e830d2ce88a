"""The files of the vocabularies of word pieces: where they lie, and what cuts text into their pieces.

Lower-case WordPiece as BERT's (Devlin et al. 2019, arXiv:1810.04805). Importing this module imports no tokenizer.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.errors import DataError
from bench.vocabularies import VOCABULARIES as VOCABULARIES
from bench.vocabularies import Vocabulary as Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from bench.data.python_corpus import Document

UNCASED = "bert-base-uncased"  # the model whose folder holds the vocabulary `uncased`


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # by their ids in the embedded vocabulary


def tokenizer(name: str, raw_root: Path) -> Tokenizer:
    """Cuts text into pieces of the vocabulary, without [CLS] and [SEP]; "[SEP]" in a text is three tokens like others.

    The vocabulary `embedded` is made of the embedded corpus where it is not there yet.
    Raises DataError where the file is missing or another one, or the `tokenizers` library is not installed.
    """
    try:
        from tokenizers import Tokenizer
        from tokenizers.models import WordPiece
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer
    except ImportError as error:
        raise DataError(
            f"text sets need {error.name}, which is not installed: pip install 'ticketbench[text]'"
        ) from error

    pieces = read(name, raw_root)
    found = Tokenizer(WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=SPECIAL[1]))
    found.normalizer = BertNormalizer(lowercase=True)
    found.pre_tokenizer = BertPreTokenizer()
    return found


def read(name: str, raw_root: Path) -> list[str]:
    """The pieces of a vocabulary by their ids. Raises DataError as `tokenizer` does."""
    if name not in VOCABULARIES:
        raise DataError(f"vocabulary {name!r} is not known (known: {', '.join(VOCABULARIES)})")
    vocabulary = VOCABULARIES[name]
    path, remedy = _place(name, raw_root)
    if name == "embedded" and not path.is_file():
        _make(path, raw_root, vocabulary)
    try:
        pieces = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"vocabulary {name!r}: no readable {path}. {remedy}") from error
    if len(pieces) != vocabulary.size or len(set(pieces)) != vocabulary.size:
        raise DataError(f"{path}: {len(set(pieces))} different lines, not {vocabulary.size}. {remedy}")
    ids = (vocabulary.pad, vocabulary.unk, vocabulary.cls, vocabulary.sep, vocabulary.mask)
    for special, place in zip(SPECIAL, ids, strict=True):
        if pieces[place] != special:
            raise DataError(f"{path}, line {place + 1}: {pieces[place]!r}, not {special!r}. {remedy}")
    return pieces


def _place(name: str, raw_root: Path) -> tuple[Path, str]:
    """A vocabulary's file, and what to do where it is missing or damaged."""
    if name == "embedded":
        path = raw_root / "python_docs" / "vocab.txt"
        return path, f"Delete {path.parent}: it is made again"
    path = raw_root / UNCASED / "vocab.txt"
    command = f"`python -m bench.prepare huggingface:{UNCASED} --data {raw_root.parent}`"
    return path, f"Run {command} on a machine with network, or put the file of the model's folder there"


def _make(path: Path, raw_root: Path, vocabulary: Vocabulary) -> None:
    """Write the embedded vocabulary: pieces of the corpus' training part, then unused entries."""
    from bench.data import python_corpus

    pieces = [*SPECIAL, *_pieces(python_corpus.part("train", raw_root), vocabulary.size - len(SPECIAL))]
    pieces += [f"[unused{i}]" for i in range(vocabulary.size - len(pieces))]
    python_corpus.once(path, lambda file: file.write_text("".join(f"{piece}\n" for piece in pieces)))


@functools.lru_cache(maxsize=2)
def _pieces(documents: tuple[Document, ...], size: int) -> list[str]:
    """The pieces of all sentences, two seconds' work."""
    from bench.data import wordpiece

    sentences = (sentence for document in documents for paragraph in document.paragraphs for sentence in paragraph)
    return wordpiece.pieces(Counter(word for sentence in sentences for word in words(sentence)), size)


def words(text: str) -> list[str]:
    """The text's words and signs in lower case, as BERT's tokenizer sees them before it cuts them into pieces."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normal = BertNormalizer(lowercase=True).normalize_str(text)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normal)]
