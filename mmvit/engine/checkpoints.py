"""Saving of checkpoints such that there is always a complete one: a new one is written before old ones are removed.

`storage` writes each file completely or not at all.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce_params, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _NormBase

from ..compat.systems import file_name
from ..config.datasets import datasets_of
from ..config.work_dirs import LAST, beside, last_checkpoint
from ..errors import CheckpointError, counted
from ..pyramid import Pyramid
from ..registry import HOOKS
from ..weights.whole import NORM_EPS, THRESHOLD
from . import storage
from .models import of_first, unwrapped

INTERRUPTED = "interrupted.pth"
KEPT = "keep_ckpt_ids"  # mmengine's key in the message hub: steps of the checkpoints that are kept
RANKED = "ranked_by"  # our key there: how each metric ranks the checkpoints, see `CheckpointHook.ranked`
BEST, SCORE = "best_ckpt", "best_score"  # mmengine's keys there; with several metrics, each ends with _ and the metric
OUTDATED = "outdated_best"  # our key there: best checkpoints that a better one is about to replace


class Metric(str):
    """Name of a metric, which mmengine formats into the name of the best checkpoint; it may have that of a class in it."""

    def __format__(self, spec: str) -> str:
        return "/".join(map(file_name, self.split("/")))  # mmengine replaces the slashes


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's hook with all of its options, safe if the process is killed at any moment.

    A checkpoint is written completely, then named in `last_checkpoint`. Only then are outdated ones removed; the same holds for
    the best checkpoint. A checkpoint whose weights are not finite is not saved.
    """

    keep_ckpt_ids: deque[int]  # mmengine's
    saved: int | None = None  # iterations that the newest checkpoint of this run has
    threshold: float | None = None  # that it holds

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        storage.install()

    def _init_rule(self, rules: list[str | None], key_indicators: list[str]) -> None:
        super()._init_rule(rules, [Metric(name) for name in key_indicators])

    def ranked(self, cfg: Config) -> dict[str, list[Any]]:
        """Return for each metric that chooses a best checkpoint its rule and the validation sets."""
        rules = zip(self.key_indicators, self.rules, strict=True) if self.save_best else ()
        return {str(metric): [rule, _validated(cfg)] for metric, rule in rules}

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        runner.message_hub.update_info(RANKED, self.ranked(runner.cfg))
        best = {name: path and beside(path, self.out_dir) for name, path in self._best().items()}
        for name, path in best.items():
            if path and not of_first(self.file_backend.exists(path)):  # this run resumes from before a better one replaced it
                runner.logger.warning(f"{path}, the best checkpoint so far, is gone: the best is looked for anew")
                best[name] = None
                runner.message_hub.runtime_info.pop(f"{SCORE}_{name}" if name else SCORE, None)
        self._set_best(best)
        self._remove_outdated_best(runner)  # a run that was killed may have left some
        # Without it, mmengine would not save a best metric in it.
        self.last_ckpt = runner.message_hub.runtime_info.get("last_ckpt")

    def before_val(self, runner: Runner) -> None:
        average_statistics(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Save the checkpoint of this iteration again, if the validation chose another threshold than it holds."""
        super().after_val_epoch(runner, metrics)
        if self.saved == runner.iter and self.threshold != _threshold(runner):
            self._save_now(runner)

    def after_train(self, runner: Runner) -> None:
        """Save the last state of a training that another hook, such as EarlyStoppingHook, has ended before its length."""
        if self.save_last and getattr(runner.train_loop, "stop_training", False) and self.saved != runner.iter:
            self._save_now(runner)
        super().after_train(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights that are not finite, and note the backbone's eps and the chosen threshold.

        Raises:
            CheckpointError: a weight is NaN or infinite.
        """
        model = unwrapped(runner.model)
        if name := first_nonfinite(checkpoint["state_dict"], dict(model.named_buffers())):
            raise CheckpointError(
                f"not saved: {name} has values that are not finite after iteration {checkpoint['meta']['iter']}. "
                f"{advice(runner.work_dir)}"
            )
        for part in model.modules():
            if isinstance(part, Pyramid) and part.norm_eps is not None:
                checkpoint["meta"][NORM_EPS] = part.norm_eps
        if (threshold := _threshold(runner)) is not None:
            checkpoint["meta"][THRESHOLD] = threshold
        if isinstance(noted := checkpoint["meta"].get("dataset_meta"), list):  # of a ConcatDataset whose parts differ
            checkpoint["meta"]["dataset_meta"] = dict(noted[0])
        if ids := category_ids(runner.train_dataloader.dataset):  # for results that others can compare with their annotations
            checkpoint["meta"].setdefault("dataset_meta", {})["category_ids"] = ids

    def _save_now(self, runner: Runner) -> None:
        step = runner.epoch if self.by_epoch else runner.iter
        self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=runner.iter))

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        average_statistics(runner)
        self.saved, self.threshold = meta["iter"], _threshold(runner)
        before = self.keep_ckpt_ids if self.max_keep_ckpts > 0 else ()
        there = [*(other for other in before if other != step), step]
        outdated = there[: -self.max_keep_ckpts] if self.max_keep_ckpts > 0 else []
        # With the outdated ones: if the run is killed now, the resumed run removes them.
        runner.message_hub.update_info(KEPT, there)
        filename = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        publish(runner, self.last_ckpt)
        names = [*(self.filename_tmpl.format(old) for old in outdated), INTERRUPTED]
        self._remove([self.file_backend.join_path(self.out_dir, name) for name in names])
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(there, self.max_keep_ckpts)  # which drops the outdated ones
            runner.message_hub.update_info(KEPT, list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        before = self._best()
        runner.message_hub.update_info(OUTDATED, [path for path in before.values() if path])
        self._set_best(dict.fromkeys(before))  # otherwise mmengine would remove them first
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            now = self._best()
            self._set_best({name: now.get(name) or path for name, path in before.items()})
        self._remove_outdated_best(runner)

    def _remove_outdated_best(self, runner: Runner) -> None:
        best = self._best().values()
        self._remove([path for path in runner.message_hub.runtime_info.get(OUTDATED, ()) if path not in best])

    def _best(self) -> dict[str, str | None]:
        """Return the paths of the best checkpoints so far, by metric."""
        if not self.save_best:
            return {}
        return {"": self.best_ckpt_path} if len(self.key_indicators) == 1 else dict(self.best_ckpt_path_dict)

    def _set_best(self, paths: dict[str, str | None]) -> None:
        if "" in paths:
            self.best_ckpt_path = paths[""]
        else:
            self.best_ckpt_path_dict = paths

    def _remove(self, paths: list[str]) -> None:
        if not is_main_process():
            return
        for path in paths:
            if not Path(path).parent.resolve().is_relative_to(Path(self.out_dir).resolve()):
                continue  # of the training that this one's work dir is a copy of
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):  # some strategies save one file per process
                self.file_backend.rmtree(path)


def _threshold(runner: Runner) -> float | None:
    """Return what mmvit.BinaryMetric chose in the newest validation."""
    chosen = runner.message_hub.log_scalars.get("val/threshold")
    return float(chosen.current()) if chosen else None


def save_interrupted(runner: Runner) -> None:
    """Save the state between two iterations, beside the regular checkpoints, where `--resume` finds it."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, MMEngineCheckpointHook)), None)
    folder = (hook and hook.out_dir) or runner.work_dir
    place = dict(backend_args=hook.backend_args) if hook else {}
    average_statistics(runner)
    runner.save_checkpoint(folder, INTERRUPTED, meta=dict(epoch=runner.epoch, iter=runner.iter), by_epoch=False, **place)
    path = f"{str(folder).rstrip('/')}/{INTERRUPTED}"
    publish(runner, path)
    runner.logger.warning(f"stopped after {counted(runner.iter, 'iteration')}; saved {path}, continue with --resume")


def best_hook(runner: Runner) -> MMEngineCheckpointHook | None:
    """Return the hook that keeps the best checkpoint of a run; None if there is none."""
    return next((hook for hook in runner.hooks if isinstance(hook, MMEngineCheckpointHook) and hook.save_best), None)


def forget_other_best(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    """Let a resumed run keep the best checkpoint so far only if metric, rule and validation set are still the same.

    mmengine keeps one score, whatever its metric is, and removes the file once another one is better. Change what is about to
    be resumed, and yield what was forgotten, in words; the file stays. A checkpoint of mmengine's own hook is left as it is.
    """
    hub = checkpoint.get("message_hub") or {}
    info = hub.get("runtime_info") or {}
    hook = best_hook(runner)
    if not isinstance(hook, CheckpointHook) or RANKED not in info:
        return
    old, new, kept = info[RANKED], hook.ranked(runner.cfg), {}
    for metric in (metric for metric, how in new.items() if old.get(metric) == how):
        for name in (BEST, SCORE):
            kept[_key(name, metric, new)] = info.get(_key(name, metric, old))
    gone = [str(info[key]) for key in info if key.startswith(BEST) and info[key] and info[key] not in kept.values()]
    for key in [key for key in info if key.startswith((BEST, SCORE))]:
        del info[key]
    info |= kept
    hub.setdefault("resumed_keys", {}).update(dict.fromkeys(kept, True))
    if OUTDATED in info:
        info[OUTDATED] = [path for path in info[OUTDATED] if path not in gone]
    for path in gone:
        yield (
            f"{path} stays, but was the best by another save_best, rule or validation set than the config's: the best by "
            f"{', '.join(new)} is looked for among the validations to come"
        )


def _key(name: str, metric: str, ranked: Collection[str]) -> str:
    """Return mmengine's key of a metric's best checkpoint or score."""
    return f"{name}_{metric}" if len(ranked) > 1 else name


def _validated(cfg: Config) -> list[list[str]]:
    """Return what the files of the validation sets are called, wherever they lie, and which part of them is read."""
    views = list(datasets_of(cfg, ("val",)))
    named = [[PurePath(path) for path in (view.config.get("ann_file"), *view.prefixes.values()) if path] for view in views]
    names = [[path.name if path.is_absolute() else path.as_posix() for path in paths] for paths in named]
    return [[str(view.config.get("indices")), *each] for view, each in zip(views, names, strict=True)]


def average_statistics(runner: Runner) -> None:
    """Give the batch norms of all processes the means of their statistics, in the model and in the average that EMAHook keeps.

    All processes must call it. Each has seen other images. Without it, the processes validate different models, and none of
    them the one that the first process saves.
    """
    for model in (runner.model, *(hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook))):
        norms = [module for module in model.modules() if isinstance(module, _NormBase) and module.track_running_stats]
        statistics = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        all_reduce_params(statistics, op="mean")  # does nothing in a process alone


def publish(runner: Runner, checkpoint: str) -> None:
    """Name a checkpoint as the one to resume from."""
    if is_main_process():
        storage.write_whole(Path(runner.work_dir, LAST), str(checkpoint).encode())


def advice(work_dir: str | Path) -> str:
    """Return the remedy for a training that diverged."""
    return (
        f"The last good checkpoint is {last_checkpoint(work_dir) or 'none'}: continue from it with --resume and "
        "--cfg-options optim_wrapper.clip_grad.max_norm=1, or with --resume --new-schedule and a lower "
        "optim_wrapper.optimizer.lr or a longer warm-up"
    )


def first_nonfinite(state: Mapping[str, Any], buffers: Collection[str] = ()) -> str | None:
    """Return the name of the first tensor with a NaN or infinity; buffers may be infinite, because masks of attention are."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            good = ~value.isnan() if name in buffers else value.isfinite()
            if not good.all():
                return name
    return None


def category_ids(dataset: Any) -> list[int]:
    """Return the category id of each label in the annotation file of a dataset, whatever wraps it; none if it has none."""
    while not hasattr(dataset, "cat_ids"):
        inner = getattr(dataset, "dataset", None) or next(iter(getattr(dataset, "datasets", ())), None)
        if inner is None:
            return []
        dataset = inner
    return [int(number) for number in dataset.cat_ids]
