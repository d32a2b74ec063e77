"""Training and evaluation of detectors and segmenters with mmengine's Runner."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..checks.pretrained import fetch_pretrained
from ..checks.table import check_start
from ..compat.python import add_note
from ..config.unlabelled import require_names
from ..config.work_dirs import JOINED, joined
from ..errors import InputError
from ..weights.whole import use_threshold
from . import minutes
from .computing import whole_counts
from .configuration import TestOptions, TrainOptions, test_config, train_config
from .precision import keep_amp
from .progress import ProgressHook
from .results import Results, ResultsHook, note_test
from .start import Start, start_of
from .terminal import Terminal, near, terminal

RUNS = count()  # of this process
FIRST_STEPS = 3  # a dry run would have found an error in these
OFFER = (
    "The run died at its start. python -m mmvit doctor CONFIG --dry-run (with the same --cfg-options) tries a step of "
    "training, validation, saving and resuming, and says which part of the model fails, with what is known to help."
)
WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's, without which it is not deterministic
SLURM = {"RANK": "PROCID", "WORLD_SIZE": "NTASKS", "LOCAL_RANK": "LOCALID"}  # torch's names to srun's


class EvaluationRunner(Runner):
    """mmengine's runner, which leaves the config of a training in the work dir; that of a test stands beside its log."""

    def dump_config(self) -> None:
        """Write the config of a test, if the work dir has none."""
        if not Path(self.work_dir, Path(self.cfg.filename or "").name).exists():
            super().dump_config()


def train(options: TrainOptions) -> Results:
    """Train with `options` and return the results; checkpoints, logs and the config go to the work dir.

    Raises:
        InputError: a file, key or value is wrong.
    """
    began = time.monotonic()
    with terminal(options.verbose) as shown:
        require_alone(options.launcher)
        cfg = train_config(options)
        _start_processes(cfg)
        if options.variant is not None:
            options.variant.prepare()
        check_start(cfg, ("train", "val") if cfg.get("val_dataloader") else ("train",))
        fetch_pretrained(cfg)
        start = start_of(cfg)
        cfg.pop(JOINED, None)  # which a config of a work dir may have
        if start is not None and cfg.get("resume"):
            cfg.changed += keep_amp(cfg, start.content)
            if start.carry_over(cfg):
                cfg.changed.append(f"--resume: logs and validations beside {near(start.source)} go on in {near(cfg.work_dir)}")
            cfg[JOINED] = joined(cfg, start.content)
        _set_minutes(cfg, options, start, began, shown)
        runner = _runner(cfg)
        _tell(runner)
        if start is not None:
            start.compare_classes(cfg, "train")
            start.fit(runner, exactly=bool(cfg.get("resume")))
            if cfg.get("resume"):
                start.require_progress()
            start.hand_over()
        _run(runner, "train")
        return next(hook.results for hook in runner.hooks if isinstance(hook, ResultsHook))


def _set_minutes(cfg: Config, options: TrainOptions, start: Start | None, began: float, shown: Terminal) -> None:
    """Give a run the length that was chosen for it when it began, or else, if asked for, one that fits into a time."""
    line, _ = None, cfg.pop(minutes.KEY, None)
    content = start.content if start is not None and cfg.get("resume") else None
    if content is not None and not options.new_schedule and options.epochs is None:
        line = minutes.keep(cfg, content)
    if options.minutes is not None and minutes.KEY not in cfg:
        line = minutes.fit(cfg, options.minutes, began, _runner, shown, content)
    cfg.changed += [line] if line else []


def test(options: TestOptions) -> Mapping[str, float]:
    """Evaluate a checkpoint on the config's test data and return the metrics.

    Raises:
        InputError: a file, key or value is wrong, or the checkpoint is another model's.
    """
    with terminal(options.verbose):
        cfg = test_config(options)
        _start_processes(cfg)
        if options.variant is not None:
            options.variant.prepare()
        check_start(cfg, ("test",))
        if options.out is not None and cfg.get("default_scope") == "mmseg":
            options.out.mkdir(parents=True, exist_ok=True)  # in mmseg the first process makes it; others may already write
        start = Start(cfg.load_from)
        runner = _runner(cfg, EvaluationRunner)
        _tell(runner)
        start.compare_classes(cfg, "test")
        start.fit(runner, exactly=True)
        if "model.decode_head.threshold" not in options.cfg_options:
            use_threshold(runner.model, start.content.get("meta"))
        start.hand_over()
        dump = None
        if options.out is not None and not options.no_labels and cfg.get("default_scope") != "mmseg":
            dump = _dump(cfg, options)
            runner.test_evaluator.metrics.append(dump)
        if options.show_dir is not None:
            require_names(runner.test_loop.dataloader.dataset, f"--show-dir {options.show_dir}")
        if options.out is not None and cfg.get("default_scope") == "mmseg":
            require_names(runner.test_loop.dataloader.dataset, f"--out {options.out}", "stem")
        with whole_counts():
            metrics = _run(runner, "test")
        if dump is not None and dump.results:  # MultiDatasetsEvaluator asks only as many metrics as there are datasets
            dump.evaluate(len(runner.test_dataloader.dataset))
        note_test(runner, " ".join([cfg.load_from, *_other_figures(options)]), metrics)
        return metrics


def _other_figures(options: TestOptions) -> Iterator[str]:
    """Yield the options of a test with which a checkpoint has other figures than without."""
    if options.tta:
        yield "--tta"
    if options.data_root is not None:
        yield f"--data-root {options.data_root}"
    for key, value in options.cfg_options.items():
        yield f"{key}={value}"


def _runner(cfg: Config, kind: type[Runner] = Runner) -> Runner:
    if number := next(RUNS):  # mmengine keeps loggers and visualizers by name: a second run would write where the first did
        cfg.visualizer.name = f"{cfg.visualizer.get('name', 'visualizer')}_{number}"
        cfg.experiment_name = f"{cfg.get('experiment_name') or Path(cfg.filename).stem}_{number}"
    try:
        return kind.from_cfg(cfg) if "runner_type" not in cfg else RUNNERS.build(cfg)
    except Exception as error:
        if not isinstance(error, InputError):
            add_note(error, OFFER)
        raise


def _tell(runner: Runner) -> None:
    for line in runner.cfg.get("changed") or ():
        runner.logger.info(line)


def _run(runner: Runner, what: Literal["train", "test"]) -> Any:
    try:
        return getattr(runner, what)()
    except Exception as error:
        if what == "train" and not isinstance(error, InputError) and _at_its_start(runner):
            add_note(error, OFFER)
        raise
    finally:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()


def _at_its_start(runner: Runner) -> bool:
    """Return whether training stopped within the first steps of this process."""
    loop = runner._train_loop  # still a config if the run failed before building it
    return not hasattr(loop, "steps") or loop.steps < FIRST_STEPS


def _start_processes(cfg: Config) -> None:
    """Start the process group with gloo if there is no GPU; with GPUs, mmengine starts it and gives each process a GPU.

    This must come before all checks: then the others notice when a process finds a fault and exits, instead of waiting for it.
    """
    if (cfg.get("randomness") or {}).get("deterministic"):
        os.environ.setdefault(*WORKSPACE)
    if torch.distributed.is_initialized():  # by an earlier run of this process
        return
    if cfg.launcher == "slurm" and not torch.cuda.is_available():
        os.environ.update(_slurm_tasks())
    require_launcher(cfg.launcher)
    if torch.cuda.is_available() or cfg.launcher == "none":
        return
    torch.distributed.init_process_group("gloo")


def require_alone(launcher: str) -> None:
    """Check that a training without a launcher is the only one that was started.

    Raises:
        InputError: torchrun or another launcher has started several, which would write over each other.
    """
    if launcher == "none" and "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError(
            f"{os.environ['WORLD_SIZE']} processes were started (RANK and WORLD_SIZE are set, as by torchrun), and without a "
            "launcher each would train for itself in the same folder. Add --launcher pytorch, or unset RANK"
        )


def require_launcher(launcher: str) -> None:
    """Check that something has started the processes, and that the port by which they find each other is free.

    Raises:
        InputError: nothing has, or it is taken.
    """
    lacking = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if launcher == "pytorch" and lacking:
        start = "torchrun --nproc_per_node=COUNT -m mmvit train CONFIG --launcher pytorch"
        raise InputError(f"--launcher pytorch: {', '.join(lacking)} not set, which torchrun sets. Start with {start}")
    if launcher != "none" and not lacking and os.environ["RANK"] == "0" and "TORCHELASTIC_RUN_ID" not in os.environ:
        port = os.environ["MASTER_PORT"]  # torchrun itself listens at its own
        with socket.socket() as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                door.bind(("", int(port)))
            except (OSError, ValueError) as error:
                raise InputError(f"MASTER_PORT={port} cannot be used ({error}). Set MASTER_PORT to a free one") from error


def _slurm_tasks() -> dict[str, str]:
    """Return the variables by which torch's processes find each other, from srun's, unless MASTER_ADDR and MASTER_PORT are set.

    Raises:
        InputError: srun did not start this process.
    """
    try:
        found = {name: os.environ[f"SLURM_{theirs}"] for name, theirs in SLURM.items()}
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
