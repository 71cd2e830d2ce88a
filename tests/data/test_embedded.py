"""The sets that need no download."""

import hashlib

import numpy as np
import pytest

from bench.catalog import DATASETS
from bench.data import glyphs, sources

# Stand-ins have the shape of another set: tests/data/test_stand_ins.py. Scenes: tests/data/test_scenes.py.
EMBEDDED = [
    name for name, entry in DATASETS.items() if entry.embedded and name != "toy" and entry.task == "classification"
]

# sha256 of all pixels of train and test: a change alters every published number on these sets.
GOLDEN = {
    "digits": "7b88603317909d75",
    "letters": "c0f51934d6b4357e",
    "digit_glyphs": "1d6b56217c1d7fa8",
    "digits_inverted": "45403662544f96af",
    "digits_noisy": "38d083cef509a507",
}


def pixels(images):
    return np.stack([images.image(i) for i in range(len(images.labels))])


@pytest.mark.parametrize("name", EMBEDDED)
def test_sizes_and_classes_are_those_of_the_catalog(name, tmp_path):
    entry = DATASETS[name]
    for split, size in (("train", entry.train), ("test", entry.test)):
        images = getattr(sources, name)(split, tmp_path)
        assert images.labels.shape == (size,)
        assert sorted(set(images.labels.tolist())) == list(range(entry.classes))


@pytest.mark.parametrize("name", EMBEDDED)
def test_pixels_and_labels_are_the_same_on_every_machine(name, tmp_path):
    found = hashlib.sha256()
    for split in ("train", "test"):
        images = getattr(sources, name)(split, tmp_path)
        found.update(pixels(images).tobytes())
        found.update(images.labels.tobytes())
    assert found.hexdigest()[:16] == GOLDEN[name]


def test_digits_of_train_and_test_are_all_the_digits_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_digits

    ours = np.concatenate([pixels(sources.digits(split, tmp_path))[..., 0] for split in ("train", "test")])
    theirs = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, ours)) == sorted(map(bytes, theirs))


def test_inverted_digits_are_the_digits_inverted(tmp_path):
    plain, inverted = (pixels(source("test", tmp_path)) for source in (sources.digits, sources.digits_inverted))
    assert (plain.astype(int) + inverted == 255).all()


@pytest.mark.parametrize("name", ["letters", "digit_glyphs", "digits_noisy"])
def test_training_and_test_share_no_image(name, tmp_path):
    train, test = (set(map(bytes, pixels(getattr(sources, name)(split, tmp_path)))) for split in ("train", "test"))
    assert not train & test


def test_every_font_draws_every_character_differently():
    for font in glyphs.FONTS:
        drawn = {bytes(glyphs.glyph(font, character, 0)[0].tobytes()) for character in glyphs.LETTERS + glyphs.DIGITS}
        assert len(drawn) == 36, font


def test_glyphs_are_binary_and_neither_empty_nor_full():
    bitmaps, _ = glyphs.render(glyphs.LETTERS, 520, seed=9)
    assert set(np.unique(bitmaps)) == {0, 255}
    ink = (bitmaps > 0).mean(axis=(1, 2))
    assert 0.05 < ink.min() < ink.max() < 0.9


def test_a_classifier_reads_the_noisy_digits(tmp_path):
    from sklearn.linear_model import RidgeClassifier

    train, test = (sources.digits_noisy(split, tmp_path) for split in ("train", "test"))
    flat = [pixels(images)[..., 0].reshape(len(images.labels), -1) / 255 for images in (train, test)]
    assert RidgeClassifier().fit(flat[0], train.labels).score(flat[1], test.labels) > 0.7
