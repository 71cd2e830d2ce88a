"""What all figures share: settings, text that fits, and files whose bytes depend on the content alone.

Sizes are in inches and points at full size; a figure of one panel is made for a column of 8.5 cm.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from analysis.wording import transfer


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure still to be drawn. `kind` and `setting` together are its name; `draw` can be sent to a process."""

    kind: str
    setting: tuple[object, ...]
    draw: Callable[[], Figure]


GREY, FAINT = "#555555", "#E4E4E4"
TITLE, LABEL, NOTE = 9.5, 8.0, 7.0
_SETTINGS: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": LABEL,
    "ytick.labelsize": LABEL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "savefig.dpi": 160,
    # Text as outlines: the file is drawn the same where the font is missing, and nothing that was laid out here
    # moves. What a figure says can still be found: its title, and every text as a comment.
    "svg.fonttype": "path",
    # Options of words may hold any character, a dollar too.
    "text.parse_math": False,
}
# Width of a letter and height of a line, in font sizes, of the font that matplotlib brings; widths are for mixed text.
_LETTER, _LINE = 0.54, 1.25
_PAD = 0.05
# Decimals of an axes' place as a share of the figure.
_PLACES = 9
# Width of a legend's handle with its spaces.
_HANDLE = 0.53


@contextmanager
def settings() -> Iterator[None]:
    """The settings of every figure, whatever the reader's; they hold inside the block (or the decorated function)."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def save(figure: Figure, stem: Path, *, name: str = "") -> list[Path]:
    """Write STEM.png and STEM.svg, whose bytes depend on what is shown and the name (that of the stem); returns paths.

    No clock, no version of a library and no setting of the reader is in them.
    """
    png, vector = stem.with_name(stem.name + ".png"), stem.with_name(stem.name + ".svg")
    with settings():
        figure.savefig(png, format="png", metadata={"Software": None})
    vector.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + svg(figure, name or stem.name), encoding="utf-8")
    return [png, vector]


def svg(figure: Figure, name: str) -> str:
    """One <svg> element, alone or in a page; its ids are unlike those of any figure with another name."""
    buffer = io.StringIO()
    with settings(), matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    # matplotlib numbers groups and letters alike in all files, and salts only some of its ids.
    own = "f" + hashlib.sha256(name.encode()).hexdigest()[:8]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}-", text[text.index("<svg") :])
    return text.replace("<svg ", f'<svg role="img" aria-label="{_attribute(str(figure.get_label()))}" ', 1)


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")


def wrap(label: object, width: int) -> str:
    """Broken after the separators of paths and options where possible, and anywhere where one part is too long."""
    parts = re.findall(r"\(?[^ /,(]*(?:\(|[ /,]*)", str(label))
    lines = [""]
    for part in itertools.chain.from_iterable(textwrap.wrap(part, width, drop_whitespace=False) for part in parts):
        if len(lines[-1]) + len(part.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def direction(metric: str, higher_is_better: bool, *, horizontal: bool = False) -> str:
    """Axis title with an arrow towards the better end."""
    return f"{metric} ({('→←' if horizontal else '↑↓')[not higher_is_better]} better)"


def finish(figure: Figure, *, title: str, note: str, handles: Sequence[Artist] = ()) -> Figure:
    """Add title, legend and note around what is drawn, making the figure as much higher: none covers the data.

    The figure's label is title and note as a caption.
    """
    figure.set_label(f"{'; '.join(title.splitlines())}. {note[:1].upper()}{note[1:]}.")
    width, height = map(float, figure.get_size_inches())
    title, note = (
        "\n".join(wrap(line, letters(width - 2 * _PAD, size)) for line in text.splitlines())
        for text, size in ((title, TITLE), (note, NOTE))
    )
    labels = [wrap(handle.get_label(), min(letters(width - _HANDLE, LABEL), 46)) for handle in handles]
    longest = max((len(line) for label in labels for line in label.splitlines()), default=1)
    columns = max(1, min(len(labels), int(width / (longest * _LETTER * LABEL / 72 + _HANDLE))))
    pads = {"handletextpad": 0.7, "columnspacing": 1.2, "borderaxespad": 0, "labelspacing": 0.3, "handlelength": 3}
    legend = figure.legend(list(handles), labels, loc="lower center", ncols=columns, fontsize=LABEL, **pads)
    key = legend.get_window_extent().height / figure.dpi + 2 * _PAD if handles else 0.0
    if not handles:
        legend.remove()
    top, bottom = _height(title, TITLE) + 2 * _PAD, _height(note, NOTE) + 2 * _PAD
    whole = height + top + key + bottom
    figure.set_size_inches(width, whole)
    legend.set_bbox_to_anchor((0.5, bottom / whole))
    rect = (_PAD / width, (bottom + key) / whole, 1 - 2 * _PAD / width, height / whole)
    figure.set_layout_engine("constrained", rect=rect)
    figure.text(_PAD / width, 1 - _PAD / whole, title, va="top", fontsize=TITLE, linespacing=1.15)
    figure.text(_PAD / width, _PAD / whole, note, va="bottom", fontsize=NOTE, linespacing=1.15, color=GREY)
    # One layout for all files; a second run of the engine would start from the result of the first.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        # The engine sums over axes in no fixed order: the last digits vary, and with them ids and pixels of files.
        axes.set_position(np.round(axes.get_position().bounds, _PLACES))
    return figure


def letters(width: float, size: float) -> int:
    """How many letters of a font size fit into a width in inches; at least 8."""
    return max(8, int(width * 72 / (_LETTER * size)))


def _height(text: str, size: float) -> float:
    return (text.count("\n") + 1) * size * _LINE / 72 if text else 0.0


def counted(counts: pd.Series[int], noun: str = "seeds") -> str:
    """n = 3 seeds, or n = 2 to 3 seeds."""
    low, high = counts.min(), counts.max()
    return (
        f"n = {low} {noun.removesuffix('s') if high == 1 else noun}" if low == high else f"n = {low} to {high} {noun}"
    )


def conditions(row: pd.Series[Any]) -> str:
    """How the networks of a figure were transferred and selected; without what the figure averages over."""
    selected = [f"selection {row['selection']}"] if row.get("selection") else []
    return ", ".join(filter(None, [transfer(row.to_dict()), *selected]))
