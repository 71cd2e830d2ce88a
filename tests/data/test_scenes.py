"""Drawn scenes, and their files in VOC's layout."""

import hashlib
import multiprocessing
import socket

import numpy as np
import pytest
from PIL import Image

from bench.catalog import DATASETS, load
from bench.data import DataError, scenes
from bench.data.sources import embedded
from bench.data.sources import scenes as files

# sha256 of masks and objects: a change alters every published number on these sets. Not of the images: the last digit of
# a sine may differ between machines, and with it the rounding of a pixel.
GOLDEN = "ca147eff8a7de320"
COUNTS = {"trainval": 12, "test": 4}


def strokes(label, draw):
    """A fat plus sign, whatever the class."""
    found = np.zeros((8, 8), np.uint8)
    found[2:6], found[:, 2:6] = 255, 255
    return found


def drawn(number, size=(64, 64), classes=10):
    return scenes.scene(np.random.default_rng(number), size, classes, strokes)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """16 small scenes in VOC's layout."""
    root = tmp_path_factory.mktemp("scenes")
    files.write(root / "VOCdevkit", files.NAMES, counts=COUNTS, size=(64, 64))
    return root


def read(root, split, task):
    return files.drawn(root, split, task, files.NAMES, counts=COUNTS, size=(64, 64))


def test_masks_hold_a_class_for_every_object_and_a_border_of_one_pixel_around_each():
    for number in range(30):
        _, mask, objects = drawn(number)
        classes = {int(label) + 1 for label in objects[:, 4]}
        assert set(np.unique(mask).tolist()) <= {0, *classes, 255}
        ink = (mask > 0) & (mask < 255)
        padded = np.pad(ink, 1)
        near = np.max([padded[y : y + 64, x : x + 64] for y in range(3) for x in range(3)], axis=0)
        # Specks of hidden digits are not counted either: they lie away from ink only where less than 12 are seen.
        assert (mask[near & ~ink] == 255).all()


def test_a_lone_object_is_boxed_tightly_by_its_mask():
    lone = [drawn(number) for number in range(40)]
    lone = [scene for scene in lone if len(scene.objects) == 1 and not scene.objects[0, 5]]
    assert len(lone) > 3
    for scene in lone:
        y, x = np.nonzero((scene.mask > 0) & (scene.mask < 255))
        assert scene.objects[0, :4].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_the_pixels_of_every_box_hold_its_class():
    for number in range(30):
        _, mask, objects = drawn(number)
        for left, top, right, bottom, label, _ in objects.astype(int):
            inside = mask[top:bottom, left:right] == label + 1
            # A tight box has ink in its first and last rows and columns, where no twin of the class overlaps.
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_scenes_have_one_to_four_objects_and_few_are_difficult():
    found = [drawn(number).objects for number in range(200)]
    counts = np.bincount([len(objects) for objects in found])
    assert counts[0] == 0
    assert (counts[1:] > 20).all()
    assert len(counts) == 5
    difficult = np.concatenate(found)[:, 5]
    assert 0.01 < difficult.mean() < 0.25


def test_digits_stand_out_of_their_background():
    for number in range(30):
        image, mask, _ = drawn(number)
        grey = image @ scenes.LUMINANCE
        assert grey[(mask > 0) & (mask < 255)].mean() > grey[mask == 0].mean() + 0.2 * 255


def test_scenes_of_any_size_and_number_of_classes_are_drawn():
    image, mask, objects = drawn(3, size=(20, 96), classes=20)
    assert (image.shape, mask.shape) == ((20, 96, 3), (20, 96))
    assert objects[:, 4].max() < 20


def test_files_hold_the_scenes_that_were_drawn(root):
    boxes, masks = read(root, "train", "detection"), read(root, "train", "segmentation")
    digits = embedded.digits("train", root)

    def own(label, draw):
        rows = np.flatnonzero(digits.labels == label)
        return digits.image(int(rows[draw.integers(len(rows))]))[:, :, 0]

    for i in range(12):
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([files.SEED, 0, i])))
        scene = scenes.scene(draw, (64, 64), 10, own)
        assert (masks.masks(i) == scene.mask).all()
        assert boxes.objects(i).tolist() == scene.objects.tolist()
        # JPEG at high quality: within a few levels.
        assert np.abs(boxes.image(i).astype(int) - scene.image).mean() < 3
        assert (boxes.image(i) == masks.image(i)).all()


def test_training_and_test_scenes_show_other_digits(tmp_path, monkeypatch):
    asked, digits = [], embedded.digits
    monkeypatch.setattr(embedded, "digits", lambda split, root: asked.append(split) or digits(split, root))
    files.write(tmp_path / "VOCdevkit", files.NAMES, counts=COUNTS, size=(64, 64))
    assert asked == ["train", "test"]


def test_masks_have_the_palette_of_voc(root):
    path = next((root / "VOCdevkit/VOC2007/SegmentationClass").iterdir())
    palette = Image.open(path).getpalette()
    # Background, aeroplane, bicycle, tvmonitor and the border, as in the development kit.
    assert [palette[3 * i : 3 * i + 3] for i in (0, 1, 2, 20, 255)] == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def digest(folder):
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        found.update(path.read_bytes())
    return found.hexdigest()


@pytest.mark.slow
def test_two_processes_that_draw_at_once_leave_one_whole_tree(root, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    folder = tmp_path / "VOCdevkit"
    both = [
        spawn.Process(target=files.write, args=(folder, files.NAMES), kwargs={"counts": COUNTS, "size": (64, 64)})
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]
    # The same bytes as in this process, too.
    assert digest(folder) == digest(root / "VOCdevkit")


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / f".VOCdevkit.{socket.gethostname()}.{2**22 + 1}.part"
    (left / "VOC2007").mkdir(parents=True)
    files.write(tmp_path / "VOCdevkit", files.NAMES, counts={"trainval": 1, "test": 1}, size=(64, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]


def test_a_damaged_tree_says_how_it_is_drawn_again(tmp_path):
    files.write(tmp_path / "VOCdevkit", files.NAMES, counts={"trainval": 1, "test": 1}, size=(64, 64))
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/test.txt").unlink()
    with pytest.raises(DataError, match=r"test.txt.*Delete .*VOCdevkit and run bench.prepare again"):
        read(tmp_path, "test", "detection")
    (tmp_path / "VOCdevkit/VOC2007/SegmentationClass/000001.png").unlink()
    with pytest.raises(DataError, match=r"000001.png.*Delete .*VOCdevkit and run bench.prepare again"):
        read(tmp_path, "train", "segmentation")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "raw").write_text("a file")
    with pytest.raises(DataError, match=r"raw/digit_scenes/VOCdevkit: the scenes cannot be written"):
        load(DATASETS["scenes_detection"].source)("train", tmp_path / "raw")


def test_masks_and_objects_are_the_same_on_every_machine():
    found = hashlib.sha256()
    for number in range(20):
        draw = np.random.Generator(np.random.Philox(np.random.SeedSequence([0, number])))
        _, mask, objects = scenes.scene(draw, (64, 64), 10, strokes)
        found.update(mask.tobytes() + objects.tobytes())
    assert found.hexdigest()[:16] == GOLDEN


@pytest.mark.slow
def test_sizes_and_classes_are_those_of_the_catalog(tmp_path):
    for name in ("scenes_detection", "scenes_segmentation"):
        entry = DATASETS[name]
        for split, size in (("train", entry.train), ("test", entry.test)):
            images = load(entry.source)(split, tmp_path)
            first = int(entry.task == "segmentation")
            assert images.labels.shape == (size,)
            assert sorted(set(images.labels.tolist())) == list(range(first, entry.classes))
