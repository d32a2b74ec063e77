"""`tools/stress_resume.py`: kills trainings again and again, and checks that they end with the bits of an undisturbed one.

It trains the demo of a config for a few iterations with everything that has state (EMA, warm-up, drop path, random transforms,
data workers), saving after each. The process gets SIGKILL at a random moment, half of the time while it writes a checkpoint;
the next one resumes. The promises are checked after each kill and at the end of each such training.
"""

import os
import random
import re
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor

from mmvit.compat.checkpoints import safe_load
from mmvit.config.files import config_file
from mmvit.config.work_dirs import last_checkpoint
from mmvit.demo.recipe import DEMO
from mmvit.engine.configuration import TrainOptions, train_config
from mmvit.engine.storage import PARTIAL
from mmvit.errors import InputError

ITERATIONS = 12
EPOCHS = 3  # as many iterations as fit
MEASURED = re.compile("time|memory")  # logged values that describe the machine and differ from run to run
TIMEOUT = 600  # seconds within which a process has to end
PROCESSES = get_context("forkserver")  # starts a process quickly, from one that has imported everything
PROCESSES.set_forkserver_preload(["mmvit.engine.launch", "mmvit.engine.loops", "benchmarks.stress"])


@dataclass(frozen=True)
class Training:
    """Training that several processes share.

    Attributes:
        options: what to train and where.
        ranks: processes that train together.
    """

    options: TrainOptions
    ranks: int

    @property
    def folder(self) -> Path:
        assert self.options.work_dir is not None
        return self.options.work_dir

    def start(self) -> list[Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = [
            dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=self.ranks, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            for rank in range(self.ranks)
        ]
        processes = [PROCESSES.Process(target=_train, args=(self.options, each)) for each in environment]
        for process in processes:
            process.start()
        return processes

    def finish(self) -> None:
        """Run the training to its end.

        Raises:
            InputError: it fails without having been killed.
        """
        self.ended(self.start())

    def ended(self, processes: list[Any]) -> None:
        """Wait for processes to end.

        Raises:
            InputError: one fails without having been killed.
        """
        for process in processes:
            process.join(TIMEOUT)
        if any(process.exitcode != 0 for process in processes):
            raise InputError(f"the training failed; see {self.folder}/log.txt")


def main(arguments: Sequence[str] | None = None, prog: str = "tools/stress_resume.py") -> int:
    parser = ArgumentParser(prog, description="Kills trainings at random moments and checks that nothing is lost.")
    parser.add_argument("config", nargs="?", default="fpn_pvt_v2_b0_ade20k", help="a config whose demo is trained")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--by-epoch", action="store_true", help="epoch-based training, also saved within epochs")
    parser.add_argument("--workers", type=int, default=2, help="data workers of a process")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments of the kills")
    asked = parser.parse_args(arguments)
    folder = Path(mkdtemp(prefix="stress_resume_"))
    options = stressed(asked.config, asked.by_epoch, asked.workers, "pytorch" if asked.processes > 1 else "none")
    DEMO.prepare()
    first = PROCESSES.Process(target=int)  # once it ends, the process that starts the others has imported everything
    first.start()
    first.join()
    whole = Training(replace(options, work_dir=folder / "whole"), asked.processes)
    began = time.monotonic()
    whole.finish()
    seconds = time.monotonic() - began
    expected = outcome(whole.folder)
    print(f"{asked.config}: {len(expected)} values to compare; {seconds:.0f} s without a kill; work in {folder}", flush=True)
    moments = random.Random(asked.seed)
    kills = saving = rounds = 0
    while kills < asked.kills:
        training = Training(replace(options, work_dir=folder / f"killed_{rounds}", resume="auto"), asked.processes)
        for while_saving in killed(training, moments, seconds, asked.kills - kills):
            kills += 1
            saving += while_saving
        rounds += 1
        wrong = differing(expected, outcome(training.folder))
        print(f"training {rounds}: {kills} kills so far, {saving} of them while saving; {len(wrong)} values differ", flush=True)
        if wrong:
            print(f"  such as {', '.join(wrong[:5])}: {training.folder}", file=sys.stderr)
            return 1
    print(
        f"{kills} kills, {saving} of them while a checkpoint was written: none lost, all {rounds} trainings bit for bit equal"
    )
    return 0


def stressed(config: str, by_epoch: bool, workers: int, launcher: Any) -> TrainOptions:
    """Return the demo of a config with everything that has state."""
    options = TrainOptions(config_file(config), variant=DEMO, launcher=launcher)
    pipeline = train_config(options).train_dataloader.dataset.pipeline
    distortions = [dict(type="RandomFlip", prob=0.5), dict(type="PhotoMetricDistortion")]
    interval = ITERATIONS // EPOCHS
    loop = dict(type="mmvit.IterBasedTrainLoop", max_iters=ITERATIONS, val_interval=interval)
    changes: dict[str, Any] = {
        "randomness": dict(seed=0),
        "custom_hooks": [dict(type="EMAHook")],
        "model.backbone.drop_path_rate": 0.2,
        "train_dataloader.dataset.pipeline": [*pipeline[:-1], *distortions, pipeline[-1]],
        "train_dataloader.dataset.indices": 2 * interval - 1,  # batches of two; the last of an epoch has one
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": workers,
        "val_dataloader.dataset.indices": 4,
        "val_dataloader.num_workers": 0,
        "val_dataloader.batch_size": 2,
        "default_hooks.checkpoint.interval": 1,
        "default_hooks.checkpoint.by_epoch": False,
        "default_hooks.logger.interval": 1,
    }
    if by_epoch:
        loop = dict(type="mmvit.EpochBasedTrainLoop", max_epochs=EPOCHS, val_interval=1, _delete_=True)
        changes["train_dataloader.sampler.type"] = "DefaultSampler"
    return replace(options, cfg_options={**changes, "train_cfg": loop})


def killed(training: Training, moments: random.Random, seconds: float, most: int) -> Iterator[bool]:
    """Train to the end, with kills on the way; yield for each kill whether a checkpoint was being written.

    Args:
        seconds: duration of the training, from which the moments of the kills are drawn.
        most: number of kills, after which it is left in peace.

    Raises:
        InputError: a checkpoint, or an iteration that was saved, is lost, or the training fails by itself.
    """
    reached = 0
    for _ in range(most):
        processes = training.start()
        if _wait(processes, training.folder, moments, seconds):
            training.ended(processes)
            return
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()
        half = any(training.folder.glob(f"*{PARTIAL}"))
        last = last_checkpoint(training.folder)
        now = safe_load(last)["meta"]["iter"] if last else 0
        if now < reached:
            raise InputError(f"{training.folder}: {reached} iterations were saved, {last} has {now} after a kill")
        reached = now
        yield half
    training.finish()


def _wait(processes: list[Any], folder: Path, moments: random.Random, seconds: float) -> bool:
    """Wait for a random moment; return whether the training ended before."""
    saving = moments.random() < 0.5
    deadline = time.monotonic() + (TIMEOUT if saving else moments.uniform(0, seconds))
    saves = moments.randint(1, 4)
    writes = False
    while time.monotonic() < deadline:
        if not any(process.is_alive() for process in processes):
            return True
        wrote, writes = writes, saving and any(folder.glob(f"*.pth.*{PARTIAL}"))
        saves -= writes and not wrote
        if not saves:
            time.sleep(moments.uniform(0, 0.05))
            return False
        time.sleep(0.001)
    return False


def _train(options: TrainOptions, environment: dict[str, Any]) -> None:
    """Run one process of a training."""
    os.environ.update({name: str(value) for name, value in environment.items()})
    from mmvit.engine.launch import train

    assert options.work_dir is not None
    options.work_dir.mkdir(parents=True, exist_ok=True)
    with (options.work_dir / "log.txt").open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        train(options)


def outcome(work_dir: Path) -> dict[str, Any]:
    """Return what must be equal in all finished trainings: progress, logs, and every tensor of the last checkpoint."""
    last = last_checkpoint(work_dir)
    assert last is not None
    saved = safe_load(last)
    hub = saved["message_hub"]
    scalars = {name: logged.data[0].tolist() for name, logged in hub["log_scalars"].items() if not MEASURED.search(name)}
    states = {part: saved[part] for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers") if part in saved}
    progress = {name: saved["meta"][name] for name in ("epoch", "iter", "seed")}
    return flat("", {**progress, **scalars, "best": hub["runtime_info"].get("best_score"), **states})


def flat(name: str, value: Any) -> dict[str, Any]:
    """Yield the leaves of nested dicts and lists with their full names."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in flat(f"{name}.{part}".strip("."), inner).items()}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of the values whose bits differ."""
    names = {**one, **other}
    return [name for name in names if not _same(one.get(name), other.get(name))]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return one == other
