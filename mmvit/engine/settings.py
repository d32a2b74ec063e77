"""Checks of settings that need a run: the iterations of an epoch, the names of the parameters and of the metrics."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from ..checks.settings import schedule_faults, vain_keys
from ..errors import InputError, nearest
from ..registry import HOOKS
from .models import unwrapped


@HOOKS.register_module()
class CheckSettingsHook(Hook):
    """Log warnings before the first step about schedules and parameter options that do not do what they say."""

    def before_train(self, runner: Runner) -> None:
        before = set(schedule_faults(runner.cfg))  # `preflight` has reported these
        per_epoch = len(runner.train_loop.dataloader) if runner.cfg.train_cfg.get("max_epochs") else None
        names = (name for name, _ in unwrapped(runner.model).named_parameters())
        for fault in [*schedule_faults(runner.cfg, per_epoch), *vain_keys(runner.cfg, names)]:
            if fault not in before:
                runner.logger.warning(fault)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Check the metric that selects the best checkpoint.

        Raises:
            InputError: the evaluation does not give this metric.
        """
        for hook in runner.hooks:
            wanted = getattr(hook, "save_best", None) if isinstance(hook, CheckpointHook) else None
            for name in [wanted] if isinstance(wanted, str) else wanted or ():
                if metrics and name != "auto" and name not in metrics:
                    raise InputError(
                        f"default_hooks.checkpoint.save_best is {name!r}, and the evaluation gives no such metric; "
                        f"{nearest(name, metrics)}"
                    )
