"""Training and evaluation through mmengine's Runner, detection and segmentation alike."""

import os
import subprocess
from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..checks import preflight
from ..errors import InputError
from .configuration import TestOptions, TrainOptions, test_config, train_config
from .progress import ProgressHook
from .start import Start, start_of

FIRST_STEPS = 3  # a run that dies in them has not done what a dry run tries
OFFER = (
    "The run died in its first steps. python -m mmvit doctor CONFIG --dry-run (with the same --cfg-options) tries a step of "
    "training, validation, saving and resuming, and says which part of the model fails, with what is known to help."
)
SLURM = {"RANK": "PROCID", "WORLD_SIZE": "NTASKS", "LOCAL_RANK": "LOCALID"}  # torch's names to srun's


def train(options: TrainOptions) -> None:
    """Trains as `options` say; checkpoints, logs and the config go to the work dir.

    Raises:
        InputError: a file, key or value of the user's is wrong.
    """
    cfg = train_config(options)
    _start_processes(cfg)
    if options.variant is not None:
        options.variant.prepare()
    preflight.check(cfg, ("train", "val") if cfg.get("val_dataloader") else ("train",))
    start = start_of(cfg)
    runner = _runner(cfg)
    if start is not None:
        start.fit(runner, exactly=bool(cfg.get("resume")))
        if cfg.get("resume"):
            start.require_progress()
        start.hand_over()
    _run(runner, "train")


def test(options: TestOptions) -> Mapping[str, float]:
    """Evaluates a checkpoint on the config's test data and returns the metrics.

    Raises:
        InputError: a file, key or value of the user's is wrong, or the checkpoint is of another model.
    """
    cfg = test_config(options)
    _start_processes(cfg)
    if options.variant is not None:
        options.variant.prepare()
    preflight.check(cfg, ("test",))
    if options.out is not None and cfg.get("default_scope") == "mmseg":
        options.out.mkdir(parents=True, exist_ok=True)  # mmseg's first process makes it when others may be writing already
    start = Start(str(options.checkpoint))
    runner = _runner(cfg)
    start.fit(runner, exactly=True)
    start.hand_over()
    if options.out is not None and not options.no_labels and cfg.get("default_scope") != "mmseg":
        runner.test_evaluator.metrics.append(_dump(cfg, options))
    return _run(runner, "test")


def _runner(cfg: Config) -> Runner:
    return Runner.from_cfg(cfg) if "runner_type" not in cfg else RUNNERS.build(cfg)


def _run(runner: Runner, what: Literal["train", "test"]) -> Any:
    try:
        return getattr(runner, what)()
    except Exception as error:
        if what == "train" and not isinstance(error, InputError) and _at_its_start(runner):
            error.add_note(OFFER)
        raise
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()


def _at_its_start(runner: Runner) -> bool:
    """Whether a training has done next to nothing since this process began."""
    loop = runner._train_loop  # a config, where the run did not come to build it
    return not hasattr(loop, "steps") or loop.steps < FIRST_STEPS


def _start_processes(cfg: Config) -> None:
    """mmengine binds each process to a GPU as it starts them; without one, torch's own start with gloo does.

    It comes before all checks: when a process finds a fault and leaves, the others notice, instead of waiting for it to join.
    """
    if torch.cuda.is_available() or cfg.launcher == "none":
        return
    if cfg.launcher == "slurm":
        os.environ.update(_slurm_tasks())
    torch.distributed.init_process_group("gloo")


def _slurm_tasks() -> dict[str, str]:
    """The variables by which torch's processes find each other, from srun's; MASTER_ADDR and MASTER_PORT may be given.

    Raises:
        InputError: srun did not start this process.
    """
    try:
        found = {name: os.environ[f"SLURM_{told}"] for name, told in SLURM.items()}
        nodes = ["scontrol", "show", "hostnames", os.environ["SLURM_NODELIST"]]
        host = (
            os.environ.get("MASTER_ADDR") or subprocess.run(nodes, capture_output=True, text=True, check=True).stdout.split()[0]
        )
    except (KeyError, OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"--launcher slurm: expected srun's variables and its scontrol ({error}); start with srun") from error
    return {**found, "MASTER_ADDR": host, "MASTER_PORT": os.environ.get("MASTER_PORT", "29500")}


def _dump(cfg: Config, options: TestOptions) -> DumpResults:
    if cfg.get("default_scope") == "mmdet":
        from mmdet.evaluation import DumpDetResults  # packs masks, which mmengine's own does not

        return DumpDetResults(out_file_path=str(options.out))
    return DumpResults(out_file_path=str(options.out))
