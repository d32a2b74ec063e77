"""Windows in which mmseg cannot test a segmenter are found before a run and before a prediction, not at the first image."""

from pathlib import Path

import pytest
from mmengine.config import Config
from predict.trained import Trained
from small_datasets import own_config
from test_findings import found

from mmvit.checks.pipelines import check_windows
from mmvit.config.windows import windows_fault
from mmvit.errors import InputError
from mmvit.predict.predictor import Predictor

pytestmark = pytest.mark.stack
SLIDE = dict(mode="slide", crop_size=(64, 64), stride=(48, 64))


@pytest.mark.parametrize(
    ("test", "told"),
    [
        (dict(mode="slide", crop_size=(64, 64)), "stride=None"),
        (dict(SLIDE, stride=(48, 65)), "no stride above its crop"),
        (dict(SLIDE, crop_size=64), "expected two whole numbers each"),
        (dict(SLIDE, stride=(0, 48)), "stride=(0, 48)"),
        (dict(mode="sliding"), "mode='sliding': expected mode='whole' or mode='slide'"),
        (None, "test_cfg is missing"),
    ],
)
def test_windows_that_cannot_be(test: dict | None, told: str) -> None:
    """These ended a training at its first validation, with a KeyError, a TypeError or an AssertionError without words."""
    cfg = own_config("fpn_van_b0_ade20k")
    cfg.model.test_cfg = Config(dict(test=test)).test
    ((verdict, words),) = found(check_windows, cfg, "train", "val")
    assert verdict == "wrong"
    assert told in words
    assert found(check_windows, cfg, "train") == [], "nothing is tested"


@pytest.mark.parametrize("test", [SLIDE, dict(SLIDE, crop_size=[64, 64], stride=[64, 64]), dict(mode="whole"), {}])
def test_windows_that_can_be(test: dict) -> None:
    assert windows_fault(dict(type="EncoderDecoder", test_cfg=test)) is None


def test_a_prediction_says_it_too(tmp_path: Path) -> None:
    trained = Trained("fpn", tmp_path)
    trained.cfg.model.test_cfg = dict(mode="slide", crop_size=(64, 64))
    with pytest.raises(InputError, match=r"model\.test_cfg has mode='slide'.*stride=None"):
        Predictor(trained.cfg, trained.checkpoint)
