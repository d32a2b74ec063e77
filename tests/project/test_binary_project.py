"""A binary project trained, tested and used: its threshold is that of the validation."""

from pathlib import Path

import pytest
import torch
from labelling import black_and_white
from test_project import SHORT, TWO, made, unreachable  # noqa: F401  # a fixture

from mmvit.engine.configuration import TestOptions as EvaluationOptions
from mmvit.engine.configuration import TrainOptions
from mmvit.engine.launch import test as evaluate
from mmvit.engine.launch import train
from mmvit.engine.results import read_results
from mmvit.predict.predictor import Predictor
from mmvit.weights.whole import THRESHOLD


@pytest.mark.stack
def test_predictions_use_the_threshold_that_the_validation_chose(tmp_path: Path) -> None:
    black_and_white(tmp_path / "data")
    cfg = made(tmp_path / "data", val=0.4)
    assert cfg.model.decode_head.out_channels == 1
    trained = train(TrainOptions(Path("out/data.py"), cfg_options={**SHORT, **TWO}))
    assert trained.last is not None
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
    assert noted is not None
    assert noted.tests[str(checkpoint)]["Dice"] == figures["Dice"]
    assert noted.validations == trained.validations
