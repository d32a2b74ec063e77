"""The config of a run, made from the options of the command line."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config, ConfigDict

from ..arguments import is_pretrained, listed, name_of
from ..checks.table import warn
from ..compat.systems import cores
from ..config.datasets import SPLITS, datasets_of, loaders_of
from ..config.files import Variant, open_config
from ..config.parts import is_ours, mappings
from ..config.roots import set_data_root
from ..config.short_options import DataOptions, ShortOptions, apply_short, scale_rate
from ..config.unlabelled import with_label_maps, without_labels
from ..config.work_dirs import best_checkpoint, last_checkpoint, work_dir_of
from ..errors import InputError
from .precision import Amp, use_amp
from .results import read_results
from .trackers import track

RUNTIME: dict[str, Any] = {
    "custom_hooks": [],
    "default_hooks": {},
    "env_cfg": {},
    "randomness": {"seed": None},
    "auto_scale_lr": {},
    "log_level": "INFO",
    "load_from": None,
    "resume": False,
}
CLOSING = ("mmvit.PicturesHook", "mmvit.ResultsHook")  # hooks at the end of a training
CHECKING = ("mmvit.NameFilesHook", "mmvit.CheckLabelsHook", "mmvit.OpeningHook", "mmvit.ProgressHook")  # hooks of every run
OURS = (*CHECKING, "mmvit.CheckSettingsHook", "mmvit.ResumeHook", *CLOSING)  # which the config of a work dir has, too
TELLING = ("mmvit.OpeningHook", "mmvit.ProgressHook", *CLOSING)  # hooks that tell of a run
TOOLKITS = {"mmdet": "Det", "mmseg": "Seg"}  # by scope, how names of their hooks and visualizers begin
Launcher = Literal["none", "pytorch", "slurm", "mpi"]


@dataclass
class TrainOptions(ShortOptions):
    """Options of `tools/train.py`, under the same names; those of `ShortOptions` are changes of the config."""

    config: str | Path  # a file, or the name of one of our configs
    work_dir: Path | None = None
    resume: str | None = None  # None, 'auto' (the newest of the work dir) or a path
    amp: Amp | None = None
    compile: bool = False
    auto_scale_lr: bool = False
    cfg_options: dict[str, Any] = field(default_factory=dict)
    launcher: Launcher = "none"
    variant: Variant | None = None
    track: Sequence[str] = ()  # trackers of experiments, by the names of their options
    minutes: float | None = None  # within which the training shall end
    verbose: bool = False  # everything in the terminal, not only in the log
    new_schedule: bool = False


@dataclass
class TestOptions(DataOptions):
    """Options of `tools/test.py`, under the same names."""

    config: str | Path  # a file, or the name of one of our configs
    checkpoint: str | Path | None = None  # or an address; None for the best of the work dir
    work_dir: Path | None = None
    out: Path | None = None
    show_dir: Path | None = None
    tta: bool = False
    no_labels: bool = False
    verbose: bool = False
    compile: bool = False
    cfg_options: dict[str, Any] = field(default_factory=dict)
    launcher: Launcher = "none"
    variant: Variant | None = None


def train_config(options: TrainOptions) -> Config:
    """Return the config of a training run.

    Raises:
        InputError: no such config or checkpoint, an option that the config cannot take, or float16 without a GPU.
    """
    cfg = _prepare(options)
    if options.amp is not None:
        use_amp(cfg, options.amp)
    if options.compile:
        _use_compile(cfg)
    based = bool(cfg.auto_scale_lr.get("base_batch_size"))
    if options.auto_scale_lr and not based:
        raise InputError(f"--auto-scale-lr: {options.config} has no auto_scale_lr.base_batch_size to scale from")
    resume = options.resume
    if resume is None and cfg.resume:  # mmengine resumes from load_from, or else from the newest checkpoint of the work dir
        resume = str(cfg.load_from or "auto")
    if options.minutes is not None and (options.new_schedule or not 0 < options.minutes < float("inf")):
        both = "not together with --new-schedule: a run keeps the length that was chosen for it"
        raise InputError(f"--minutes {options.minutes:g}: {both if options.new_schedule else 'expected a number above 0'}")
    if options.new_schedule and resume is None:
        raise InputError("--new-schedule: only with --resume; a new training has the config's schedule anyway")
    if resume is not None:
        _resume(cfg, resume)
        cfg.custom_hooks = [*cfg.custom_hooks, dict(type="mmvit.ResumeHook", new_schedule=options.new_schedule)]
    if options.variant is not None and options.epochs is not None:
        options.variant.prepare()  # its images are counted
    cfg.changed += apply_short(cfg, options)
    if based and (options.auto_scale_lr or cfg.auto_scale_lr.get("enable")):
        cfg.changed += [scale_rate(cfg)]
    last = (*CLOSING, *(options.variant.hooks if options.variant else ()))
    others = _without(cfg.custom_hooks, *last)
    cfg.custom_hooks = [dict(type="mmvit.CheckSettingsHook"), *others, *(dict(type=kind) for kind in last)]
    track(cfg, options.track, Path(cfg.filename).stem, Path(cfg.work_dir).name)
    return cfg


def test_config(options: TestOptions) -> Config:
    """Return the config of an evaluation run.

    Raises:
        InputError: no such config or checkpoint, or an option that the config cannot take.
    """
    cfg = _prepare(options)
    checkpoint = str(options.checkpoint or best_checkpoint(cfg.work_dir))
    if "://" not in checkpoint and not Path(checkpoint).is_file():
        raise InputError(f"checkpoint {checkpoint}: no such file. Training writes them to work_dirs/CONFIG_NAME")
    cfg.load_from = checkpoint
    cfg.resume = False
    without_pretrained(cfg)
    if name_of(cfg.get("runner_type")) == "FSDPRunner":  # it saves whole models, which are evaluated without sharding
        cfg.pop("runner_type")
    if options.compile:
        _use_compile(cfg)
    segments = cfg.get("default_scope") == "mmseg"
    if options.show_dir is not None:
        cfg.default_hooks.visualization.draw = True
        cfg.default_hooks.visualization.interval = 1  # every image: mmseg's hook would draw every 50th
        if segments:
            cfg.visualizer.save_dir = str(options.show_dir)
        else:
            cfg.default_hooks.visualization.test_out_dir = str(options.show_dir.resolve())
    if options.tta:
        if "tta_model" not in cfg or "tta_pipeline" not in cfg:
            raise InputError(f"--tta: {options.config} has no tta_model and tta_pipeline")
        for view in datasets_of(cfg, ("test",)):  # several in a ConcatDataset
            view.config.pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(cfg.tta_model, module=cfg.model)  # a dict would hold classes of pure-Python configs
    if options.no_labels:
        if options.out is None:
            raise InputError("--no-labels: without labels nothing is measured. Say where the results go with --out")
        without_labels(cfg, options.out)
    elif options.out is not None and segments:
        with_label_maps(cfg, options.out)
    elif options.out is not None and options.out.suffix not in (".pkl", ".pickle"):
        raise InputError(f"--out {options.out}: expected a file that ends with .pkl, or with --no-labels the start of names")
    return cfg


def _prepare(options: TrainOptions | TestOptions) -> Config:
    cfg = open_config(options.config, options.cfg_options, options.variant)
    cfg.work_dir = str(options.work_dir or work_dir_of(cfg, options.variant))
    _fill_in(cfg)
    cfg.changed = []  # by options, in words: the log has them, and the copy of the config in the work dir
    if options.data_root is not None:
        if options.variant is not None:
            raise InputError(f"--data-root: not together with --{options.variant.name}, which has data of its own")
        cfg.changed = [f"--data-root {options.data_root}: {set_data_root(cfg, options.data_root)}"]
    cfg.launcher = options.launcher
    cfg.changed += _fit_workers(cfg)
    cfg.custom_hooks = [*_without(cfg.custom_hooks, *OURS), *(dict(type=kind) for kind in CHECKING)]
    if not torch.cuda.is_available():
        _run_on_cpu(cfg)
    return cfg


def _fit_workers(cfg: Config) -> list[str]:
    """Give each loader at most a worker a core: more take memory and save no time. Return what was changed, in words."""
    changed, most = [], cores()
    for name, loader in loaders_of(cfg, SPLITS):
        if not loader.get("num_workers"):
            loader.update(persistent_workers=False)  # torch refuses both without workers
            loader.pop("prefetch_factor", None)
        elif loader["num_workers"] > most:
            changed.append(f"{name}.num_workers {loader['num_workers']} -> {most}")
            loader["num_workers"] = most
    return [f"{', '.join(changed)}: as many as cores"] if changed else []


def _fill_in(cfg: Config) -> None:
    """Set the keys that a config lacks to mmengine's defaults, because mmengine and mmvit rely on some of them."""
    for key, value in RUNTIME.items():
        if cfg.get(key) is None:
            cfg[key] = deepcopy(value)
    cfg.randomness.setdefault("seed", None)
    toolkit = TOOLKITS.get(cfg.get("default_scope"))
    if toolkit and not cfg.default_hooks.get("visualization"):
        cfg.default_hooks.visualization = dict(type=f"{toolkit}VisualizationHook")
    if not cfg.get("visualizer"):
        cfg.visualizer = dict(type=f"{toolkit}LocalVisualizer" if toolkit else "Visualizer")
    if not cfg.visualizer.get("vis_backends"):
        cfg.visualizer.vis_backends = [dict(type="LocalVisBackend")]


def _without(hooks: Sequence[Mapping[str, Any]], *ours: str) -> list[Mapping[str, Any]]:
    names = [name_of(kind) for kind in ours]
    return [hook for hook in hooks if not (is_ours(hook) and name_of(hook.get("type")) in names)]


def tell_nobody(cfg: Config, *others: str) -> None:
    """Remove from the config of a trial the hooks that tell of a run, and `others`; send its figures nowhere."""
    cfg.custom_hooks = _without(cfg.custom_hooks, *TELLING, *others)
    cfg.visualizer.vis_backends = [dict(type="LocalVisBackend")]


def _run_on_cpu(cfg: Config) -> None:
    """Change a config for CPUs: processes communicate through gloo, DDP gets no device number, and norms synchronise as mmcv's.

    Raises:
        InputError: mmengine supports the launcher only on GPUs.
    """
    if cfg.launcher == "mpi":
        raise InputError("--launcher mpi: mmengine needs GPUs for it; on CPUs use torchrun and --launcher pytorch")
    cfg.env_cfg = dict(cfg.env_cfg, dist_cfg=dict(backend="gloo"))
    if cfg.launcher != "none":
        cfg.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel",
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
        kinds = {name_of(part.get("type")) for part in mappings(cfg.get("model"))}
        if cfg.get("sync_bn") == "torch" or not kinds.isdisjoint(("SyncBN", "SyncBatchNorm")):
            cfg.sync_bn = "mmcv"
            cfg.changed += ["torch's SyncBN runs on GPUs only: sync_bn='mmcv' synchronises all batch norms of the model"]


def _use_compile(cfg: Config) -> None:
    if name_of(cfg.get("runner_type")) == "FSDPRunner":
        raise InputError("--compile: not together with runner_type mmvit.FSDPRunner, which has not been tried; leave one out")
    cfg.custom_hooks = [*_without(cfg.custom_hooks, "mmvit.CompileHook"), dict(type="mmvit.CompileHook")]


def _resume(cfg: Config, resume: str) -> None:
    checkpoint = last_checkpoint(cfg.work_dir) if resume == "auto" else resume
    if checkpoint is not None and "://" not in checkpoint and not Path(checkpoint).is_file():
        if resume == "auto":
            named = f"{cfg.work_dir}/last_checkpoint names {checkpoint}"
            raise InputError(f"--resume: {named}, which does not exist. Give one with --resume PATH")
        raise InputError(f"--resume {resume}: no such file. Give a checkpoint, or nothing to take the newest of {cfg.work_dir}")
    if checkpoint is None and (before := read_results(cfg.work_dir)) and before.validations:
        told = f"{cfg.work_dir} has the results of a training and no checkpoint to resume from: this training begins anew"
        warn("resume", told)
    if checkpoint is None and cfg.load_from:
        cfg.resume = False  # nothing to resume yet: mmengine would forget load_from
        return
    cfg.resume = True
    cfg.load_from = checkpoint
    if checkpoint is not None:
        without_pretrained(cfg)


def without_pretrained(cfg: Config) -> None:
    """Remove the pretrained files of a model and its parts, because the checkpoint holds the whole model."""
    part: Any
    for part in mappings(cfg.model):
        if part.get("init_cfg"):
            part["init_cfg"] = [entry for entry in listed(part["init_cfg"]) if not is_pretrained(entry)] or None
