"""Projects trained and used: with TIFF files of six bands, and with two classes."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from labelling import black_and_white, save_mask
from test_project import SHORT, TWO, made, unreachable  # noqa: F401  # a fixture

from mmvit.checks.plan import Plan
from mmvit.checks.settings import check_settings
from mmvit.data.tiff import georeference
from mmvit.engine.configuration import TestOptions as EvaluationOptions
from mmvit.engine.configuration import TrainOptions
from mmvit.engine.launch import test as evaluate
from mmvit.engine.launch import train
from mmvit.engine.results import read_results
from mmvit.export.models import from_config
from mmvit.predict.prediction import Options, Prediction
from mmvit.predict.predictor import Predictor
from mmvit.predict.runner import reader_of
from mmvit.weights.whole import THRESHOLD

pytestmark = pytest.mark.stack
PLACE = [(33550, "d", 3, (10.0, 10.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 5e5, 4.6e6, 0.0), True)]


def satellite(root: Path) -> None:
    noise = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    for number in range(6):
        values = noise.normal(1000, 50, (48, 64, 6))
        values[10:30, 20:40, 4] += 500
        options = dict(photometric="minisblack", planarconfig="contig", tile=(16, 16), compression="zlib", extratags=PLACE)
        tifffile.imwrite(root / "images" / f"{number}.tif", values.astype(np.uint16), **options)
        save_mask(root / "masks" / f"{number}.png", (20, 10, 20, 20))


def test_every_band_is_read_alike_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    satellite(tmp_path / "data")
    cfg = made(tmp_path / "data", val=0.4)
    assert cfg.model.backbone.in_channels == 6
    assert cfg.load.mean[4] == pytest.approx(1000 + 500 * 400 / (48 * 64), abs=2)
    assert "PhotoMetricDistortion" not in str(cfg.train_pipeline)
    assert not list(check_settings(Plan(cfg, ("train", "val"))))  # the bands are normalised as they are read
    train(TrainOptions(Path("out/data.py"), cfg_options={**SHORT, **TWO}))
    image = str(tmp_path / "data" / "images" / "0.tif")
    predictor = Predictor(None, "out/run/iter_2.pth", tile=32)
    read: list[tuple[int, ...]] = []
    segments = tifffile.FileHandle.read_segments
    monkeypatch.setattr(
        tifffile.FileHandle,
        "read_segments",
        lambda self, *given, **more: read.append(len(given[0])) or segments(self, *given, **more),
    )
    assert Prediction(predictor, Options(Path("found"))).run([image]) == 0
    assert max(read) < 12  # tiles of the file, of which the image has twelve
    written = Path("found/labels/0.tif")
    assert tifffile.imread(written).shape == (48, 64)
    assert georeference(written) == georeference(image) != []
    exportable = from_config(None, "out/run/iter_2.pth")
    data = dict(img_path=image)
    same = reader_of(exportable.metadata).transform(data)["img"]
    assert np.array_equal(same, predictor.loaded.read.transform(data)["img"])
    assert abs(float(same.mean())) < 0.2
    with torch.no_grad():
        labels = exportable.program(torch.from_numpy(same)[None], torch.tensor([48, 64]))
    assert labels.shape == (1, 48, 64)


def test_predictions_use_the_threshold_that_the_validation_chose(tmp_path: Path) -> None:
    black_and_white(tmp_path / "data")
    cfg = made(tmp_path / "data", val=0.4)
    assert cfg.model.decode_head.out_channels == 1
    trained = train(TrainOptions(Path("out/data.py"), cfg_options={**SHORT, **TWO}))
    checkpoint = Path("out/run/iter_2.pth")
    predictor = Predictor("out/data.py", str(checkpoint))
    (result,) = predictor([str(next((tmp_path / "data").rglob("*.jpg")))])
    assert tuple(result.classes) == cfg.classes
    assert predictor.loaded.model.decode_head.threshold == trained.last.metrics["threshold"]
    content = torch.load(checkpoint, weights_only=False)
    content["meta"][THRESHOLD] = 0.123
    torch.save(content, checkpoint)
    assert Predictor(None, str(checkpoint)).loaded.model.decode_head.threshold == 0.123
    figures = evaluate(EvaluationOptions(Path("out/data.py"), checkpoint))
    noted = read_results("out/run")
    assert noted.tests[str(checkpoint)]["Dice"] == figures["Dice"]
    assert noted.validations == trained.validations
