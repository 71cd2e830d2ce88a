"""Characters rendered from the fonts that matplotlib ships, with the jitter of handwriting.

The reduction is that of the UCI optical digits: a binary 32 x 32 bitmap whose blocks are averaged later, when the
`.beton` file is written. Alpaydin and Kaynak 1998, doi:10.24432/C50P49.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.data.records import Bytes, Integers

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"

# Every font here has all of A-Z and 0-9 under their code points; cmmi10, cmsy10 and cmex10 hold other glyphs there.
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip

SIDE = 32  # of the binary bitmaps, in pixels
MASTER = 128  # canvas of a glyph before the jitter, in pixels
FONT_SIZE = 72
# Pixels by which the outline is thickened on the master: thin strokes would break in the bitmap, bold ones clog.
STROKES, BOLD_STROKES = (2, 3, 4), (0, 1, 2)

# The jitter, uniform within these bounds.
ROTATION_DEG = 15.0
SHEAR = 0.25
SCALE = (0.80, 1.05)  # of the glyph's box in the bitmap, height and width apart
SHIFT = 2.0  # pixels of the bitmap


def render(characters: str, n: int, *, seed: int) -> tuple[Bytes, Integers]:
    """n bitmaps (n, 32, 32) uint8, 0 or 255, bright on dark, and labels (n,) int64: positions in `characters`.

    Classes are as equal in number as n allows, in a seeded order. Deterministic in (characters, n, seed).
    """
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, len(characters)])))
    labels = draw.permutation(np.arange(n, dtype=np.int64) % len(characters))
    fonts = draw.integers(len(FONTS), size=n)
    strokes = draw.integers(len(STROKES), size=n)
    jitter = draw.random((n, 6))
    bitmaps = np.empty((n, SIDE, SIDE), dtype=np.uint8)
    for i in range(n):
        font = FONTS[fonts[i]]
        thicken = BOLD_STROKES if "Bol" in font or font == "cmb10" else STROKES
        master, box = glyph(font, characters[labels[i]], thicken[strokes[i]])
        coefficients = inverse_affine(jitter[i], box)
        grey = master.transform((SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        bitmaps[i] = np.asarray(grey)
    return np.where(bitmaps >= 128, np.uint8(255), np.uint8(0)), labels


@functools.cache
def glyph(font: str, character: str, stroke: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The character at full size on a dark canvas, and the box (left, top, right, bottom) of its ink."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    # The basic layout engine draws alike with and without the optional raqm library.
    face = ImageFont.truetype(str(path), FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)
    master = Image.new("L", (MASTER, MASTER), 0)
    middle = MASTER // 2
    ImageDraw.Draw(master).text((middle, middle), character, fill=255, font=face, anchor="mm", stroke_width=stroke)
    box = master.getbbox()
    assert box is not None, f"{font} draws nothing for {character!r}"
    return master, box


def inverse_affine(
    jitter: NDArray[np.float64], box: tuple[int, int, int, int]
) -> tuple[float, float, float, float, float, float]:
    """Coefficients that take a pixel of the bitmap to its place on the master canvas, as PIL's AFFINE wants them.

    jitter: six numbers in [0, 1): rotation, shear, scale of height and width, shift right and down.
    """
    symmetric = 2 * jitter - 1
    angle, shear = np.deg2rad(ROTATION_DEG) * symmetric[0], SHEAR * symmetric[1]
    height, width = SCALE[0] + (SCALE[1] - SCALE[0]) * jitter[2:4]
    left, top, right, bottom = box
    ink_h, ink_w = bottom - top, right - left
    # Narrow glyphs (I, 1) keep their proportions rather than being stretched to a block.
    stretch = max(ink_w, 0.6 * ink_h)
    forward = (
        np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        @ np.array([[1.0, shear], [0.0, 1.0]])
        @ np.diag([width * SIDE / stretch, height * SIDE / ink_h])
    )
    inverse = np.linalg.inv(forward)
    centre = np.array([left + right, top + bottom]) / 2
    place = np.array([SIDE / 2, SIDE / 2]) + SHIFT * symmetric[4:6]
    shift = centre - inverse @ place
    return (inverse[0, 0], inverse[0, 1], shift[0], inverse[1, 0], inverse[1, 1], shift[1])
