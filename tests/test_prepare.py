"""`python -m bench.prepare`."""

import os
import subprocess
import sys

import pytest

from bench import prepare
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
        (["digits", "--resolution", "0"], "positive number of pixels"),
        (["torchvision:resnet8"], "no weights published for 'resnet8'"),
        (
            ["torchvision:resnet50:IMAGENET1K_V9"],
            "publishes no IMAGENET1K_V9 for resnet50 (known: IMAGENET1K_V1, IMAGENET1K_V2)",
        ),
        (["torchvision:resnet50", "--no-download"], "weights/resnet50-0676ba61.pth"),
    ],
)
def test_what_cannot_be_prepared_is_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    assert prepare.main([*arguments, "--data", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.startswith("bench.prepare: ")
    assert errors.count("\n") == 1


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


def test_a_broken_connection_is_one_paragraph(tmp_path, monkeypatch, capsys):
    import torch

    def fetch(*_, **__):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    assert prepare.main(["torchvision:resnet18", "--data", str(tmp_path)]) == 2
    assert "Temporary failure in name resolution). Run this on a machine with network" in capsys.readouterr().err
