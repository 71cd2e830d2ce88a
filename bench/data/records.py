"""Records shared by the data package; imports torch for annotations only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.errors import DataError
from bench.spec import Views

if TYPE_CHECKING:
    from torch import Tensor

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Reals = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Images:
    """One split as its source gives it: labels (n,) int64 in [0, classes) and image(i) -> (h, w, 3) uint8.

    `image` is called from several threads at once when a `.beton` file is written.
    Of a segmentation set masks(i) -> (h, w) uint8, 255 not counted; of a detection set objects(i) -> (m, 6): left, top,
    right, bottom in pixels of the image, class from 0, difficult 0 or 1. There a label is the class that is seen most.
    """

    labels: Integers
    image: Callable[[int], Bytes]
    masks: Callable[[int], Bytes] | None = None
    objects: Callable[[int], Reals] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Questions:
    """What a question answering set adds to its n features, each a window of a passage beside the question.

    question (n,): which question; the features of a question follow each other. start, end (n,): positions of the
    answer's first and last token in the feature; 0, 0 ([CLS]) where it is not whole in the window.
    offsets (all tokens, 2) int32: first character and one past the last in the passage, of the features' tokens one
    after the other; (-1, -1) for tokens that are not the passage's. passages, answers (at least one) and ids: one entry
    per question.
    """

    question: Integers
    start: Integers
    end: Integers
    offsets: NDArray[np.int32]
    passages: list[str]
    answers: list[tuple[str, ...]]
    ids: list[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """One split of a text set, tokenised: tokens(i) -> (l,) uint16 with [CLS] and [SEP], l at most the set's length.

    second (n,) int64: where the second text begins (segment 1), 0: there is none. labels (n,) int64 in [0, classes); of
    regression the score rounded to the nearest whole number, so that subsets are stratified; else 0.
    values (n,) float32: of regression. questions: of question answering.
    """

    labels: Integers
    second: Integers
    tokens: Callable[[int], NDArray[np.uint16]]
    values: Reals | None = None
    questions: Questions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """What lies beside a checked `.beton` file of scenes, in pixels of the stored images, or of texts; one of

    masks: the masks of all images one after the other, memory-mapped, that of image i heights[i] * widths[i] bytes
    from pointers[i] on;
    boxes (m, 7): image, left, top, right, bottom, class, difficult, in the order of the images;
    values (n,): of regression;
    questions: of question answering, the offsets of text i from pointers[i] on.
    """

    path: Path
    sha256: str
    masks: Bytes | None = None
    pointers: Integers | None = None
    boxes: Reals | None = None
    values: Reals | None = None
    questions: Questions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Beton:
    """A checked `.beton` file, memory-mapped: image or text i is `lengths[i]` bytes of `buffer` from `pointers[i]`.

    Of images `jpeg[i]` says how they are to be read; `heights` and `widths` are in pixels. Of texts, two bytes a token
    of the `vocabulary`, `second[i]` says where the second one begins, 0: there is none. What a kind of file has not is
    empty, all other arrays have n entries.
    Equal path and digest are equal files, so that a record can be the key of a cache.
    """

    path: Path
    sha256: str
    classes: int
    resolution: int
    storage: str
    labels: Integers = field(compare=False, repr=False)
    buffer: Bytes = field(compare=False, repr=False)
    pointers: Integers = field(compare=False, repr=False)
    lengths: Integers = field(compare=False, repr=False)
    heights: Integers = field(compare=False, repr=False)
    widths: Integers = field(compare=False, repr=False)
    jpeg: NDArray[np.bool_] = field(compare=False, repr=False)
    second: Integers = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)
    vocabulary: str = ""
    targets: Targets | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What a loader reads: `rows` (n,) of a file, in which order, how augmented, and where the batches go.

    resolution: pixels of an image's side, or the largest number of tokens of a text. task: of bench.catalog.TASKS.
    views: two views of every image, drawn so, instead of one that is augmented.
    mean: of the set, in [0, 1]; what is seen outside of an image where windows may reach there.
    """

    beton: Beton
    rows: Integers
    resolution: int
    batch_size: int
    augmentation: tuple[str, ...]
    seed: int
    shuffle: bool
    drop_last: bool
    device: Any
    threads: int
    rank: int
    world_size: int
    task: str = "classification"
    views: Views | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Objects(NamedTuple):
    """What a scene shows: boxes (m, 4) float32 left, top, right, bottom in pixels of the network's image, classes (m,)
    int64 and difficult (m,) bool: objects that neither count as found nor as missed. No objects: m = 0.
    """

    boxes: Tensor
    classes: Tensor
    difficult: Tensor


class Passage(NamedTuple):
    """A window of a passage beside a question: start, end: positions of the answer's first and last token, 0, 0 where
    it is not in the window. offsets (l, 2) int32: characters of the passage, as in `Questions`. question, id: whose
    window it is; passage, answers: all of the text, and all that counts as an answer.
    """

    start: int
    end: int
    question: int
    id: str
    offsets: NDArray[np.int32]
    passage: str
    answers: tuple[str, ...]


class Batch(NamedTuple):
    """What the network reads and labels (b,) int64, on the device; indices (b,) int64 on the CPU.

    inputs: images (b, 3, h, w) float32 in [0, 1]; with two views 2b of them, the first views of the b examples, then
    the second ones in the same order; or texts (b, 2, l) int64: token ids, 0 after the last one, and segments 0 or 1.
    An index is the example's position in its split, 0..n-1, whatever the order.
    """

    inputs: Tensor
    # Of scenes: masks (b, h, w) int64, or a list of b `Objects`. Of texts also values (b,) float32, a list of b
    # `Passage`, or the ids (b, l) int64 that are to be found at chosen places, see bench.data.masking.
    labels: Any
    indices: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A split ready to be read. `labels` (n,) int64 in the order of the indices of its batches."""

    labels: Integers
    steps_per_epoch: int
    read: Callable[[int, int], Iterator[Batch]]

    @property
    def n_examples(self) -> int:
        return len(self.labels)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Batches start_step.. of an epoch; order and augmentation depend on (seed, epoch, example) only.

        batches(e, k) is the tail of batches(e) bit for bit, whatever the number of threads.
        Raises DataError if the step lies outside the epoch.
        """
        if not 0 <= start_step <= self.steps_per_epoch:
            raise DataError(f"step {start_step} lies outside an epoch of {self.steps_per_epoch} steps")
        return self.read(epoch, start_step)
