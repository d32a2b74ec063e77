"""Films: damaged ones, frames that fail, names."""

import json
from pathlib import Path

import numpy as np
import pytest
from trained import Trained, write_film

from mmvit.errors import InputError
from mmvit.predict.films import Film
from mmvit.predict.prediction import Options, Prediction
from mmvit.predict.predictor import Predictor

pytestmark = pytest.mark.stack


def test_frames_keep_their_numbers(detector: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, predict = detector.predictor(), Predictor._predict

    def lacking(self: Predictor, images: list) -> list:
        if any(image.name.endswith(" 1") for image in images):
            raise MemoryError
        return predict(self, images)

    monkeypatch.setattr(Predictor, "_predict", lacking)
    film = write_film(tmp_path / "film.avi", 3)
    assert Prediction(predictor, Options(tmp_path)).run([str(film)]) == 1
    images = json.loads((tmp_path / "predictions.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"{film} frame 0", f"{film} frame 2"]


def test_a_damaged_film_is_said(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    film = write_film(tmp_path / "film.avi", 12)
    content = film.read_bytes()
    film.write_bytes(content[: len(content) // 2])
    assert detector.predict(film, out=tmp_path / "cut", options="--score 0.9") == 1
    assert "of 12 frames could be read; it is damaged or cut short" in capsys.readouterr().err
    assert (tmp_path / "cut/overlays/film.mp4").is_file()
    film.write_bytes(content)
    assert detector.predict(film, out=tmp_path / "whole", options="--score 0.9") == 0


@pytest.mark.parametrize("told", [0, 1])
def test_a_film_without_a_frame_is_said(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture, told: int) -> None:
    """Its header may tell of one."""
    film = write_film(tmp_path / "film.avi", told)
    content = film.read_bytes()
    film.write_bytes(content[: content.index(b"movi") + 4] if told else content)
    assert detector.predict(film, out=tmp_path / "out") == 1
    assert f"left out: video {film}: " in capsys.readouterr().err


def test_a_film_that_was_stopped_leaves_no_overlay(detector: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it under the film's name would pass for the whole."""
    add = Film.add

    def stopped(self: Film, drawn: np.ndarray) -> None:
        if self.frames > 6:
            raise KeyboardInterrupt
        add(self, drawn)

    film = write_film(tmp_path / "film.avi", 10)
    with monkeypatch.context() as patched:
        patched.setattr(Film, "add", stopped)
        assert detector.predict(film, out=tmp_path / "out", options="--score 0.9") == 130
    assert list((tmp_path / "out/overlays").iterdir()) == []
    assert detector.predict(film, out=tmp_path / "out", options="--score 0.9 --resume") == 0
    assert [path.name for path in (tmp_path / "out/overlays").iterdir()] == ["film.mp4"]


def test_films_of_one_name_and_of_names_that_windows_refuses(detector: Trained, tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    for name in ("a.avi", "con: ?.avi", "later/A.avi"):
        write_film(tmp_path / name, 2)
    films = (tmp_path / "*.avi", tmp_path / "later/*.avi")
    assert detector.predict(*films, out=tmp_path / "out", options="--format yolo --score 0.9") == 0
    assert sorted(path.name for path in (tmp_path / "out/overlays").iterdir()) == ["A_2.mp4", "a.mp4", "con_ _.mp4"]
    assert len(list((tmp_path / "out/labels").iterdir())) == 3 * 2  # a file for each frame
    with pytest.raises(InputError, match="no such file"):
        Film(tmp_path / "none.ts", None)
