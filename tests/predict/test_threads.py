"""Models in several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from mmengine.registry import DefaultScope
from trained import Trained

pytestmark = pytest.mark.stack


def scope_now() -> str | None:
    """The name of the default scope; mmengine copies the scopes themselves whenever it changes one for a while."""
    scope = DefaultScope.get_current_instance()
    return scope and scope.scope_name


def test_a_model_is_built_while_another_predicts(detector: Trained, model_of: Callable[[str], Trained]) -> None:
    segmenter = model_of("fpn")
    before = scope_now()
    there = [(trained.predictor(), sorted(trained.images.iterdir()) * 3) for trained in (detector, segmenter)]
    with ThreadPoolExecutor(4) as pool:
        predicting = [pool.submit(lambda predictor, files: list(predictor(files)), *pair) for pair in there]
        building = [pool.submit(trained.predictor) for trained in (detector, segmenter) * 2]
        assert all(len(future.result()) == 12 for future in predicting)
        assert [future.result().loaded.scope for future in building] == ["mmdet", "mmseg"] * 2
    assert scope_now() == before
