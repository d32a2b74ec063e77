"""Report at the end of a demo run: what it took, and predictions on images that it never saw."""

import time
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from ..errors import counted
from ..predict.drawing import require_drawing
from ..registry import HOOKS
from .unseen import predict_unseen


@HOOKS.register_module()
class DemoReportHook(Hook):
    """Hook that says how long training took, and predicts on new images."""

    priority = "LOWEST"  # after the progress bar has returned the terminal

    def __init__(self) -> None:
        self.closing_line = ""

    def before_train(self, runner: Runner) -> None:
        require_drawing()
        self.started = time.monotonic()

    def after_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        minutes = (time.monotonic() - self.started) / 60
        start = "the file of init_cfg" if runner.cfg.model.backbone.get("init_cfg") else "random weights"
        self.closing_line = (
            f"demo: {minutes:.1f} min of training from {start} "
            f"({counted(runner.iter, 'iteration')}, {counted(torch.get_num_threads(), 'thread')})"
        )

    def after_run(self, runner: Runner) -> None:
        if not self.closing_line:
            return
        runner.logger.info(self.closing_line)
        if checkpoint := find_latest_checkpoint(runner.work_dir):
            command = predict_unseen(Path(checkpoint), Path(runner.work_dir))
            runner.logger.info(f"images that training never saw, predicted as by: {command}")
