"""A figure as the report takes it, and the figures by what they show."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

# A page with hundreds of figures is neither loaded nor read.
MAX_PER_KIND = 6
FOLDER = "figures"
_POINTS_PER_PIXEL = 0.75
_TITLES = {
    "curve": "Metric against sparsity",
    "plane": "Standard against robust accuracy",
    "forest": "Differences between levels of an axis",
    "pairs": "Every pair of methods",
    "ranks": "Critical differences of mean ranks",
    "gap": "Gain against domain gap",
    "aggregates": "Normalised scores over data sets",
    "profiles": "Performance profiles",
    "published": "Measured beside published curves",
    "sensitivity": "Accuracy under perturbed weights and masks",
    "transfer": "Source of the mask against target",
    "matrices": "Published and measured transfer of masks",
    "similarity": "Similarity of masks between pre-trainings",
    "overlap": "Overlap of masks",
    "layers": "Sparsity by layer",
    "empty": "Empty kernels by layer and pre-training",
    "kernels": "Empty kernels",
    "cost": "Cost against metric",
    "scenes": "Predictions in scenes",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A drawing with its caption.

    name: its file in `figures/` without the suffix, which begins with the kind and an underscore; csv: the file of the
    numbers that it shows, or "".
    """

    name: str
    caption: str
    svg: str
    csv: str = ""

    @property
    def file(self) -> str:
        """The drawing below the folder of the analysis."""
        return f"{FOLDER}/{self.name}.svg"

    @property
    def uri(self) -> str:
        """The drawing as an address that holds all of it.

        As an image, so that the identifiers inside do not clash with those of other figures and nothing in it can run.
        """
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"

    @property
    def width(self) -> int:
        """Pixels that the drawing was made for."""
        found = re.search(r'<svg [^>]*?\bwidth="([\d.]+)(pt|px)?"', self.svg)
        if not found:
            return 600
        return round(float(found[1]) / (_POINTS_PER_PIXEL if found[2] == "pt" else 1))

    @property
    def title(self) -> str:
        """The first sentence of the caption, for those who cannot see the drawing."""
        return self.caption.partition(". ")[0].removesuffix(".") or self.name


def by_kind(figures: Sequence[Figure]) -> list[tuple[str, list[Figure], list[Figure]]]:
    """(title, the first MAX_PER_KIND, the others) of each kind, in the order in which the kinds come."""
    kinds: dict[str, list[Figure]] = {}
    for figure in figures:
        kinds.setdefault(figure.name.partition("_")[0], []).append(figure)
    return [
        (_TITLES.get(kind, kind.capitalize()), found[:MAX_PER_KIND], found[MAX_PER_KIND:])
        for kind, found in kinds.items()
    ]
