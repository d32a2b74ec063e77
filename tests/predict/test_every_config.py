"""Configs of all heads and datasets go through the preparation of each stock entry, which gives the model what ours gives."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from makers import each_pairing
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from mmvit.config.files import load_config
from mmvit.predict.models import steps_of_test

pytestmark = pytest.mark.stack


class Recorder(torch.nn.Module):
    """Stands for a model: returns the images that it is given."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg, self.data_preprocessor = cfg, SimpleNamespace(device=torch.device("cpu"))

    def test_step(self, data: dict) -> list:
        return data["inputs"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


def stock_inputs(cfg: Config, image: Any) -> list[torch.Tensor]:
    """What the model gets of one image from the two stock entries."""
    recorder = Recorder(deepcopy(cfg))
    if cfg.default_scope == "mmseg":
        from mmseg.apis import MMSegInferencer as Inferencer
        from mmseg.apis import inference_model

        one = inference_model(recorder, image)
    else:
        from mmdet.apis import DetInferencer as Inferencer
        from mmdet.apis import inference_detector

        one = inference_detector(recorder, image)
    prepared = Inferencer._init_pipeline(Inferencer.__new__(Inferencer), deepcopy(cfg))(image)
    return [one, prepared["inputs"]]


@each_pairing
def test_inputs_are_the_same(path: Path, image: Path) -> None:
    cfg = load_config(path)
    pixels = np.ascontiguousarray(np.asarray(Image.open(image))[..., ::-1])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for tta in (False, True):
            read, steps = steps_of_test(cfg, tta, path.stem)
            ours = Compose(steps)(read.transform(dict(img_path=str(image), img_id=0)))["inputs"]
            if tta:
                assert isinstance(ours, list)
                assert len(ours) > 1
                continue
            for wanted in (*stock_inputs(cfg, str(image)), *stock_inputs(cfg, pixels)):
                assert torch.equal(ours, wanted)
        with torch.device("meta"):
            model = MODELS.build(cfg.model)
    assert all(parameter.is_meta for parameter in model.backbone.parameters())
