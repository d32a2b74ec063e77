"""`mmvit predict`, as a user calls it."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from trained import Trained, write_film

from mmvit.__main__ import main

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module", params=["mask_rcnn", "segformer"])
def trained(request: pytest.FixtureRequest, model_of: Callable[[str], Trained]) -> Trained:
    return model_of(request.param)


def test_a_folder(trained: Trained, tmp_path: Path) -> None:
    assert trained.predict(trained.images, out=tmp_path, options="--score 0 --batch-size 2") == 0
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [Path(image["file_name"]).name for image in content["images"]] == [f"{index}.png" for index in range(4)]
    assert [category["name"] for category in content["categories"]] == list(trained.classes)
    found = list(trained.predictor()(trained.images))
    for index, result in enumerate(found):
        drawn = cv2.imread(str(tmp_path / "overlays" / f"{index}.jpg"))
        assert drawn.shape[:2] == result.size
        if trained.segments:
            assert (np.asarray(Image.open(tmp_path / "labels" / f"{index}.png")) == result.labels).all()
            assert sum(content["images"][index]["shares"].values()) == pytest.approx(1)
        else:
            told = [entry for entry in content["annotations"] if entry["image_id"] == index + 1]
            np.testing.assert_allclose([entry["score"] for entry in told], result.scores, atol=1e-5)
            assert all("segmentation" in entry for entry in told)


def test_bad_images_are_counted(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    good, same = trained.images / "0.png", tmp_path / "0.png"
    same.write_bytes(good.read_bytes())
    words = [str(trained.config), str(trained.checkpoint), str(bad), str(good), str(same), "--out", str(tmp_path / "out")]
    assert main(["predict", *words]) == 1
    told = capsys.readouterr()
    assert f"left out: image {bad}" in told.err
    assert told.out.startswith("2 images, ")
    assert "1 left out" in told.out
    assert sorted(path.name for path in (tmp_path / "out/overlays").iterdir()) == ["0.jpg", "0_2.jpg"]


def test_a_video(trained: Trained, tmp_path: Path) -> None:
    assert trained.predict(write_film(tmp_path / "film.mp4", 3, "mp4v"), out=tmp_path / "out") == 0
    capture = cv2.VideoCapture(str(tmp_path / "out/overlays/film.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (3, 5)
    assert len(json.loads((tmp_path / "out/predictions.json").read_text())["images"]) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["X.ONNX", "a.png"], "X.ONNX: no such file"),
        (["x.pth"], "expected [CONFIG] CHECKPOINT INPUT"),
        (["retinanet_pvt_smal_coco", "x.pth", "a.png"], "x.pth"),
    ],
)
def test_words_that_mean_nothing(words: list[str], told: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["predict", *words]) == 2
    assert told in capsys.readouterr().err


def test_classes_are_chosen(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (whole,) = detector.predictor()(detector.images / "0.png")
    chosen = whole.names[0]
    options = f"--score 0 --no-overlays --classes {chosen}"
    assert detector.predict(detector.images, out=tmp_path / "out", options=options) == 0
    labels = {entry["category_id"] for entry in json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]}
    assert labels == {detector.classes.index(chosen) + 1}
    assert not (tmp_path / "out/overlays").exists()
    assert detector.predict(detector.images, out=tmp_path / "other", options="--classes nothing") == 2
    assert "the model has no class 'nothing'" in capsys.readouterr().err
