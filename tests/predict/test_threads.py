"""Models in several threads."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from trained import Trained

from mmvit.predict.sessions import FIELD, open_session

pytestmark = pytest.mark.stack


def scope_now() -> str | None:
    """The name of the default scope; mmengine copies the scopes themselves whenever it changes one for a while."""
    scope = DefaultScope.get_current_instance()
    return scope and scope.scope_name


def test_a_model_is_built_while_another_predicts(detector: Trained, model_of: Callable[[str], Trained]) -> None:
    segmenter = model_of("fpn")
    before = scope_now()
    first, second = detector.predictor(), segmenter.predictor()
    with ThreadPoolExecutor(4) as pool:
        predicting = [
            pool.submit(lambda one: list(one[0](one[1] * 3)), pair) for pair in pairs(first, second, detector, segmenter)
        ]
        building = [pool.submit(trained.predictor) for trained in (detector, segmenter) * 2]
        assert all(len(future.result()) == 12 for future in predicting)
        assert [future.result().loaded.scope for future in building] == ["mmdet", "mmseg"] * 2
    assert scope_now() == before


def pairs(first: object, second: object, detector: Trained, segmenter: Trained) -> list[tuple]:
    return [(one, sorted(trained.images.iterdir())) for one, trained in ((first, detector), (second, segmenter))]


def test_an_openvino_file_runs_in_several_threads(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    ops = openvino.opset11
    given = ops.parameter([400, 400], np.float32, name="x")
    found = given
    for _ in range(20):
        found = ops.tanh(ops.matmul(found, given, False, False))
    model = openvino.Model([found], [given])
    model.set_rt_info(json.dumps(dict(kind="backbone", inputs=["x"], size=None, batch=1)), [FIELD])
    openvino.save_model(model, str(tmp_path / "model.xml"), compress_to_fp16=False)
    run, *_ = open_session(tmp_path / "model.xml")
    feeds = [np.random.default_rng(seed).normal(size=(400, 400)).astype(np.float32) / 20 for seed in range(8)]
    wanted = [run({0: feed})[0] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(wanted * 3, pool.map(lambda feed: run({0: feed})[0], feeds * 3), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
