"""Results that survive whatever ends a run, and that others can read."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from makers import HOME
from trained import Trained, write_film

from mmvit.__main__ import main
from mmvit.predict import formats, writing
from mmvit.predict.predictor import Predictor
from mmvit.predict.writing import numbered, write_image

pytestmark = pytest.mark.stack


def words_of(trained: Trained, out: Path, *more: str) -> list[str]:
    return ["predict", str(trained.checkpoint), str(trained.images), "--score", "0", "--out", str(out), *more]


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "predictions.json").read_text())


PROGRAM = """
import os, sys, time
from mmvit.__main__ import main
from mmvit.predict.predictor import Predictor

predict, calls = Predictor._predict, []

def killed(self, images):
    calls.append(images)
    if len(calls) == 3:
        os.kill(os.getpid(), number)
        time.sleep(9)
    return predict(self, images)
"""


@pytest.mark.parametrize("number", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_run_that_is_killed_goes_on(
    detector: Trained, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(detector, tmp_path / "out")
    killed = number == signal.SIGKILL
    if killed:
        code = f"{PROGRAM}\nnumber, Predictor._predict = {int(number)}, killed; raise SystemExit(main({words}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=HOME)
        assert done.returncode == -number, done.stderr
    else:
        with monkeypatch.context() as patch:
            scope = dict(number=int(number))
            exec(PROGRAM, scope)
            patch.setattr(Predictor, "_predict", scope["killed"])
            assert main(words) == 130
    lines = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    assert len(lines) == 3  # the head and two images
    assert (tmp_path / "out/predictions.json").exists() != killed
    assert killed or len(read(tmp_path / "out")["images"]) == len(list((tmp_path / "out/overlays").iterdir())) == 2
    assert main(words) == 2  # what is there is not replaced
    assert main([*words, "--resume"]) == 0
    assert main(words_of(detector, tmp_path / "whole")) == 0
    resumed, whole = read(tmp_path / "out"), read(tmp_path / "whole")
    assert resumed == whole
    assert len(whole["images"]) == 4
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["overlays", "predictions.json"]


def test_a_line_that_is_cut_and_a_film_that_is_not_whole_are_done_again(detector: Trained, tmp_path: Path) -> None:
    words = words_of(detector, tmp_path / "out")
    words.insert(2, str(write_film(tmp_path / "film.avi", 3)))
    journal = tmp_path / "out/predictions.jsonl"
    calls = []
    predict = Predictor._predict

    def stopped(self: Predictor, images: list) -> list:
        calls.append(images)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return predict(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "_predict", stopped)
        assert main(words) == 130
    with journal.open("a") as file:
        file.write('{"source": "cut')
    assert main([*words, "--resume"]) == 0
    found = read(tmp_path / "out")
    assert len(found["images"]) == 4 + 3
    for kind in ("images", "annotations"):
        numbers = [entry["id"] for entry in found[kind]]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("file", ["checkpoint", "ann", "config"])
def test_a_run_of_another_file_of_the_same_name_does_not_go_on(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, file: str
) -> None:
    images = [dict(id=index, file_name=f"{index}.png") for index in range(4)]
    files = dict(checkpoint=tmp_path / "model.pth", ann=tmp_path / "own.json", config=tmp_path / "base.py")
    detector.cfg.dump(files["config"])
    (tmp_path / "config.py").write_text('_base_ = "base.py"\n')
    files["checkpoint"].write_bytes(detector.checkpoint.read_bytes())
    categories = [dict(id=number, name=name) for number, name in enumerate(detector.classes)]
    files["ann"].write_text(json.dumps(dict(images=images, annotations=[], categories=categories)))
    words = words_of(detector, tmp_path / "out", "--ann", str(files["ann"]))
    words[1:2] = [str(tmp_path / "config.py"), str(files["checkpoint"])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Predictor, "_predict", Mock(side_effect=KeyboardInterrupt))
        assert main(words) == 130
    with files[file].open("ab") as opened:
        opened.write(b"\nauto_scale_lr = dict(base_batch_size=7)\n" if file == "config" else b" ")
    assert main([*words, "--resume"]) == 2
    assert f"was written with another {file}" in capsys.readouterr().err


def test_a_run_with_its_own_json_goes_on_in_its_own_folder(
    detector: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["predict", str(detector.checkpoint), str(detector.images), "--score", "0"]
    monkeypatch.chdir(tmp_path)
    for folder in ("predictions", "predictions_2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine").touch()
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "_predict", Mock(side_effect=KeyboardInterrupt))
        assert main([*words, "--json", "x.json"]) == 130
    assert main([*words, "--json", "x.json", "--resume"]) == 0
    assert [len(list((tmp_path / f"predictions{end}").rglob("*.jpg"))) for end in ("", "_2", "_3")] == [0, 0, 4]


def test_two_runs_do_not_write_to_one_place(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = words_of(detector, tmp_path)
    journal = writing.Journal(tmp_path / "predictions.json", {})
    for more in ([], ["--resume"]):
        assert main([*words, *more]) == 2
        assert "predictions.json: another run is writing it" in capsys.readouterr().err
    journal.close()
    assert main(words) == 2
    assert "or go on with --resume" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.jsonl"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("--json JSON.jsonl", "expected the name of a file that ends in .json"),
        ("--json OUT/overlays", "expected the name of a file that ends in .json"),
        ("--json OUT/tasks.json --format labelstudio", "--format labelstudio writes a file of that name"),
        ("--json JSON.json", "out/overlays is there already"),
        ("--json JSON.json --no-overlays --format yolo", "out/labels is there already"),
        ("--json JSON.json --no-overlays --format csv", "out/predictions.csv is there already"),
        ("--no-overlays", "out/predictions.json is there already"),
        ("--resume", "its run has ended, with"),
        ("--out OUT/predictions.json", "predictions.json: File exists, where"),
        ("--out OUT/predictions.json/below", "below: Not a directory, where"),
    ],
)
def test_nothing_is_replaced(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, more: str, told: str) -> None:
    out = tmp_path / "out"
    for folder in ("overlays", "labels"):
        (out / folder).mkdir(parents=True)
        (out / folder / "0.txt").write_text("mine")
    for name in ("predictions.json", "predictions.csv"):
        (out / name).write_text("mine")
    words = more.replace("OUT", str(out)).replace("JSON", str(tmp_path / "other"))
    assert main(words_of(detector, out, *words.split())) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "or go on with --resume" not in said
    assert said.count("\n") == 1
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"mine"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--tta"], "another tta"),
        (["--classes", "1"], "another classes"),
        (["--pages", "all"], "another pages"),
        (["--no-overlays"], "another overlays"),
        (["--show-boxes"], "another boxes"),
        (["--out", "other"], "another out"),
        ([], "no run was stopped"),
    ],
)
def test_a_run_of_other_options_does_not_go_on(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], told: str
) -> None:
    words = words_of(detector, tmp_path, "--json", str(tmp_path / "x.json"))
    if more:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Predictor, "_predict", Mock(side_effect=KeyboardInterrupt))
            assert main(words) == 130
    assert main([*words, "--resume", *more]) == 2
    assert told in capsys.readouterr().err


def test_a_full_disk_is_one_message(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = writing.write_whole, []

    def full(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == 4:  # the journal's head and two pictures are written
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_whole", full)
        assert main(words_of(detector, tmp_path)) == 2
    told = capsys.readouterr().err
    assert told.strip().count("\n") == 0
    assert "No space left on device. The results of 2 images are in" in told
    assert main(words_of(detector, tmp_path, "--resume")) == 0
    assert len(read(tmp_path)["images"]) == 4


def test_a_run_without_images_leaves_nothing(detector: Trained, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert detector.predict(tmp_path / "empty", out=tmp_path / "out") == 2
    assert not (tmp_path / "out").exists()


def test_folders_are_numbered(tmp_path: Path) -> None:
    first = tmp_path / "predictions"
    assert numbered(first) == first
    first.mkdir()
    (first / "predictions.json").write_text("{}")
    assert numbered(first).name == "predictions_2"
    (first / "predictions.jsonl").write_text("{}")
    assert numbered(first, resume=True) == first
    parts = tmp_path / "predictions_4/.parts/1"  # of several processes
    parts.mkdir(parents=True)
    (parts / "predictions.jsonl").touch()
    assert numbered(first, resume=True).name == "predictions_4"


def test_a_disk_that_is_full_at_the_end(
    detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = words_of(detector, tmp_path, "--format", "yolo")
    with monkeypatch.context() as patch:
        patch.setattr(formats, "write_whole", Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path} cannot be written: No space left on device. The results of 4 images are in" in told
    assert main([*words, "--resume"]) == 0
    assert len(list((tmp_path / "labels").iterdir())) == 4


def test_a_side_too_long_for_jpeg_becomes_a_png(tmp_path: Path) -> None:
    write_image(tmp_path / "long.jpg", np.zeros((8, 66000, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["long.png"]


def test_without_what_draws_there_are_data(
    detector: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    assert detector.predict(detector.images, out=tmp_path) == 0
    assert "mmvit[draw]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]
