"""PASCAL VOC, read from a hand-made tree of a few tiny images."""

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from bench.catalog import DATASETS, load
from bench.data import DataError
from bench.data.sources import voc

# A person with a part that has a box of its own, and a difficult dog whose coordinates are fractions, as a few are.
PERSON = """<annotation><folder>VOC2007</folder><size><width>20</width><height>10</height><depth>3</depth></size>
<object><name>person</name><pose>Left</pose><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>4</xmax><ymax>10</ymax></bndbox>
<part><name>head</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part></object>
<object><name>dog</name><difficult>1</difficult>
<bndbox><ymin>1</ymin><xmin>5.5</xmin><ymax>10</ymax><xmax>20</xmax></bndbox></object></annotation>"""
CAT = """<annotation><object><name>cat</name>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></object></annotation>"""
NOTHING = "<annotation></annotation>"


def year_folder(root, year):
    return root / "VOCdevkit" / f"VOC{year}"


def listed(root, year, kind, part, stems):
    path = year_folder(root, year) / "ImageSets" / kind / f"{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def picture(root, year, stem, value):
    path = year_folder(root, year) / "JPEGImages" / f"{stem}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 10), (value,) * 3).save(path)


def annotated(root, year, stem, text, value=90):
    picture(root, year, stem, value)
    path = year_folder(root, year) / "Annotations" / f"{stem}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def masked(root, stem, values, value=90):
    picture(root, "2012", stem, value)
    path = year_folder(root, "2012") / "SegmentationClass" / f"{stem}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(values, np.uint8))
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


def read(name, split, root, **arguments):
    return load(DATASETS[name].source)(split, root, **arguments)


@pytest.fixture
def boxes(tmp_path):
    for year, part, stem, text, value in (
        ("2007", "trainval", "000005", PERSON, 50),
        ("2012", "trainval", "2008_000002", CAT, 100),
        ("2007", "test", "000001", NOTHING, 150),
    ):
        annotated(tmp_path, year, stem, text, value)
        listed(tmp_path, year, "Main", part, [stem])
    return tmp_path


BACKGROUND = np.zeros((10, 20), np.uint8)


@pytest.fixture
def masks(tmp_path):
    # Two pixels of class 20, one of class 3, the rest of the last line not counted.
    few = BACKGROUND.copy()
    few[9], few[0, :2], few[1, 0] = 255, 20, 3
    masked(tmp_path, "2007_000032", few, 50)
    masked(tmp_path, "2007_000033", BACKGROUND, 100)
    listed(tmp_path, "2012", "Segmentation", "train", ["2007_000032"])
    listed(tmp_path, "2012", "Segmentation", "val", ["2007_000033"])
    return tmp_path


def test_boxes_of_both_years_train_and_count_pixels_from_0(boxes):
    images = read("voc2007", "train", boxes)
    assert images.objects(0).tolist() == [[0, 2, 4, 10, 14, 0], [4.5, 0, 20, 10, 11, 1]]
    assert images.objects(1).tolist() == [[1, 1, 2, 2, 7, 0]]
    assert images.objects(0).dtype == np.float32
    assert [int(images.image(i).mean().round()) for i in range(2)] == [50, 100]


def test_a_scene_is_labelled_by_its_largest_object(boxes):
    assert read("voc2007", "train", boxes).labels.tolist() == [11, 7]


def test_the_test_images_are_those_of_2007_and_may_show_nothing(boxes):
    images = read("voc2007", "test", boxes)
    assert images.objects(0).shape == (0, 6)
    assert images.labels.tolist() == [0]


def test_masks_are_the_indices_of_the_palette(masks):
    images = read("voc2012", "train", masks)
    found = images.masks(0)
    assert found.dtype == np.uint8
    assert found[0, :3].tolist() == [20, 20, 0]
    assert set(found[9]) == {255}
    assert int(images.image(0).mean().round()) == 50


def test_a_mask_is_labelled_by_its_most_frequent_class_but_the_background(masks):
    assert read("voc2012", "train", masks).labels.tolist() == [20]
    assert read("voc2012", "test", masks).labels.tolist() == [0]


def test_classes_are_those_of_the_catalog_in_alphabetical_order():
    assert list(voc.CLASSES) == sorted(voc.CLASSES)
    assert (DATASETS["voc2007"].classes, DATASETS["voc2012"].classes) == (len(voc.CLASSES), len(voc.CLASSES) + 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (PERSON.replace("<name>dog", "<name>dragon"), "class 'dragon', known: aeroplane"),
        (PERSON[:200], "no element found|unclosed token"),
        (PERSON.replace("<xmax>20</xmax>", "<xmax>4</xmax>"), "dog: a box from"),
        (PERSON.replace("<xmax>20</xmax>", "<xmax>wide</xmax>"), "could not convert string to float: 'wide'"),
        (PERSON.replace("<xmax>20</xmax>", ""), "dog: a box from"),
        (None, "No such file"),
    ],
)
def test_a_damaged_annotation_is_named(boxes, text, reason):
    path = year_folder(boxes, "2007") / "Annotations" / "000005.xml"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(DataError, match=rf"Annotations/000005.xml: not a readable annotation .*({reason}).*Replace it"):
        read("voc2007", "train", boxes)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:60])


def in_colour(path):
    Image.new("RGB", (20, 10)).save(path)


def another_class(path):
    image = Image.fromarray(np.full((10, 20), 21, np.uint8))
    image.putpalette(bytes(range(256)) * 3)
    image.save(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "No such file"),
        (cut_short, "not a readable mask"),
        (in_colour, "an image of mode RGB, not of palette indices"),
        (another_class, "class 21 in a mask of classes 0 to 20 and 255"),
    ],
    ids=["missing", "truncated", "colour", "class"],
)
def test_a_damaged_mask_is_named(masks, damage, reason):
    damage(year_folder(masks, "2012") / "SegmentationClass" / "2007_000032.png")
    with pytest.raises(DataError, match=rf"SegmentationClass/2007_000032.png: .*{reason}"):
        read("voc2012", "train", masks)


def test_what_is_there_is_not_fetched_again(boxes, monkeypatch):
    asked = []
    constructor = datasets.VOCDetection.__init__

    def noted(self, **arguments):
        asked.append(arguments["download"])
        constructor(self, **arguments)

    monkeypatch.setattr(datasets.VOCDetection, "__init__", noted)
    read("voc2007", "train", boxes, download=True)
    assert asked == [False, False]
