"""The options of a predictor do what they say, in Python and on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trained import Trained

from mmvit.__main__ import main
from mmvit.layers.forms import AUTO_BFLOAT16
from mmvit.predict.predictor import Predictor
from mmvit.predict.results import Detections

pytestmark = pytest.mark.stack


def detections(detector: Trained, **options: Any) -> Detections:
    (found,) = detector.predictor(**options)(detector.images / "0.png")
    return found


def test_score_is_the_least(detector: Trained, tmp_path: Path) -> None:
    every = detections(detector)
    score = float(every.scores[len(every) // 2])
    above = every.scores >= score
    assert 0 < above.sum() < len(every)
    found = detections(detector, score=score)
    np.testing.assert_array_equal(found.scores, every.scores[above])
    np.testing.assert_array_equal(found.boxes, every.boxes[above])
    words = [str(detector.config), str(detector.checkpoint), str(detector.images / "0.png"), "--no-overlays"]
    assert main(["predict", *words, "--score", str(score), "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))["annotations"]
    np.testing.assert_allclose([entry["score"] for entry in written], found.scores, rtol=1e-6)


@pytest.mark.parametrize(
    ("precision", "amx", "wanted"),
    [
        (None, True, "float32"),
        ("bfloat16", False, "bfloat16"),
        ("auto", True, "bfloat16"),
        ("auto", False, "float32"),
    ],
)
def test_precision_is_that_of_the_networks_products(
    detector: Trained, monkeypatch: pytest.MonkeyPatch, precision: str | None, amx: bool, wanted: str
) -> None:
    monkeypatch.delenv(AUTO_BFLOAT16.variable, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False, raising=False)
    predictor = detector.predictor(precision=precision, device="cpu")
    assert predictor.precision == predictor.settings["precision"] == wanted
    seen: set[torch.dtype] = set()
    for module in predictor.loaded.model.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            module.register_forward_hook(lambda _, __, found: seen.add(found.dtype))
    (found,) = predictor(detector.images / "0.png")
    assert seen == {getattr(torch, wanted)}
    assert (found.scores.dtype, found.boxes.dtype) == (np.float32, np.float32)


def test_options_of_the_command_reach_the_predictor(detector: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    make = Predictor.__init__

    def noted(self: Predictor, *arguments: Any, **options: Any) -> None:
        given.update(options)
        make(self, *arguments, **options)

    monkeypatch.setattr(Predictor, "__init__", noted)
    words = [str(detector.config), str(detector.checkpoint), str(detector.images / "0.png"), "--no-overlays"]
    wanted = dict(precision="bfloat16", device="cpu", batch_size=2, tile=64, overlap=0.5, score=0.4)
    options = [word for name, value in wanted.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["predict", *words, *options, "--tta", "--out", str(tmp_path)]) == 0
    assert {**wanted, "tta": True} == {name: given[name] for name in (*wanted, "tta")}
