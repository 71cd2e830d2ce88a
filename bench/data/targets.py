"""What lies beside a `.beton` file: masks and boxes of scenes, values and questions of texts.

Masks and boxes are in pixels of the images as they are stored. Masks lie one after the other in a flat file of bytes,
`.masks`; boxes in an array (m, 7), `.boxes.npy`; values in an array (n,), `.values.npy`; what belongs to questions in
`.questions.npz`, its strings as JSON.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from bench.data.encode import stored_size
from bench.data.errors import DataError
from bench.data.layout import TOKEN
from bench.data.records import Beton, Bytes, Images, Integers, Questions, Reals, Targets, Texts

# By the set's task; the others have nothing beside.
NAMES = {
    "segmentation": ".masks",
    "detection": ".boxes.npy",
    "sentence_regression": ".values.npy",
    "question_answering": ".questions.npz",
}
STRINGS = ("passages", "answers", "ids")  # of `Questions`, one for every question
IGNORED = 255


def measured(images: Images) -> tuple[Images, Integers]:
    """The same images, and an array (n, 2) that holds height and width of those that were asked for."""
    shapes = np.zeros((len(images.labels), 2), np.int64)

    def image(i: int) -> Bytes:
        pixels = images.image(i)
        shapes[i] = pixels.shape[:2]
        return pixels

    return Images(labels=images.labels, image=image, masks=images.masks, objects=images.objects), shapes


def write(out: BinaryIO, images: Images, shapes: Integers, *, classes: int, resolution: int, storage: str) -> None:
    """Write masks or boxes of all images, of shapes (n, 2), in the size at which they are stored.

    Raises DataError naming the image whose mask or objects do not fit it or the classes.
    """
    stored = np.array([stored_size(int(h), int(w), resolution=resolution, storage=storage) for h, w in shapes])
    if images.masks is not None:
        for i in range(len(shapes)):
            out.write(_mask(images.masks(i), shapes[i], stored[i], classes=classes, where=f"image {i}").tobytes())
    elif images.objects is not None:
        found = [_boxes(images, i, shapes[i], stored[i], classes=classes) for i in range(len(shapes))]
        np.save(out, np.concatenate(found).astype(np.float32))
    else:
        raise DataError("a set of scenes came without masks and without objects: its source must give one of them")


def _mask(mask: Bytes, shape: Integers, stored: Integers, *, classes: int, where: str) -> Bytes:
    """The mask at the stored size, by the nearest pixel."""
    if mask.shape != tuple(shape):
        raise DataError(f"{where} has {shape[0]} x {shape[1]} pixels, its mask {mask.shape[0]} x {mask.shape[1]}")
    if ((mask >= classes) & (mask != IGNORED)).any():
        raise DataError(f"{where}: a mask with class {mask[mask != IGNORED].max()}, where {classes} are expected")
    y, x = (
        np.minimum(((np.arange(now) + 0.5) * before / now).astype(np.int64), before - 1)
        for before, now in zip(shape, stored, strict=True)
    )
    resized: Bytes = mask[y[:, None], x]
    return resized


def _boxes(images: Images, i: int, shape: Integers, stored: Integers, *, classes: int) -> NDArray[np.float64]:
    """Rows of image i: its objects cut at the image's edges and scaled to the stored size."""
    assert images.objects is not None
    rows = np.asarray(images.objects(i), dtype=np.float64).reshape(-1, 6)
    (h, w), (to_h, to_w) = shape, stored
    boxes = np.minimum(rows[:, :4].clip(0), [w, h, w, h])
    wrong = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1]) | (rows[:, 4] < 0) | (rows[:, 4] >= classes)
    if wrong.any():
        raise DataError(
            f"image {i} of {h} x {w} pixels has an object {rows[wrong][0].tolist()} (left, top, right, bottom, class, "
            f"difficult) that lies outside of it or is none of {classes} classes"
        )
    scaled = boxes * [to_w / w, to_h / h, to_w / w, to_h / h]
    return np.concatenate([np.full((len(rows), 1), float(i)), scaled, rows[:, 4:]], axis=1)


def write_texts(out: BinaryIO, texts: Texts, lengths: Integers, *, task: str) -> None:
    """Write the values or questions of texts of `lengths` (n,) tokens. Raises DataError where they do not fit them."""
    if task == "sentence_regression":
        np.save(out, _values(texts.values, len(lengths)))
    elif texts.questions is None:
        raise DataError("a set for question answering came without questions: its source must give them")
    else:
        questions = texts.questions
        check_questions(questions, lengths)
        strings = json.dumps({name: getattr(questions, name) for name in STRINGS}).encode()
        np.savez(
            out,
            question=questions.question,
            start=questions.start,
            end=questions.end,
            offsets=questions.offsets.astype(np.int32),
            strings=np.frombuffer(strings, np.uint8),
        )


def _values(values: Reals | None, n: int) -> Reals:
    if values is None:
        raise DataError("a set for regression came without values: its source must give them")
    if values.shape != (n,) or not np.isfinite(values).all():
        raise DataError(f"values of shape {values.shape}, where {n} finite ones are expected")
    return values.astype(np.float32)


def check_questions(questions: Questions, lengths: Integers) -> None:
    """Raises DataError naming the text whose question, answer or offsets do not fit it."""
    asked, n = questions.question, len(questions.ids)
    if {len(asked), len(questions.start), len(questions.end)} != {len(lengths)}:
        raise DataError(f"{len(lengths)} texts with {len(asked)} questions, {len(questions.start)} answers")
    if questions.offsets.shape != (lengths.sum(), 2):
        raise DataError(f"offsets of shape {questions.offsets.shape} for {lengths.sum()} tokens")
    if asked[-1] != n - 1 or not len(questions.passages) == len(questions.answers) == n or not all(questions.answers):
        raise DataError(
            f"{n} questions, the last text's is number {asked[-1]}, with {len(questions.passages)} passages and "
            f"{len(questions.answers)} sets of answers, of which none may be empty"
        )
    steps, start, end = np.diff(asked, prepend=-1), questions.start, questions.end
    wrong = (steps < 0) | (steps > 1) | (steps[0] != 1) | (start < 0) | (start > end) | (end >= lengths)
    if wrong.any():
        i = int(wrong.argmax())
        raise DataError(
            f"text {i} of {lengths[i]} tokens belongs to question {asked[i]} with an answer at {start[i]} to {end[i]}: "
            "the texts of a question must follow each other, and answers lie in them"
        )


def mapped(path: Path, file: Beton, sidecar: dict[str, Any], digest: str | None) -> Targets:
    """The targets of a file's examples: masks memory-mapped, all else as `digest` (sha256) says.

    Raises ValueError unless they are as long as the sidecar says and fit the examples.
    """
    if (size := path.stat().st_size) != sidecar["targets_bytes"]:
        raise ValueError(f"{path.name} has {size} bytes, not {sidecar['targets_bytes']}")
    found = Targets(path=path, sha256=sidecar["targets_sha256"])
    if path.name.endswith(NAMES["segmentation"]):
        pixels = file.heights * file.widths
        # The kernels trust these addresses.
        if size != pixels.sum():
            raise ValueError(f"{path.name} holds {size} pixels, the images {pixels.sum()}")
        masks, pointers = np.memmap(path, np.uint8, mode="r"), np.cumsum(pixels) - pixels
        return dataclasses.replace(found, masks=masks, pointers=pointers)
    if digest != sidecar["targets_sha256"]:
        raise ValueError(f"{path.name} is not that of the sidecar")
    if path.name.endswith(NAMES["sentence_regression"]):
        return dataclasses.replace(found, values=np.load(path))
    if path.name.endswith(NAMES["question_answering"]):
        tokens = file.lengths // TOKEN.itemsize
        return dataclasses.replace(found, questions=_questions(path), pointers=np.cumsum(tokens) - tokens)
    return dataclasses.replace(found, boxes=np.load(path))


def _questions(path: Path) -> Questions:
    with np.load(path) as arrays:
        strings = json.loads(arrays["strings"].tobytes())
        return Questions(
            **{name: arrays[name] for name in ("question", "start", "end", "offsets")},
            passages=strings["passages"],
            answers=[tuple(answers) for answers in strings["answers"]],
            ids=strings["ids"],
        )
