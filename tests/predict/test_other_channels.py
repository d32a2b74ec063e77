"""Models that read other channels than three of eight bits, and pictures that have them."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from trained import Trained, write_film

from mmvit.__main__ import main
from mmvit.data.tiff import ReadBands
from mmvit.errors import InputError
from mmvit.predict.prediction import Options, Prediction
from mmvit.predict.predictor import Predictor
from mmvit.predict.sources import pixels

pytestmark = pytest.mark.stack
NOISE = np.random.default_rng(0)
DEEP = Image.fromarray(NOISE.integers(0, 65536, (40, 60), dtype=np.uint16))
COLOUR = Image.fromarray(NOISE.integers(0, 256, (40, 60, 3), dtype=np.uint8))


def test_small_floats_are_taken() -> None:
    for kind in (torch.bfloat16, torch.float16, torch.float8_e5m2):
        assert (pixels(torch.full((3, 4, 5), 0.5).to(kind), "rgb", "a") == 128).all()


def test_a_model_of_bands_takes_files_alone(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Anything else would reach it without its normalisation."""
    film = write_film(tmp_path / "film.avi", 3)
    for options in (dict(), dict(tile=48)):
        predictor = detector.predictor(**options)
        predictor.loaded = predictor.loaded._replace(read=ReadBands([0.0] * 3, [1.0] * 3))
        for image in (np.zeros((64, 96, 3), np.uint8), COLOUR):
            with pytest.raises(InputError, match="image 0: the model normalises the bands of TIFF files"):
                list(predictor(image, "bgr"))
        assert Prediction(predictor, Options(tmp_path / f"out{len(options)}")).run([str(film)]) == 1
        told = capsys.readouterr().err.strip()
        assert (told.count("\n"), f"video {film}: none of its frames is used" in told) == (0, True), "one line a film"
        with pytest.raises(InputError, match="--pages all: pages become 8-bit BGR"):
            Prediction(predictor, Options(tmp_path, every_page=True))


@pytest.mark.parametrize("tile", [None, 48])
def test_pictures_that_are_read_as_floats_are_drawn_as_they_are(detector: Trained, tile: int | None) -> None:
    cfg = deepcopy(detector.cfg)
    cfg.test_dataloader.dataset.pipeline[0].to_float32 = True
    predictor = Predictor(cfg, detector.checkpoint, tile=tile)
    wanted = cv2.imread(str(detector.images / "0.png"))
    assert (predictor.read(str(detector.images / "0.png")) == wanted).all()
    for given in (detector.images / "0.png", wanted):
        ((_, seen),) = predictor.with_pixels(given, "bgr")
        assert (seen == wanted).all()


def test_a_picture_of_other_channels_is_left_out(detector: Trained, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Among pictures that the reading step leaves unchanged."""
    cfg = deepcopy(detector.cfg)
    cfg.test_dataloader.dataset.pipeline[0].color_type = "unchanged"
    cfg.dump(tmp_path / "config.py")
    for mode in ("RGB", "RGBA", "L"):
        COLOUR.convert(mode).save(tmp_path / f"{mode}.png")
    words = [str(tmp_path / "config.py"), str(detector.checkpoint), str(tmp_path / "*.png"), "--out", str(tmp_path / "out")]
    assert main(["predict", *words]) == 1
    told = capsys.readouterr()
    assert told.out.startswith("1 image, ")
    for name, count in (("RGBA", "4 channels"), ("L", "1 channel")):
        assert f"left out: image {tmp_path / name}.png: {count}. Expected 3" in told.err


def test_a_grey_model_takes_all_kinds_of_pictures(model_of: Callable[[str], Trained], tmp_path: Path) -> None:
    cfg = deepcopy(model_of("fpn").cfg)
    cfg.model.backbone.in_channels = 1
    cfg.model.data_preprocessor.update(mean=[128.0], std=[64.0], bgr_to_rgb=False)
    cfg.test_dataloader.dataset.pipeline[0].color_type = "grayscale"
    with DefaultScope.overwrite_default_scope("mmseg"):
        torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / "model.pth")
    grey = np.repeat(np.asarray(DEEP)[..., None] >> 8, 3, axis=2).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    Image.fromarray(grey).save(tmp_path / "b.tif", save_all=True, append_images=[DEEP.convert("RGB")])
    film = write_film(tmp_path / "film.avi", 2)
    for tile in (None, 24):
        predictor = Predictor(cfg, tmp_path / "model.pth", tile=tile)
        by_file, by_array = next(predictor(tmp_path / "a.png")), next(predictor(grey, "bgr"))
        assert (by_file.labels == by_array.labels).all()
        options = Options(tmp_path / f"out{tile}", every_page=True)
        assert Prediction(predictor, options).run([str(tmp_path / "a.png"), str(tmp_path / "b.tif"), str(film)]) == 0
        drawn = {path.name for path in (options.out / "overlays").iterdir()}
        assert drawn == {"a.jpg", "b.jpg", "b_2.jpg", "film.mp4"}
