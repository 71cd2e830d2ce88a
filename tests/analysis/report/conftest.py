"""Tables of a small grid, and the browser in which reports are opened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from analysis.compiling import compiled
from analysis.frame import frame
from analysis.report.figures import Figure
from analysis.tables import Tables
from bench.results import ResultRow

# Value of each seed by pre-training, pruner and sparsity. On digits imp at 0.5 loses 0.001, at most 0.002 of accuracy, and
# at 0.9 a tenth; omp loses a fifth and more; robust pre-training (0.95) is worth five points and more.
TOY = {
    ("supervised", "dense", 0.0): (0.900, 0.902, 0.901),
    ("supervised", "imp", 0.5): (0.899, 0.902, 0.899),
    ("supervised", "imp", 0.9): (0.801, 0.800, 0.799),
    ("supervised", "omp", 0.5): (0.70, 0.72, 0.71),
    ("supervised", "omp", 0.9): (0.60, 0.61, 0.65),
    ("pgd_adversarial", "dense", 0.0): (0.950, 0.953, 0.951),
    ("pgd_adversarial", "imp", 0.5): (0.950, 0.952, 0.950),
    ("pgd_adversarial", "imp", 0.9): (0.86, 0.85, 0.87),
    ("pgd_adversarial", "omp", 0.5): (0.80, 0.81, 0.79),
    ("pgd_adversarial", "omp", 0.9): (0.70, 0.71, 0.72),
}
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20" width="900" height="450"><rect width="40" height="20"/></svg>'


@pytest.fixture
def toy_rows(row) -> list[ResultRow]:
    """Three data sets, each a little harder than the one before; everything is done."""
    return [
        row(pruner, sparsity, seed, value - 0.01 * harder, dataset=dataset, pretraining=pretraining)
        for harder, dataset in enumerate(("digits", "digit_glyphs", "digits_noisy"))
        for (pretraining, pruner, sparsity), values in TOY.items()
        for seed, value in enumerate(values)
    ]


@pytest.fixture(scope="session")
def once() -> dict[str, Tables]:
    return {}


@pytest.fixture
def toy(toy_rows, once) -> Tables:
    if "toy" not in once:
        protocols = {"double_win": {"transfer": {"finetune": {"epochs": 3, "lr": 0.1}, "linear": {"epochs": 5}}}}
        once["toy"] = compiled(frame(toy_rows, grid="toy"), name="toy", protocols=protocols)
    return once["toy"]


@pytest.fixture
def without(toy_rows) -> Callable[..., Tables]:
    """Tables of the toy with what `missing` says of a row's pruner, sparsity and seed: (status, reason), or None."""

    def build(missing: Callable[..., tuple[str, str] | None]) -> Tables:
        rows = []
        for found in toy_rows:
            state = missing(found.cell.pruner.label, found.cell.sparsity, found.cell.seed)
            rows.append(found if state is None else replace(found, value=None, status=state[0], reason=state[1]))
        return compiled(frame(rows, grid="toy"), name="toy")

    return build


@pytest.fixture
def figures() -> list[Figure]:
    caption = "Accuracy against sparsity, by <pruner>. Bands are 95 % intervals."
    return [Figure(name="curve_digits", caption=caption, svg=SVG, csv="curve digits.csv")]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is not installed; on Debian: apt-get install chromium (.ci/setup-browser)"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, headless=True, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page with what it asked for and complained of."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)


@pytest.fixture
def opened(browser, tmp_path) -> Iterator[Callable[..., Opened]]:
    """Opens the text of a page from a file."""
    pages = []

    def open_page(text: str, **options: Any) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        pages.append(Opened(browser, path.as_uri(), **options))
        return pages[-1]

    yield open_page
    for opened_page in pages:
        opened_page.page.close()
