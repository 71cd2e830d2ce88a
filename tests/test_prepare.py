"""`python -m bench.prepare`."""

import os
import re
import subprocess
import sys

import pytest

from bench import prepare
from bench.catalog import DATASETS
from bench.data import beton
from bench.spec import Word


def test_a_set_is_written_once_and_then_found(tmp_path, capsys):
    assert prepare.main(["digits", "--data", str(tmp_path)]) == 0
    file = beton.read(Word("digits"), "train", data_root=tmp_path, resolution=8).path
    written = os.stat(file).st_mtime_ns
    assert prepare.main(["digits", "--data", str(tmp_path)]) == 0
    assert os.stat(file).st_mtime_ns == written
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("digits: 1297 training and 500 test images at 8 px, written in ")
    assert second == f"digits: 1297 training and 500 test images at 8 px, already there, in {file.parent}"


def test_a_damaged_file_is_written_again(tmp_path, capsys):
    prepare.main(["digits", "--data", str(tmp_path)])
    file = beton.read(Word("digits"), "test", data_root=tmp_path, resolution=8)
    with file.path.open("r+b") as out:
        out.seek(int(file.pointers[0]))
        out.write(bytes(range(100, 116)))
    assert prepare.main(["digits", "--data", str(tmp_path)]) == 0
    assert "written in" in capsys.readouterr().out.splitlines()[1]
    assert beton.digest(file.path) == file.sha256


def test_a_resolution_is_written_beside_the_usual_one(tmp_path, capsys):
    assert prepare.main(["digit_glyphs", "--resolution", "16", "--data", str(tmp_path)]) == 0
    assert "at 16 px" in capsys.readouterr().out
    file = beton.read(Word("digit_glyphs"), "train", data_root=tmp_path, resolution=16)
    assert set(file.heights) == {16}


def test_the_data_root_comes_from_the_environment(tmp_path):
    environment = os.environ | {"TICKETBENCH_DATA": str(tmp_path / "here")}
    command = [sys.executable, "-m", "bench.prepare", "digits_inverted"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert (tmp_path / "here" / "beton" / "digits_inverted" / "train-8.beton").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cifar1O"], 'dataset "cifar1O" is not in bench/catalog.py'),
        (["cifar10", "--no-download"], "cifar-10-batches-py"),
        (["folder"], "needs name"),
        (["folder(name=birds, classes=3)"], "raw/birds/train"),
        (["resisc45"], "raw/NWPU-RESISC45; no NWPU-RESISC45). Unpack NWPU-RESISC45.rar"),
        (["digits", "--resolution", "0"], "positive number of pixels"),
        (["torchvision:resnet8"], "no weights published for 'resnet8'"),
        (
            ["torchvision:resnet50:IMAGENET1K_V9"],
            "publishes no IMAGENET1K_V9 for resnet50 (known: IMAGENET1K_V1, IMAGENET1K_V2)",
        ),
        (["torchvision:resnet50", "--no-download"], "weights/resnet50-0676ba61.pth"),
        (["huggingface:bert-base-uncased", "--no-download"], "weights/bert-base-uncased, and --no-download was given"),
        (["sst2", "--resolution", "64"], "texts are stored with up to 128 tokens and cut when they are read"),
        (["sst2", "--no-download"], "Unpack the task's archive of gluebenchmark.com/tasks"),
    ],
)
def test_what_cannot_be_prepared_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    assert prepare.main([*arguments, "--data", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("bench.prepare: ")
    assert errors.count("\n") == 1


def listed(root, capsys):
    """Rows of the table by name: the other cells."""
    assert prepare.main(["--list", "--data", str(root)]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()[1:]
    return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in lines)}


def test_the_list_names_sizes_state_and_place_of_every_set(tmp_path, capsys):
    prepare.main(["digits", "--data", str(tmp_path)])
    for path in ("eurosat/2750", "pcam"):
        (tmp_path / "raw" / path).mkdir(parents=True)
    capsys.readouterr()
    rows = listed(tmp_path, capsys)
    assert list(rows) == list(DATASETS)
    assert rows["digits"] == ["10", "1,297", "500", "prepared", "-", "needs no files"]
    assert rows["letters"][3] == "embedded"
    assert rows["eurosat"] == ["10", "21,600", "5,400", "raw files", "eurosat/2750", "download"]
    first = "pcam/camelyonpatch_level_2_split_train_x.h5 and 5 more"
    assert rows["pcam"] == ["2", "294,912", "32,768", "missing", first, "download"]
    assert rows["folder"] == [
        "-",
        "-",
        "-",
        "by options",
        "<name>/train and 1 more",
        "put or link <class>/<image> folders there",
    ]
    assert rows["stanford_cars"][3:5] == ["missing", "stanford_cars/cars_train and 4 more"]


def test_a_set_of_which_a_file_is_gone_is_not_prepared(tmp_path, capsys):
    prepare.main(["digits", "--data", str(tmp_path)])
    (tmp_path / "beton" / "digits" / "test-8.labels.npy").unlink()
    capsys.readouterr()
    assert listed(tmp_path, capsys)["digits"][3] == "embedded"


def test_a_stand_in_is_written_at_the_side_of_its_set(tmp_path, capsys):
    assert prepare.main(["toy(of=eurosat)", "--data", str(tmp_path)]) == 0
    assert "96 training and 32 test images at 64 px" in capsys.readouterr().out


def test_the_list_says_where_its_paths_lie(tmp_path, capsys):
    prepare.main(["--list", "--data", str(tmp_path)])
    legend = capsys.readouterr().out.splitlines()[-1]
    assert legend.startswith(f"Paths are under {tmp_path}/raw. ")
    assert f"`python -m bench.prepare NAME --data {tmp_path}`" in legend


def test_nothing_to_prepare_is_a_slip(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare.main(["--data", str(tmp_path)])
    assert "name what to prepare, or give --list" in capsys.readouterr().err


def test_weights_already_there_need_no_network(tmp_path, capsys):
    path = tmp_path / "weights" / "resnet50-0676ba61.pth"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert prepare.main(["torchvision:resnet50", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"torchvision:resnet50: already there, in {path}\n"


def test_weights_are_fetched_under_the_digest_of_their_name(tmp_path, monkeypatch):
    import torch

    asked = []

    def fetch(url, path, hash_prefix, progress):
        asked.append((url, hash_prefix))
        with open(path, "wb") as out:
            out.write(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert prepare.main(["torchvision:resnet50:IMAGENET1K_V2", "--data", str(tmp_path)]) == 0
    assert asked == [("https://download.pytorch.org/models/resnet50-11ad3fa6.pth", "11ad3fa6")]
    assert (tmp_path / "weights" / "resnet50-11ad3fa6.pth").read_bytes() == b"weights"


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "weights" / "bert-base-uncased"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "vocab.txt").write_text("[PAD]\n")
    return folder


def test_a_model_already_there_needs_no_network_and_gives_its_vocabulary(tmp_path, model_folder, capsys):
    assert prepare.main(["huggingface:bert-base-uncased", "--no-download", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"huggingface:bert-base-uncased: already there, in {model_folder}\n"
    assert (tmp_path / "raw" / "bert-base-uncased" / "vocab.txt").read_text() == "[PAD]\n"


def test_what_a_model_lacks_is_fetched(tmp_path, model_folder, monkeypatch, capsys):
    from bench.models import external

    (model_folder / "vocab.txt").unlink()
    asked = []

    def fetch(model, root):
        asked.append((model, root))
        (model_folder / "vocab.txt").write_text("[PAD]\n")

    monkeypatch.setattr(external, "download_huggingface", fetch)
    assert prepare.main(["huggingface:bert-base-uncased", "--data", str(tmp_path)]) == 0
    assert asked == [("bert-base-uncased", tmp_path / "weights")]
    assert "already there" not in capsys.readouterr().out


def test_a_broken_connection_is_one_paragraph(tmp_path, monkeypatch, capsys):
    import torch

    def fetch(*_, **__):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert prepare.main(["torchvision:resnet18", "--data", str(tmp_path)]) == 2
    assert "Temporary failure in name resolution). Run this on a machine with network" in capsys.readouterr().err
