"""`randomness=dict(deterministic=True)`: what a training changes, so that it can run on a GPU."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from jobs import write_jobs
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS
from torch import nn

from mmvit.engine.computing import whole_counts
from mmvit.engine.configuration import TrainOptions
from mmvit.engine.launch import WORKSPACE, train
from mmvit.layers.pooling import AdaptiveAverage

pytestmark = pytest.mark.stack

HEAD = dict(
    _delete_=True, type="PSPHead", in_index=3, in_channels=16, channels=8, num_classes=3, pool_scales=(1, 2, 3), norm_cfg=None
)


def not_deterministic() -> None:
    """torch has no deterministic form of this, on a CPU either."""
    torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))


@METRICS.register_module()
class CountingMetric(BaseMetric):
    def process(self, data_batch: Any, data_samples: Any) -> None:
        not_deterministic()
        self.results.append(1)

    def compute_metrics(self, results: list[int]) -> dict[str, int]:
        return dict(counted=sum(results))


@HOOKS.register_module()
class PoolsHook(Hook):
    pools: ClassVar[list[type[nn.Module]]] = []
    strict: ClassVar[list[bool]] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        modules = runner.model.decode_head.psp_modules.modules()
        self.pools[:] = [type(module) for module in modules if isinstance(module, nn.AdaptiveAvgPool2d | AdaptiveAverage)]
        self.strict.append(not torch.is_deterministic_algorithms_warn_only_enabled())


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(WORKSPACE[0], raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_training_with_pooling_and_counts(deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jobs(tmp_path, 4)
    monkeypatch.chdir(tmp_path)
    PoolsHook.strict.clear()
    options = {
        "model.decode_head": HEAD,
        "randomness": dict(seed=0, deterministic=deterministic),
        "custom_hooks": [dict(type="PoolsHook")],
        "val_evaluator": dict(_delete_=True, type="CountingMetric"),
        "default_hooks.checkpoint.save_best": None,
        "train_cfg.max_iters": 4,
        "train_cfg.val_interval": 2,
    }
    train(TrainOptions(Path("segmenter.py"), Path("out"), cfg_options=options))
    ours = AdaptiveAverage if deterministic else nn.AdaptiveAvgPool2d
    assert PoolsHook.pools == [nn.AdaptiveAvgPool2d, ours, ours], "one cell is a mean, which torch can do"
    assert os.environ.get(WORKSPACE[0]) == (WORKSPACE[1] if deterministic else None)
    assert len(PoolsHook.strict) == 4
    if deterministic:
        assert all(PoolsHook.strict), "also after a validation"
        with pytest.raises(RuntimeError, match="deterministic"):
            not_deterministic()


def test_an_evaluation_that_fails_leaves_torch_strict() -> None:
    torch.use_deterministic_algorithms(True)

    def evaluation() -> None:
        with whole_counts():
            not_deterministic()
            raise KeyError

    with pytest.raises(KeyError):
        evaluation()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    with whole_counts():
        assert not torch.are_deterministic_algorithms_enabled()
