"""Figures: what networks see in a few test images, as masks or boxes, from the dense one to sparse tickets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from analysis.gallery import NOT_COUNTED, SETTING, Gallery, Scenes, Unreadable, read
from analysis.plots import style
from analysis.plots.cells import ink
from analysis.plots.looks import CLASS_COLOURS
from analysis.plots.style import Drawing
from analysis.statistics.intervals import Floats
from analysis.wording import base, transfer, value
from bench.store import Store, StoreError

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_METRICS = {"mean_iou": "mIoU", "ap": "AP"}
Rows = npt.NDArray[np.float32]
# Scenes of a figure, from the first on.
_ROWS = 4
# Pixels of a drawn image's side at most: files of figures would be of megabytes.
_SIDE = 144
_OPACITY, _FADED = 0.62, 0.35
_LABEL = 5.0
# Boxes of a scene that are named, the surest first; more names hide the scene.
_NAMED_BOXES = 6
# Regions that are named fill at least this share of the scene, and those of the legend this one.
_NAMED_REGION, _LISTED_REGION = 0.02, 0.005


# What a figure is of, in the order of its name.
_FIRST = ("dataset", "metric", "pretraining", "pruner")
NAME = (*_FIRST, *(name for name in SETTING if name not in _FIRST))


def galleries(found: Sequence[Scenes], store: Store) -> list[Drawing]:
    """One for every setting: a row for each of the first scenes, a column for the truth and for each network."""
    return [Drawing(kind="scenes", setting=_name(shown), draw=partial(figure, shown, store)) for shown in found]


def _name(shown: Scenes) -> tuple[object, ...]:
    words = dict(zip(SETTING, shown.setting, strict=True))
    return tuple(words[name] for name in NAME)


@style.settings()
def figure(shown: Scenes, store: Store) -> Figure:
    """Truth, dense network and tickets beside each other. A gallery that cannot be read leaves a note in its place."""
    words = dict(zip(SETTING, shown.setting, strict=True))
    galleries_ = [_read(store, column.key) for column in shown.columns]
    usable = next((gallery for gallery in galleries_ if isinstance(gallery, Gallery)), None)
    rows = min(len(usable.images), _ROWS) if usable is not None else 1
    across = len(shown.columns) + 1
    drawn = Figure(figsize=(1.38 * across, 1.38 * rows + 0.3), layout="constrained")
    grid = drawn.subplots(rows, across, squeeze=False)
    names = _class_names(str(words["dataset"]))
    seen: set[int] = set()
    for j, axes in enumerate(grid[0]):
        axes.set_title(_heading(shown, j, str(words["metric"])), fontsize=style.NOTE, loc="left")
    for (i, j), axes in np.ndenumerate(grid):
        gallery = usable if j == 0 else galleries_[j - 1]
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        if not isinstance(gallery, Gallery) or i >= len(gallery.images):
            message = gallery if isinstance(gallery, str) else "no such scene"
            axes.text(0.5, 0.5, style.wrap(message, 22), ha="center", va="center", fontsize=_LABEL)
            continue
        draw = _masks if gallery.task == "segmentation" else _boxes
        seen |= draw(axes, gallery, i, j == 0, names)
    detection = usable is not None and usable.task == "detection"
    title = (
        f"{words['dataset']}: {words['pruner']} from {words['pretraining']}\n{words['architecture']}, {transfer(words)}"
    )
    return style.finish(drawn, title=title, note=_note(shown, rows, detection), handles=_legend(seen, names))


def _heading(shown: Scenes, j: int, metric: str) -> str:
    if j == 0:
        return "truth\n"
    column = shown.columns[j - 1]
    network = "dense" if column.sparsity == 0 else f"{100 * column.sparsity:.2f} % sparse"
    return f"{network}\n{_METRICS.get(base(metric), metric)} {value(metric, column.value)}"


def _note(shown: Scenes, rows: int, detection: bool) -> str:
    notes = [f"the first {rows} images of the test set, networks of seed {shown.seed}, metric over the whole test set"]
    if detection:
        notes += [
            "boxes: predictions with a score of at least 0.3, of those that overlap by half the surest",
            "dashed: objects that are difficult and not counted",
        ]
    else:
        notes.append("without colour: background, and in the truth borders that are not counted")
        notes.append(f"regions of at least {_LISTED_REGION:.1%} of a scene are in the legend".replace("%", " %"))
    return "; ".join(notes)


def _read(store: Store, key: str) -> Gallery | str:
    try:
        return read(store, key)
    except (Unreadable, StoreError) as error:
        return str(error)


def _class_names(dataset: str) -> Sequence[str]:
    """Names of the objects, without the background; none where classes are digits or not known."""
    return VOC if "voc20" in dataset else ()


def _class(number: int, names: Sequence[str]) -> str:
    return names[number] if number < len(names) else str(number)


def _colour(number: int) -> str:
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def _legend(seen: set[int], names: Sequence[str]) -> list[Artist]:
    return [Patch(facecolor=_colour(number), label=_class(number, names)) for number in sorted(seen)]


def _masks(axes: Axes, gallery: Gallery, i: int, truth: bool, names: Sequence[str]) -> set[int]:
    """The objects' classes for the legend, from 0; class 0 of a mask is the background."""
    mask = (gallery.truth if truth else gallery.predicted)[i].astype(np.int64)
    step = -(-len(mask) // _SIDE)
    shown = _grey(_shrunk(gallery.images[i], step))
    mask = mask[step // 2 :: step, step // 2 :: step][: len(shown), : shown.shape[1]]
    classes = sorted(set(np.unique(mask).tolist()) - {0, NOT_COUNTED})
    for number in classes:
        where = mask == number
        shown[where] = (1 - _OPACITY) * shown[where] + _OPACITY * np.array(to_rgb(_colour(number - 1)))
    _image(axes, shown)
    listed = set()
    for number in classes:
        where = mask == number
        share = where.mean()
        if share >= _LISTED_REGION:
            listed.add(number - 1)
        if share >= _NAMED_REGION:
            y, x = _inside(where)
            _write(axes, x, y, _class(number - 1, names), _colour(number - 1), centred=True)
    return listed


def _boxes(axes: Axes, gallery: Gallery, i: int, truth: bool, names: Sequence[str]) -> set[int]:
    rows = (gallery.truth if truth else gallery.predicted).reshape(-1, 7)
    rows = rows[rows[:, 0] == i]
    if not truth:
        rows = surest(rows)
    image = gallery.images[i]
    step = -(-len(image) // _SIDE)
    shown = _shrunk(image, step)
    _image(axes, (1 - _FADED) * shown + _FADED)
    side = len(shown) - 0.5
    for rank, (_, left, top, right, bottom, number, last) in enumerate(rows.tolist()):
        colour = _colour(int(number))
        left, top, right, bottom = (
            float(np.clip(edge / step - 0.5, -0.5, side)) for edge in (left, top, right, bottom)
        )
        difficult = truth and last > 0
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.1,
                linestyle=(0, (2, 1.5)) if difficult else "-",
            )
        )  # fmt: skip
        if rank < _NAMED_BOXES:
            name = _class(int(number), names)
            _write(axes, left, top, name if truth else f"{name} {last:.2f}".replace("0.", "."), colour, centred=False)
    return {int(row[5]) for row in rows.tolist()}


def surest(rows: Rows) -> Rows:
    """Predicted boxes by falling score, without those that overlap a surer one by half or more, of whatever class.

    rows (p, 7) as in galleries. A detector gives a box for every class that an object may be of, one upon the other.
    """
    kept: list[npt.NDArray[np.float32]] = []
    for row in rows[np.argsort(-rows[:, 6], kind="stable")]:
        if all(_overlap(row[1:5], other[1:5]) < 0.5 for other in kept):
            kept.append(row)
    return np.array(kept, dtype=np.float32).reshape(-1, 7)


def _overlap(one: Rows, other: Rows) -> float:
    """Intersection over union of two boxes left, top, right, bottom."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return float(both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both))


def _image(axes: Axes, shown: Floats) -> None:
    """As many pixels in a file as there are here, whatever the figure's size."""
    axes.imshow(np.rint(255 * shown).astype(np.uint8), interpolation="none")


def _write(axes: Axes, x: float, y: float, text: str, colour: str, *, centred: bool) -> None:
    """A name on its colour, inside the panel."""
    axes.text(
        x, y, text, fontsize=_LABEL, color=ink(to_rgb(colour)), ha="center" if centred else "left",
        va="center" if centred else "top", clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.9},
    )  # fmt: skip


def _inside(where: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel (row, column) of a region that lies nearest to its centre."""
    pixels = np.argwhere(where)
    nearest = ((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()
    row, column = pixels[nearest].tolist()
    return row, column


def _shrunk(image: npt.NDArray[np.uint8], step: int) -> Floats:
    """Means of blocks of step x step pixels, in [0, 1]; what fills no block at the right and the bottom is cut off."""
    height, width = (side // step for side in image.shape[:2])
    blocks = image[: height * step, : width * step].reshape(height, step, width, step, 3)
    found: Floats = blocks.mean(axis=(1, 3)) / 255
    return found


def _grey(image: Floats) -> Floats:
    """Luminance (ITU-R BT.601), lighter than the image: colours are left to what is drawn over it."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    return np.repeat((0.75 * grey + 0.25)[..., None], 3, axis=2)
