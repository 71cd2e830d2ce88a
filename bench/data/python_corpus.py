"""The embedded corpus: the prose of Python's own help topics and of the standard library's docstrings.

It is gathered once for a folder of raw files and kept there, since other versions of Python ship other text.
"""

from __future__ import annotations

import ast
import functools
import gc
import hashlib
import itertools
import json
import os
import platform
import socket
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.data.errors import DataError
from bench.data.prose import normalised, paragraphs

FOLDER = "python_docs"
# Tests, programs of their own, generated tables, and what is not of the standard library.
LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages", "dist-packages", "encodings"}
LEFT_OUT |= {"pydoc_data", "idle_test", "__pycache__", "ensurepip"}
TOPICS = "topics"  # the folder of the help topics' documents
# Every fifth run of paragraphs with so many characters tests.
RUN, TEST_EVERY = 1500, 5


Paragraphs = tuple[tuple[str, ...], ...]


class Document(NamedTuple):
    """name: `topics/<topic>` or a module's path without .py; paragraphs: sentences that follow each other."""

    name: str
    paragraphs: Paragraphs


def part(split: str, raw_root: Path) -> tuple[Document, ...]:
    """The documents' paragraphs of "train" or "test". Every fifth run of paragraphs tests, whatever the set made of it.

    No sentence of the test part is one of the training part, by letters and digits: a paragraph of the test is broken
    where it shares one. A paragraph that occurred before is left out. Raises DataError as `corpus` does.
    """
    return _parts(corpus(raw_root))[split == "test"]


def corpus(raw_root: Path) -> tuple[Document, ...]:
    """What `gather` found when it was first asked for in this folder of raw files; it is kept there.

    Raises DataError where the file cannot be written, or was damaged since.
    """
    path = raw_root / FOLDER / "corpus.json"
    if not path.is_file():
        content = {"python": platform.python_version(), "documents": gather()}
        once(path, lambda file: file.write_text(json.dumps(content, indent=0)))
    try:
        documents = json.loads(path.read_text())["documents"]
        return tuple(Document(name, tuple(map(tuple, paragraphs))) for name, paragraphs in documents)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the text that was gathered there ({error}). Delete {path.parent}") from error


@functools.cache
def gather() -> tuple[Document, ...]:
    """The prose that ships with this Python; its modules are read, not imported. Takes seconds, once for a process."""
    from pydoc_data.topics import topics  # type: ignore[import-untyped, unused-ignore]

    texts: list[tuple[str, list[str]]] = [(f"{TOPICS}/{name}", [topics[name]]) for name in sorted(topics)]
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).with_suffix("")
        if not LEFT_OUT & set(name.parts):
            texts.append((name.as_posix(), list(docstrings(path.read_bytes()))))
    documents = (Document(name, tuple(tuple(run) for text in own for run in paragraphs(text))) for name, own in texts)
    return tuple(document for document in documents if document.paragraphs)


def docstrings(source: bytes) -> Iterator[str]:
    """The docstrings of a module, of its classes and its functions, in their order; none if it cannot be parsed."""
    if b'"""' not in source and b"'''" not in source:
        return
    collecting = gc.isenabled()
    gc.disable()  # a tree of 100,000 nodes without cycles: a third of the time
    try:
        yield from _inside(ast.parse(source))
    except (SyntaxError, ValueError):
        return
    finally:
        if collecting:
            gc.enable()


def _inside(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield from _inside(child)


def once(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` write the file, which appears whole; of two processes that write it the first one wins."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise DataError(f"{path}: it cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)


@functools.lru_cache(maxsize=2)
def _parts(documents: tuple[Document, ...]) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """Training and test part. Which run tests depends on the document's name and the run's number alone."""
    train, test, seen = [], [], set()
    for name, found in documents:
        first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % TEST_EVERY
        own: tuple[list[tuple[str, ...]], list[tuple[str, ...]]] = ([], [])
        length = 0
        for paragraph in found:
            text = normalised(" ".join(paragraph))
            if text in seen:
                continue
            seen.add(text)
            own[length // RUN % TEST_EVERY == first].append(paragraph)
            length += len(text)
        train.append(Document(name, tuple(own[0])))
        test.append(Document(name, tuple(own[1])))
    known = {normalised(sentence) for document in train for paragraph in document.paragraphs for sentence in paragraph}
    return tuple(train), tuple(Document(name, _unknown(found, known)) for name, found in test)


def _unknown(found: Paragraphs, known: set[str]) -> Paragraphs:
    """The paragraphs, broken at the sentences that are known."""
    runs: list[tuple[str, ...]] = []
    for paragraph in found:
        for foreign, run in itertools.groupby(paragraph, lambda sentence: normalised(sentence) in known):
            if not foreign:
                runs.append(tuple(run))
    return tuple(runs)
