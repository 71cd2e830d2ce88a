"""The page holds everything it needs and says what the tables say."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from analysis.answers.summary import sentences
from analysis.report import page, views
from analysis.report.columns import COLUMNS
from analysis.report.figures import Figure
from analysis.wording import Sentence


class Read(HTMLParser):
    """Elements, the text of the page, and the embedded data."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.data, self.text, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"] and data.lstrip().startswith("{"):
            self.data.append(json.loads(data))
        elif self.open[-1:] not in (["script"], ["style"]):
            self.text.append(data)


@pytest.fixture
def rendered(toy, figures):
    return page.render(toy, figures, sentences(toy))


def test_every_element_is_closed_and_identifiers_are_unique(rendered):
    read = Read(rendered)
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


def test_the_same_arguments_give_the_same_page(toy, figures, rendered):
    assert page.render(toy, figures, sentences(toy)) == rendered


def test_nothing_is_loaded_from_elsewhere(rendered):
    for tag, attributes in Read(rendered).elements:
        loaded = [attributes.get(name) for name in ("src", "srcset", "data", "poster") if name in attributes]
        if tag == "link":
            loaded.append(attributes["href"])
        assert all(address.startswith("data:") for address in loaded), (tag, attributes)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|//cdn", rendered)


def test_sections_are_there_and_linked(rendered):
    read = Read(rendered)
    links = [
        attributes["href"][1:] for tag, attributes in read.elements if tag == "a" and attributes["href"][:1] == "#"
    ]
    assert links == [
        "answers",
        "run",
        "leaderboard",
        "matching",
        "comparisons",
        "rankings",
        "figures",
        "missing",
        "protocol",
        "methods",
        "provenance",
        "cite",
    ]
    assert set(links) <= set(read.ids)


def test_sentences_and_their_points_are_on_the_page(toy):
    text = page.render(
        toy, [], [Sentence(topic="T", lead="Lead <b>:", points=("one", "two"), end="End.", table="rows")]
    )
    assert "<li>Lead &lt;b&gt;:" in text
    assert "<li>one</li>" in text
    assert "End.</li>" in text


def test_text_from_results_cannot_become_markup(toy, figures):
    bad = "</script><script>alert(1)</script>"
    board = toy.leaderboard.assign(flags=bad)
    text = page.render(replace(toy, leaderboard=board, name=bad), figures, [])
    plain = page.render(toy, figures, [])
    assert "<script>alert(1)" not in text
    read = Read(text)
    scripts = [sum(tag == "script" for tag, _ in found.elements) for found in (read, Read(plain))]
    assert scripts[0] == scripts[1]
    words = [column["words"] for table in read.data for column in table["columns"] if column["heading"] == "flags"]
    assert [bad] in words


def test_figures_have_a_caption_an_accessible_name_and_their_numbers(rendered, figures):
    images = [attributes for tag, attributes in Read(rendered).elements if tag == "img"]
    assert [image["alt"] for image in images] == ["Accuracy against sparsity, by <pruner>"]
    assert images[0]["src"] == figures[0].uri
    assert "<b>Figure 1.</b> Accuracy against sparsity, by &lt;pruner&gt;." in rendered
    assert 'href="curve%20digits.csv"' in rendered


def test_coverage_counts_what_became_of_each_level(without):
    tables = without(lambda pruner, sparsity, seed: ("failed", "x") if (pruner, sparsity) == ("omp", 0.9) else None)
    text = page.render(tables, [], [])
    # omp: 2 levels x 3 seeds x 2 pre-trainings x 3 data sets, half of it at 0.9.
    row = re.search(r'<th scope="row">omp</th>(.*?)<td><span', text)[1]
    assert re.findall(r">(\d+)<", row) == ["36", "18", "18"]
    assert "<b>72</b><span>done</span>" in text


def test_missing_cells_are_listed_with_their_reason(without):
    tables = without(
        lambda pruner, sparsity, seed: ("failed", "out of <memory>") if (pruner, seed) == ("omp", 1) else None
    )
    shown = page.views(tables)["missing"]
    assert shown.n_rows == 12
    assert "out of &lt;memory&gt;" in page.render(tables, [], [])


def test_an_empty_store_gives_a_page_that_says_so(without):
    tables = without(lambda *_: ("missing", "not run"))
    text = page.render(tables, [], sentences(tables))
    assert "Nothing is evaluated yet: of 90 planned results none is done (90 not run)." in text
    assert "Nothing was drawn." in text
    assert Read(text).open == []


def test_axes_with_one_level_are_told_once(toy):
    shown = page.views(toy)["leaderboard"]
    assert ("architecture", "resnet8") in shown.constant
    assert "architecture" not in [column.name for column in shown.columns]
    assert [column.heading for column in shown.columns][:5] == ["rank", "dataset", "pretraining", "pruner", "sparsity"]


def test_columns_without_a_value_are_named(toy):
    board = toy.leaderboard.assign(device_hours=float("nan"), flags="")
    shown = views.view("leaderboard", board, COLUMNS["leaderboard"], limit=10)
    assert {"device-hours", "flags"} <= set(shown.blank)


def test_blanks_stay_blank_and_numbers_have_their_form():
    table = pd.DataFrame(
        {
            "sparsity": [0.83222784, 0.5],
            "diff": [0.0123456, float("nan")],
            "low": [-0.1, 0.0],
            "high": [0.2, float("nan")],
            "p": [0.0004, 0.0456],
            "n": pd.array([12345, None], dtype="Int64"),
            "won": pd.array([True, None], dtype="boolean"),
        }
    )
    columns = [
        views.Column(name="sparsity", heading="sparsity", kind="axis"),
        views.Column(name="diff", heading="difference", kind="signed"),
        views.Column(name="low", heading="interval", kind="interval", high="high"),
        views.Column(name="p", heading="p", kind="p"),
        views.Column(name="n", heading="n", kind="integer"),
        views.Column(name="won", heading="won", kind="flag"),
    ]
    shown = views.view("t", table, columns, limit=5)
    assert shown.rows(2) == [
        ["0.8322", "+0.0123", "[-0.1000, 0.2000]", "<0.001", "12,345", "yes"],
        ["0.5", "", "", "0.046", "", ""],
    ]
    assert views.payload(shown)["columns"][1]["values"] == [0.012346, None]


def test_large_tables_are_cut_and_say_so(toy, monkeypatch):
    monkeypatch.setattr(page, "MAX_ROWS", 10)
    text = page.render(toy, [], [])
    assert "The first 10 of 30 rows; the CSV file has all." in text
    assert all(
        len(column.get("codes", column.get("values"))) <= 10 for table in Read(text).data for column in table["columns"]
    )


def test_recipes_stand_side_by_side():
    transfer = {"finetune": {"epochs": 3, "data": {"flip": True}}, "linear": {"epochs": 5}}
    found = page.recipe_tables({"demo": {"summary": "digits", "transfer": transfer, "ladder": {"rate": 0.2}}})
    assert found == [
        ("demo", ["value"], [("summary", ["digits"]), ("ladder.rate", ["0.2"])]),
        ("demo: transfer", ["finetune", "linear"], [("epochs", ["3", "5"]), ("data.flip", ["True", ""])]),
    ]


def test_six_figures_of_a_kind_are_drawn_and_the_others_linked(toy):
    figures = [Figure(name=f"curve_{i}", caption=f"Curve {i}. More.", svg="<svg/>") for i in range(8)]
    figures.append(Figure(name="cost_0", caption="Cost 0.", svg='<svg width="300pt" height="1pt"/>'))
    text = page.render(toy, figures, [])
    assert re.findall(r"<b>Figure (\d)\.</b> (\w+.\d)", text.replace("\n", "")) == [
        *((str(i + 1), f"Curve {i}") for i in range(6)),
        ("7", "Cost 0"),
    ]
    assert "2 more figures of this kind beside this page" in text
    assert '<a href="figures/curve_7.svg">Curve 7</a>' in text
    # 300 points are 400 pixels, with a frame of 22.
    assert "width: 422px" in text


def test_a_figure_is_named_by_its_first_sentence():
    assert Figure(name="a", caption="One thing. Another.", svg="<svg/>").title == "One thing"
    assert Figure(name="a", caption="", svg="<svg/>").title == "a"


def test_comparisons_over_most_cells_come_first(toy):
    shown = page.views(toy)["comparisons"]
    by_name = dict(zip([column.name for column in shown.columns], shown.values, strict=True))
    assert set(by_name["axis"]) == {"pretraining", "pruner"}
    fixed = [
        (pruner or "") != "" or sparsity is not None
        for pruner, sparsity in zip(by_name["pruner"], by_name["sparsity"], strict=True)
    ]
    assert fixed == sorted(fixed)
    assert shown.n_rows == len(toy.comparisons)
