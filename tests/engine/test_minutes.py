"""`--minutes` shortens a training and its schedules to what fits into a time."""

import time
from pathlib import Path

import pytest
from small_run import runner, train

from mmvit.engine import minutes
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.minutes import Pace, PaceHook, fit, fitting, keep
from mmvit.engine.terminal import Terminal
from mmvit.errors import InputError

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    ("old", "by_epoch", "interval", "seconds", "length"),
    [
        (50, True, 1, 120.0, 10),  # 10 s an epoch, 2 s a validation
        (50, True, 4, 120.0, 11),
        (50, True, 1, 11.9, 0),
        (5, True, 1, 1e6, 5),
        (500, False, 100, 120.0, 110),  # five validations in any case
        (500, False, 100, 9.0, 0),
    ],
)
def test_the_longest_that_fits(old: int, by_epoch: bool, interval: int, seconds: float, length: int) -> None:
    assert fitting(Pace(1.0, 2.0, 10), old, by_epoch, interval, seconds) == length


@pytest.mark.parametrize(
    ("by_epoch", "interval", "seconds", "length"),
    [
        (True, 1, 120.0, 30),  # 20 epochs are done
        (True, 7, 24.0, 22),  # two validations
        (True, 1, 11.9, 20),
        (True, 1, 1e6, 50),
        (False, 10, 16.0, 30),  # three validations
    ],
)
def test_the_longest_rest_that_fits(by_epoch: bool, interval: int, seconds: float, length: int) -> None:
    assert fitting(Pace(1.0, 2.0, 10), 50, by_epoch, interval, seconds, done=20) == length


def test_the_schedule_ends_with_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes, "measured", lambda *_: Pace(0.5, 1.0, 10))
    options = TrainOptions("fpn_van_b0_ade20k", tmp_path)
    cfg, again, terminal = train_config(options), train_config(options), Terminal(begun=False)
    said = fit(cfg, 10, time.monotonic(), None, terminal)  # type: ignore[arg-type]
    length = cfg.train_cfg.max_iters
    assert 1000 < length <= 1060, "0.9 x 600 s less ten validations, at 0.5 s an iteration"
    assert "train_cfg.max_iters 40000 -> " in said
    assert max(part["end"] for part in cfg.param_scheduler) == length
    assert cfg[minutes.KEY] == dict(minutes=10, length=length, instead_of=40000)
    assert "as chosen before" in (keep(again, dict(meta=dict(cfg=cfg.pretty_text))) or "")
    assert again.train_cfg == cfg.train_cfg
    assert again.param_scheduler == cfg.param_scheduler
    for iterations in (length, length + 5):  # the work dir's config, and a longer training
        longer = train_config(TrainOptions("fpn_van_b0_ade20k", tmp_path, cfg_options={"train_cfg.max_iters": iterations}))
        assert keep(longer, dict(meta=dict(cfg=cfg.pretty_text))) is None
        assert longer.train_cfg.max_iters == iterations
    rest = train_config(options)
    fit(rest, 10, time.monotonic(), None, terminal, dict(meta=dict(iter=30000)))  # type: ignore[arg-type]
    assert 31000 < rest.train_cfg.max_iters <= 31080
    assert fit(rest, 10, time.monotonic(), None, terminal, dict(meta=dict(iter=40000))) is None  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--minutes 0\.001: too short for its validations"):
        fit(train_config(options), 0.001, time.monotonic(), None, terminal)  # type: ignore[arg-type]


@pytest.mark.parametrize(("limit", "count"), [(0.0, 2), (100.0, 12)])
def test_the_first_iterations_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float, count: int) -> None:
    monkeypatch.setattr(minutes, "COUNTED", 9)
    run, hook = runner(tmp_path), PaceHook(limit)
    run.register_hook(hook)
    with pytest.raises(minutes._MeasuredError):
        run.train()
    assert (hook.count, hook.pace.steps) == (count, 4)
    assert hook.pace.step > 0


@pytest.mark.parametrize("iterations", [1, 3, 7])
def test_a_training_shorter_than_the_measurement_is_timed(tmp_path: Path, iterations: int) -> None:
    loop = dict(type="mmvit.IterBasedTrainLoop", max_iters=iterations, val_interval=10)
    run, hook = runner(tmp_path, train_cfg=loop, param_scheduler=None), PaceHook(100.0)
    run.register_hook(hook)
    train(run)
    assert hook.count == iterations
    assert hook.pace.step < 10
    assert hook.pace.validation > 0
