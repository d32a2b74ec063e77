"""Training and evaluation through mmengine's Runner, detection and segmentation alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .. import weights
from ..demo.dataset import build as build_demo
from ..errors import InputError
from . import preflight
from .configuration import DEMO_ROOT, TestOptions, TrainOptions, test_config, train_config
from .hooks import ProgressHook


def train(options: TrainOptions) -> None:
    """Trains as `options` say; checkpoints, logs and the config go to the work dir.

    Raises:
        InputError: a file, key or value of the user's is wrong.
    """
    cfg = train_config(options)
    if options.demo:
        _build_demo()
    preflight.check(cfg, ("train", "val") if cfg.get("val_dataloader") else ("train",))
    runner = _runner(cfg)
    if cfg.resume and cfg.load_from is not None:
        _require_match(runner, cfg.load_from)
    _run(runner, "train")


def test(options: TestOptions) -> Mapping[str, float]:
    """Evaluates a checkpoint on the config's test data and returns the metrics.

    Raises:
        InputError: a file, key or value of the user's is wrong, or the checkpoint is of another model.
    """
    cfg = test_config(options)
    if options.demo:
        _build_demo()
    preflight.check(cfg, ("test",))
    runner = _runner(cfg)
    _require_match(runner, options.checkpoint)
    if options.out is not None and cfg.get("default_scope") != "mmseg":
        runner.test_evaluator.metrics.append(_dump(cfg, options))
    return _run(runner, "test")


def _build_demo() -> None:
    try:
        build_demo(DEMO_ROOT)
    except (ImportError, FileExistsError) as error:
        raise InputError(f"--demo: {error}") from error


def _runner(cfg: Config) -> Runner:
    _start_processes(cfg)
    return Runner.from_cfg(cfg) if "runner_type" not in cfg else RUNNERS.build(cfg)


def _run(runner: Runner, what: Literal["train", "test"]) -> Any:
    try:
        return getattr(runner, what)()
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()


def _start_processes(cfg: Config) -> None:
    """mmengine binds each process to a GPU as it starts them; without one, torch's own start with gloo does."""
    if cfg.launcher == "pytorch" and not torch.cuda.is_available():
        torch.distributed.init_process_group("gloo")


def _require_match(runner: Runner, checkpoint: str | Path) -> None:
    """mmengine loads what fits and goes on; evaluating or resuming another model is an error here."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    state = weights.read_state(checkpoint)
    weights.require_match(model, {name.removeprefix("module."): value for name, value in state.items()}, str(checkpoint))


def _dump(cfg: Config, options: TestOptions) -> DumpResults:
    if cfg.get("default_scope") == "mmdet":
        from mmdet.evaluation import DumpDetResults  # packs masks, which mmengine's own does not

        return DumpDetResults(out_file_path=str(options.out))
    return DumpResults(out_file_path=str(options.out))
