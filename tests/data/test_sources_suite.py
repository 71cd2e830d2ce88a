"""The sets of the transfer suites, read from small generated files in the layouts of the real ones."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from bench.catalog import DATASETS, load
from bench.data import DataError, beton
from bench.spec import Word


def picture(path: Path, value: int, side=(12, 10), mode="RGB") -> None:
    """An image of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", side[::-1], value).convert(mode).save(path)


def read(word, split, raw, **options):
    return load(DATASETS[word].source)(split, raw, download=False, options=options)


def values(images):
    """The grey value of every image."""
    return [int(np.rint(images.image(i).mean())) for i in range(len(images.labels))]


def test_stl10_is_stored_column_by_column_with_labels_from_one(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 96, 96, 3), dtype=np.uint8)
    for split in ("train", "test"):
        pixels.transpose(0, 3, 2, 1).tofile(folder / f"{split}_X.bin")
        np.array([10, 1], dtype=np.uint8).tofile(folder / f"{split}_y.bin")
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda _: True)
    images = read("stl10", "test", tmp_path)
    assert images.labels.tolist() == [9, 0]
    assert all((images.image(i) == pixels[i]).all() for i in range(2))


def test_traffic_signs_train_by_folder_and_test_by_table(tmp_path):
    base = tmp_path / "gtsrb"
    for label in range(2):
        picture(base / "GTSRB" / "Training" / f"{label:05}" / "00000_00000.ppm", 50 * (label + 1))
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"{label:05}.ppm", 100 + label)
    (base / "GT-final_test.csv").write_text("Filename;Width;ClassId\n00000.ppm;10;33\n00001.ppm;10;1\n")
    train, test = read("gtsrb", "train", tmp_path), read("gtsrb", "test", tmp_path)
    assert (train.labels.tolist(), values(train)) == ([0, 1], [50, 100])
    assert (test.labels.tolist(), values(test)) == ([33, 1], [100, 101])


def test_caltech101_trains_on_30_of_every_class_without_the_background(tmp_path):
    folder = tmp_path / "caltech101" / "101_ObjectCategories"
    counts = {"BACKGROUND_Google": 2, "Faces": 33, "accordion": 31}
    for name, count in counts.items():
        for i in range(1, count + 1):
            picture(folder / name / f"image_{i:04}.jpg", 4 * i)
    train, test = read("caltech101", "train", tmp_path), read("caltech101", "test", tmp_path)
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(test.labels).tolist() == [3, 1]
    faces = [
        v for images in (train, test) for v, label in zip(values(images), images.labels, strict=True) if label == 0
    ]
    assert sorted(faces) == [4 * i for i in range(1, 34)]
    assert values(train) == values(read("caltech101", "train", tmp_path))


def test_caltech256_trains_on_60_of_every_class_and_skips_stray_files(tmp_path):
    folder = tmp_path / "caltech256" / "256_ObjectCategories"
    for label, name in enumerate(("001.ak47", "257.clutter"), start=1):
        for i in range(1, 63):
            picture(folder / name / f"{label:03}_{i:04}.jpg", i)
    (folder / "001.ak47" / "RENAME2").write_text("")
    assert np.bincount(read("caltech256", "train", tmp_path).labels).tolist() == [60, 60]
    assert np.bincount(read("caltech256", "test", tmp_path).labels).tolist() == [2, 2]


def test_food_has_its_official_split(tmp_path):
    meta = tmp_path / "food-101" / "meta"
    meta.mkdir(parents=True)
    for split, value in (("train", 40), ("test", 80)):
        for name in ("apple_pie", "waffles"):
            picture(tmp_path / "food-101" / "images" / name / f"{value}.jpg", value)
        listed = {"waffles": [f"waffles/{value}"], "apple_pie": [f"apple_pie/{value}"]}
        (meta / f"{split}.json").write_text(json.dumps(listed))
    train = read("food101", "train", tmp_path)
    assert (train.labels.tolist(), values(train)) == ([1, 0], [40, 40])
    assert values(read("food101", "test", tmp_path)) == [80, 80]


def test_aircraft_train_on_trainval_by_variant(tmp_path):
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    for name, value in (("0034309", 60), ("0034958", 90)):
        picture(data / "images" / f"{name}.jpg", value)
    (data / "variants.txt").write_text("707-320\nBoeing 717\n")
    (data / "images_variant_trainval.txt").write_text("0034309 Boeing 717\n")
    (data / "images_variant_test.txt").write_text("0034958 707-320\n")
    train, test = read("fgvc_aircraft", "train", tmp_path), read("fgvc_aircraft", "test", tmp_path)
    assert (train.labels.tolist(), values(train)) == ([1], [60])
    assert (test.labels.tolist(), values(test)) == ([0], [90])


def test_cars_have_labels_from_one_in_their_tables(tmp_path):
    base = tmp_path / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array(["AM General", "Acura"], dtype=object)})
    fields = [("class", "O"), ("fname", "O")]
    for split, path in (
        ("train", base / "devkit" / "cars_train_annos.mat"),
        ("test", base / "cars_test_annos_withlabels.mat"),
    ):
        rows = np.array([(196, "00001.jpg"), (1, "00002.jpg")], dtype=fields)
        savemat(path, {"annotations": rows})
        for i in (1, 2):
            picture(base / f"cars_{split}" / f"0000{i}.jpg", 10 * i + 100 * (split == "test"))
    train, test = read("stanford_cars", "train", tmp_path), read("stanford_cars", "test", tmp_path)
    assert (train.labels.tolist(), values(train)) == ([195, 0], [10, 20])
    assert values(test) == [110, 120]


def make_sun397(raw):
    folder = raw / "SUN397"
    for name in ("a/abbey", "a/apartment_building/outdoor"):
        for i in range(10):
            picture(folder / name / f"sun_{name[2:6]}{i}.jpg", 10 * i + 5)
    (folder / "ClassName.txt").write_text("/a/abbey\n/a/apartment_building/outdoor\n")


def test_sun397_gives_a_fixed_fifth_of_every_class_to_the_test(tmp_path):
    make_sun397(tmp_path)
    train, test = read("sun397", "train", tmp_path), read("sun397", "test", tmp_path)
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    abbey = [v for part in (train, test) for v, label in zip(values(part), part.labels, strict=True) if label == 0]
    assert sorted(abbey) == [10 * i + 5 for i in range(10)]


def test_the_order_in_which_a_file_system_lists_files_does_not_matter(tmp_path, monkeypatch):
    make_sun397(tmp_path)
    found = read("sun397", "test", tmp_path)
    listing = datasets.SUN397.__init__

    def backwards(self, **arguments):
        listing(self, **arguments)
        self._image_files.sort(reverse=True)
        self._labels = [int("outdoor" in str(path)) for path in self._image_files]

    monkeypatch.setattr(datasets.SUN397, "__init__", backwards)
    again = read("sun397", "test", tmp_path)
    assert (again.labels.tolist(), values(again)) == (found.labels.tolist(), values(found))


def test_resisc45_gives_a_fixed_fifth_of_every_class_to_the_test(tmp_path):
    for name in ("airplane", "wetland"):
        for i in range(1, 11):
            picture(tmp_path / "NWPU-RESISC45" / name / f"{name}_{i:03}.jpg", 10 * i)
    train, test = read("resisc45", "train", tmp_path), read("resisc45", "test", tmp_path)
    assert np.bincount(train.labels).tolist() == [8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2]
    assert sorted(values(train) + values(test)) == sorted(2 * [10 * i for i in range(1, 11)])


def make_pcam(raw):
    """Three patches of every split, their grey value the number of the patch."""
    (raw / "pcam").mkdir(parents=True)
    for first, name in ((0, "train"), (10, "valid"), (20, "test")):
        stem = raw / "pcam" / f"camelyonpatch_level_2_split_{name}"
        patches = np.arange(first, first + 3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 96, 96, 3), np.uint8)
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = patches
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array([1, 0, 1], dtype=np.uint8).reshape(3, 1, 1, 1)


def test_patches_train_on_training_and_validation(tmp_path):
    make_pcam(tmp_path)
    train, test = read("pcam", "train", tmp_path), read("pcam", "test", tmp_path)
    assert train.labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert values(train) == [0, 1, 2, 10, 11, 12]
    assert values(test) == [20, 21, 22]
    assert train.image(5).shape == (96, 96, 3)


def test_patches_go_through_a_file_read_by_several_threads(tmp_path):
    make_pcam(tmp_path / "raw")
    beton.write(Word("pcam"), "train", data_root=tmp_path, resolution=96)
    file = beton.read(Word("pcam"), "train", data_root=tmp_path, resolution=96)
    assert [int(file.buffer[pointer]) for pointer in file.pointers] == [0, 1, 2, 10, 11, 12]


def test_a_damaged_patch_file_is_named(tmp_path):
    make_pcam(tmp_path)
    (tmp_path / "pcam" / "camelyonpatch_level_2_split_test_y.h5").write_bytes(b"not HDF5")
    with pytest.raises(DataError, match=r"pcam: missing or damaged files .*split_test_y.h5"):
        read("pcam", "test", tmp_path)


def test_scenes_are_labelled_by_their_number_of_objects(tmp_path):
    root = tmp_path / "clevr" / "CLEVR_v1.0"
    (root / "scenes").mkdir(parents=True)
    for split, counts in (("train", (3, 10)), ("val", (5,))):
        scenes = []
        for i, count in enumerate(counts):
            name = f"CLEVR_{split}_{i:06}.png"
            picture(root / "images" / split / name, 20 * count, mode="RGBA")
            scenes.append({"image_filename": name, "objects": [{"shape": "cube"}] * count})
        (root / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes[::-1]}))
    train, test = read("clevr_count", "train", tmp_path), read("clevr_count", "test", tmp_path)
    assert (train.labels.tolist(), values(train)) == ([0, 7], [60, 200])
    assert (test.labels.tolist(), values(test)) == ([2], [100])


def annotation(kind, distance):
    """One line of a KITTI label file."""
    return f"{kind} 0.00 0 -0.20 712.40 143.00 810.73 307.92 1.89 0.48 1.20 1.84 1.47 {distance} 0.01\n"


@pytest.mark.parametrize(
    ("lines", "label"),
    [
        ([("Car", 8.0)], 0),
        ([("Car", 8.01)], 1),
        ([("Van", 30.0), ("Truck", 20.0)], 1),
        ([("Car", 20.01), ("Pedestrian", 2.0)], 2),
        ([("Cyclist", 5.0), ("DontCare", -1000.0)], 3),
        ([("Car", -1.5)], 0),
        ([], 3),
    ],
)
def test_street_scenes_are_labelled_by_their_closest_vehicle(lines, label, tmp_path):
    root = tmp_path / "Kitti" / "raw" / "training"
    (root / "label_2").mkdir(parents=True)
    for i in range(22):
        picture(root / "image_2" / f"{i:06}.png", 10 * i)
        (root / "label_2" / f"{i:06}.txt").write_text("".join(annotation(*line) for line in lines))
    train, test = read("kitti_distance", "train", tmp_path), read("kitti_distance", "test", tmp_path)
    assert set(train.labels.tolist()) == set(test.labels.tolist()) == {label}
    # 711 of 7,481 images test, of 22 two.
    assert len(test.labels) == 2
    assert sorted(values(train) + values(test)) == [10 * i for i in range(22)]


def make_sprites(raw):
    """One sprite of every orientation and horizontal position: pixel (0, 0) is set in every second orientation."""
    factors = np.array([(0, 0, 0, angle, x, 0) for angle in range(40) for x in range(32)], dtype=np.int64)
    pixels = np.zeros((len(factors), 64, 64), dtype=np.uint8)
    pixels[:, 0, 0] = factors[:, 3] % 2
    (raw / "dsprites").mkdir(parents=True)
    name = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
    metadata = np.array({"date": "April 2017"}, dtype=object)
    np.savez_compressed(raw / "dsprites" / name, imgs=pixels, latents_classes=factors, metadata=metadata)


def test_sprites_are_labelled_by_position_or_orientation_in_16_bins(tmp_path):
    make_sprites(tmp_path)
    for name in ("dsprites_location", "dsprites_orientation"):
        train, test = read(name, "train", tmp_path), read(name, "test", tmp_path)
        assert len(test.labels) == 128
        # A tenth of 80, or of 96 and of 64.
        assert set(np.bincount(test.labels).tolist()) <= ({8} if name == "dsprites_location" else {6, 7, 9, 10})
        sizes = np.bincount(np.concatenate([train.labels, test.labels])).tolist()
        # 40 orientations fall into bins of 3 and 2 in turn, 32 positions into pairs.
        assert sizes == (16 * [80] if name == "dsprites_location" else 8 * [96, 64])
        assert train.image(0).shape == (64, 64, 3)
        assert {int(train.image(i)[0, 0, 0]) for i in range(len(train.labels))} == {0, 255}


def test_a_damaged_file_of_sprites_is_named(tmp_path):
    make_sprites(tmp_path)
    path = next((tmp_path / "dsprites").iterdir())
    path.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"dsprites_location: missing or damaged files \(looked for .*64x64.npz"):
        read("dsprites_location", "train", tmp_path)


@pytest.mark.parametrize("listed", [False, True], ids=["folders", "image_list.txt"])
def test_visda_trains_on_renderings_and_tests_on_the_validation_images(listed, tmp_path):
    for split, value in (("train", 30), ("validation", 60)):
        root = tmp_path / "visda2017" / split
        for i, name in enumerate(("aeroplane", "truck")):
            picture(root / name / f"{value}.png", value + i)
        if listed:
            (root / "image_list.txt").write_text(f"truck/{value}.png 11\naeroplane/{value}.png 0\n")
    train, test = read("visda2017", "train", tmp_path), read("visda2017", "test", tmp_path)
    assert (train.labels.tolist(), values(train)) == (([11, 0], [31, 30]) if listed else ([0, 1], [30, 31]))
    assert values(test) == ([61, 60] if listed else [60, 61])


def test_a_list_that_is_none_is_named(tmp_path):
    for split in ("train", "validation"):
        picture(tmp_path / "visda2017" / split / "car" / "1.png", 5)
        (tmp_path / "visda2017" / split / "image_list.txt").write_text("car/1.png first\n")
    with pytest.raises(DataError, match=r"image_list.txt is not a list of files and labels"):
        read("visda2017", "train", tmp_path)
