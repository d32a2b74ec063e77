"""`doctor CONFIG --dry-run`: a trial of the first step, the first validation, the first save and a resume of a training.

It runs one training step and one validation step with its evaluator on a few real samples, and writes, reads and resumes one
checkpoint. If an epoch may end with a batch of one sample, it runs a step with such a batch. All of it happens in a temporary
folder, with the config's schedule, hooks and data pipelines. It does not load released weights, and sends nothing to servers
that keep logs.
"""

import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from numbers import Real
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from ..checks.advice import describe
from ..checks.findings import Finding, not_checked, ok, wrong
from ..checks.settings import never_ends, schedule_faults
from ..config.datasets import datasets_of
from ..config.parts import mappings, parts_of
from ..config.schedules import steps_an_epoch
from ..config.work_dirs import last_checkpoint
from ..engine.configuration import TrainOptions, tell_nobody, train_config, without_pretrained
from ..engine.models import unwrapped
from ..engine.start import start_of
from ..errors import first_few
from ..layers.parts import tracks_statistics
from ..pyramid import Pyramid

SAMPLES = 2  # that are validated
WRITTEN = ("outfile_prefix", "out_file_path", "output_dir", "proposals_file")  # options of metrics that name what they write


class Watch(Hook):
    """Hook that notes how far a run gets and which parameters get no gradient, and ends the training after its first step."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self.at = "setting up"
        self.loss: Mapping[str, Any] = {}
        self.metrics: Mapping[str, Any] = {}
        self.without: list[str] = []
        self.used: set[int] = set()
        self.saved = False
        self.normed = False

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        self.normed = any(tracks_statistics(module) for module in model.modules())
        if hasattr(runner.optim_wrapper, "optimizer"):  # of several, each steps when only its own parameters have gradients
            runner.optim_wrapper.optimizer.register_step_pre_hook(lambda *_: self._look(model))
        for module in model.modules():
            if isinstance(module, Pyramid):
                module.register_forward_hook(self._watch_maps)

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        self.at = "first training step"

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.loss = {name: float(value) for name, value in (outputs or {}).items() if isinstance(value, Tensor)}
        self.at = "after the first training step"
        runner.train_loop.stop_training = True

    def before_val_iter(self, *_: Any, **__: Any) -> None:
        self.at = "first validation step"

    def after_val_iter(self, *_: Any, **__: Any) -> None:
        self.at = "evaluation"

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        self.at, self.metrics = "after the evaluation", metrics or {}

    def before_save_checkpoint(self, *_: Any, **__: Any) -> None:
        self.at, self.saved = "saving a checkpoint", True

    def _look(self, model: nn.Module) -> None:
        self.without = [name for name, entry in model.named_parameters() if entry.requires_grad and entry.grad is None]

    def _watch_maps(self, module: nn.Module, inputs: Any, maps: tuple[Tensor, ...]) -> None:
        for place, level in enumerate(maps):
            if level.requires_grad:
                level.register_hook(lambda _, place=place: self.used.add(place))


def dry_run(config: str | Path, options: Mapping[str, Any], root: str | None = None) -> Iterator[Finding]:
    """Yield the result of each step, up to the first that fails."""
    with TemporaryDirectory(prefix="mmvit-dry-run-") as folder:
        cfg = train_config(TrainOptions(config, work_dir=Path(folder), cfg_options=dict(options), data_root=root))
        loader = deepcopy(cfg.train_dataloader)
        shrink(cfg)
        for resume in (False, True):
            watch = Watch()
            _name(cfg, folder, int(resume))
            if resume:
                cfg.load_from, cfg.resume = last_checkpoint(folder), True
                if cfg.load_from is None:
                    yield not_checked("not checked: this config's hooks saved no checkpoint", subject="resume")
                    return
            error = _train(cfg, watch)
            if error is not None:
                yield wrong(("resuming: " if resume else "") + error, subject="dry run")
                return
            if resume:
                yield ok("a checkpoint was written, read, and training went on from it", subject="resume")
            else:
                yield from _first_step(watch, cfg)
        yield from _schedule(cfg, loader)
        if watch.normed and leaves_a_rest(loader, cfg.get("default_scope")):
            _name(cfg, folder, 2)
            yield from _last_batch(cfg, loader)


def _name(cfg: Config, folder: str, number: int) -> None:
    """Give a run a name of its own, because mmengine caches loggers and visualizers by name in a process."""
    cfg.experiment_name = cfg.visualizer.name = f"{Path(folder).name}_{number}"


def _samples(cfg: Config, loader: Mapping[str, Any]) -> int:
    """Return the number of samples of the full dataset."""
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        return len(DATASETS.build(loader["dataset"]))


def _schedule(cfg: Config, loader: Mapping[str, Any]) -> Iterator[Finding]:
    """Check schedules that count iterations in a training that counts epochs, whose length depends on the data."""
    mixed = any(not part.get("by_epoch", True) for _, part in parts_of(cfg, "param_scheduler", ""))
    if mixed and cfg.train_cfg.get("max_epochs"):
        whole = Config(dict(train_dataloader=loader, default_scope=cfg.get("default_scope")))
        per_epoch, fault = steps_an_epoch(whole)
        if per_epoch is None:
            yield not_checked(f"not checked, as images cannot be counted: {fault}", subject="settings")
            return
        before = set(schedule_faults(cfg))
        yield from (finding.about("settings") for finding in schedule_faults(cfg, per_epoch) if finding not in before)


def leaves_a_rest(loader: Mapping[str, Any], scope: str | None) -> bool:
    """Return whether the last batch of an epoch may be smaller than the others."""
    dropped = loader.get("drop_last") or (loader.get("batch_sampler") or {}).get("drop_last")
    return (loader.get("batch_size") or 1) > 1 and not dropped and not never_ends(loader, scope)


def _last_batch(cfg: Config, loader: Mapping[str, Any]) -> Iterator[Finding]:
    """Train a step with a batch of one sample; if that fails, report whether the dataset ends an epoch with such a batch."""
    cfg.load_from, cfg.resume = None, False
    cfg.train_dataloader.batch_size = 1
    cfg.train_cfg.val_interval = sys.maxsize
    error = _train(cfg, Watch())
    if error is None:
        return
    count = _samples(cfg, loader)
    if count % loader["batch_size"] == 1:
        drop = "batch_sampler.drop_last=True (in one process)" if loader.get("batch_sampler") else "drop_last=True"
        yield wrong(
            f"{count} samples in batches of {loader['batch_size']} leave one alone at the end of an epoch, with which a step "
            f"fails: {error.splitlines()[0]}\nSet train_dataloader.{drop}, or another batch_size",
            subject="last batch",
        )


def _train(cfg: Config, watch: Watch) -> str | None:
    """Train for a step; return a description of what went wrong, or None."""
    runner = None
    try:
        start = start_of(cfg)
        runner = Runner.from_cfg(cfg)
        runner.register_hook(watch)
        if start is not None:
            start.fit(runner, exactly=True)
            start.require_progress()
            start.hand_over()
        runner.train()
    except Exception as error:
        return f"{watch.at}: {describe(error, unwrapped(runner.model) if runner else None)}"
    return None


def _first_step(watch: Watch, cfg: Config) -> Iterator[Finding]:
    losses = ", ".join(f"{name} {value:.4g}" for name, value in watch.loss.items())
    yield ok(losses, subject="train step")
    if watch.without:
        yield wrong(without_gradient(watch.without, watch.used, cfg), subject="gradients")
    if not cfg.get("val_dataloader"):
        yield not_checked("not checked: the config has no val_dataloader", subject="val step")
    else:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in watch.metrics.items() if isinstance(value, Real))
        yield ok(f"evaluated: {figures or 'no figures'} (of an untrained model)", subject="val step")
    if watch.saved:
        yield ok("saved", subject="checkpoint")


def without_gradient(names: list[str], used: set[int], cfg: Config) -> str:
    """Describe which parameters got no gradient in a training step, and the `out_indices` that avoid it."""
    text = (
        f"{len(names)} parameters get no gradient ({first_few(names)}): one process trains on without them, several stop at "
        "their second step"
    )
    backbone = cfg.model.get("backbone") or {}
    indices = tuple(backbone.get("out_indices") or (0, 1, 2, 3))
    needed = tuple(index for place, index in enumerate(indices) if place in used)
    if all(name.startswith("backbone.") for name in names) and used and needed != indices:
        text += f"\nno loss reaches some of the backbone's maps. Write model.backbone.out_indices={needed}"
        neck = cfg.model.get("neck") or {}
        if isinstance(neck, Mapping) and isinstance(neck.get("in_channels"), list | tuple):
            channels = [neck["in_channels"][place] for place in sorted(used)]
            text += f", model.neck.in_channels={channels}"
            if neck.get("start_level"):
                text += f", model.neck.start_level={max(0, neck['start_level'] - (len(indices) - len(needed)))}"
    else:
        text += "\nfreeze them, use them, or set find_unused_parameters=True, which costs time"
    return text


def shrink(cfg: Config) -> None:
    """Change a config in place so that a run of it trains one step, validates a few samples, saves, and sends nothing.

    What it writes goes to the work dir.
    """
    without_pretrained(cfg)
    cfg.load_from, cfg.resume, cfg.log_level = None, False, "ERROR"
    for split in ("train", "val"):
        loader = cfg.get(f"{split}_dataloader")
        if not loader:
            continue
        loader.num_workers, loader.persistent_workers = 0, False
        loader.pop("prefetch_factor", None)
        count = max(loader.get("batch_size") or 1, SAMPLES if split == "val" else 1)
        for view in datasets_of(cfg, (split,)):
            if "indices" not in view.config and "Concat" not in view.type_name:
                view.config.indices = 4 * count if split == "train" else count
    train = cfg.train_cfg
    train.val_interval, train.val_begin = 1, 1
    train.pop("dynamic_intervals", None)
    cfg.optim_wrapper.pop("accumulative_counts", None)
    cfg.default_hooks.setdefault("checkpoint", dict(type="mmvit.CheckpointHook"))
    if cfg.default_hooks.checkpoint is not None:
        cfg.default_hooks.checkpoint.update(interval=1, by_epoch="max_iters" not in train)
    part: Any
    for number, part in enumerate(mappings(cfg.get("val_evaluator"))):
        for key in WRITTEN:
            if part.get(key):  # some metrics delete what is there
                part[key] = str(Path(cfg.work_dir, f"metric_{number}", PureWindowsPath(part[key]).name))
    tell_nobody(cfg)
    for part in mappings(cfg.model):
        if isinstance(part.get("score_thr"), float):
            part["score_thr"] = 0.0  # an untrained model predicts something, too, that can be evaluated
