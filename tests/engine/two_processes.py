"""What each of two processes does whose answers `test_processes` looks at."""

import os
import signal
import socket
import sys
from collections import UserList
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from families import FAMILIES, Family
from makers import leave_unformatted
from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.fileio import LocalBackend
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel, MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group
from torch.utils.data import BatchSampler, DataLoader

from mmvit.commands.training import training
from mmvit.compat.versions import NEEDS, SHARDING, TORCH
from mmvit.engine.batches import planned, require_even
from mmvit.engine.checkpoints import CheckpointHook, save_interrupted
from mmvit.engine.configuration import TestOptions, TrainOptions, train_config
from mmvit.engine.launch import test as evaluate
from mmvit.engine.launch import train
from mmvit.engine.models import largest
from mmvit.errors import InputError

BATCH = 2  # of one of two processes
STEPS = 2  # DDP tells of parameters without a gradient when the next step begins
WAYS = ("validated", "saved", "interrupted")  # in which a model gets out of a run
PATIENCE = 60  # seconds that a job may take to end once a process of it has failed
NORMED = [family for family in FAMILIES if family.normed]
VARIANTS: dict[str, tuple[list[Family], dict[str, Any]]] = {  # test_contract has them for all families in one process
    "plain": (FAMILIES, dict(norm_eval=True)),
    "checkpointed": (FAMILIES[4:], dict(norm_eval=True, with_cp=True)),
    "synchronised": (NORMED, dict()),
    "frozen": (FAMILIES[2::3], dict(norm_eval=True, frozen_stages=2)),
    "levels": (FAMILIES[3:5], dict(norm_eval=True, out_indices=(1, 3))),
}
CASES = [(variant, family.name) for variant, (families, _) in VARIANTS.items() for family in families]


class Wrapped(BaseModel):
    """A backbone alone, as mmengine's wrapper takes models."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([feature_map.square().mean() for feature_map in self.backbone(inputs)]).sum()


def build(family: Family, options: dict[str, Any]) -> Wrapped:
    torch.manual_seed(0)
    model = Wrapped(family.build(**options))
    model.backbone.init_weights()
    for name, parameter in model.named_parameters():
        if "layer_scale" in name:
            nn.init.constant_(parameter, 0.5)  # which would hide what lies behind them
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.train()


def gradients(model: nn.Module, parameters: nn.Module, images: Tensor, steps: int) -> dict[str, Tensor]:
    for _ in range(steps):
        parameters.zero_grad()
        model(images).backward()
    found = {name: value.grad for name, value in parameters.named_parameters() if value.requires_grad}
    assert None not in found.values()
    return found


def difference(family: Family, variant: str, rank: int, wrapper: dict[str, Any]) -> float:
    """Largest difference of two processes' gradients from one's over the whole batch, as a share of the largest gradient.

    The first process alone compares; the other one has the same gradients.
    """
    images = torch.randn(2 * BATCH, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    model = build(family, VARIANTS[variant][1])
    if variant == "synchronised":
        model = convert_sync_batchnorm(model, "mmcv")
    own = images[rank * BATCH : (rank + 1) * BATCH]
    found = gradients(MMDistributedDataParallel(module=model, **wrapper), model, own, STEPS)
    if rank:
        return 0.0
    alone = build(family, VARIANTS[variant][1])
    expected = gradients(alone, alone, images, 1)
    scale = max(value.abs().max() for value in expected.values())
    return max(float((found[name] - value).abs().max() / scale) for name, value in expected.items())


def statistics(rank: int) -> dict[str, float]:
    """How far running statistics of synchronised norms are from one process's over the whole batch."""
    images = torch.randn(2 * BATCH, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    far = {}
    for family in NORMED:
        alone = build(family, {})
        model = convert_sync_batchnorm(build(family, {}), "mmcv")
        alone(images)
        model(images[rank * BATCH : (rank + 1) * BATCH])
        buffers = dict(model.named_buffers())
        far[family.name] = max(
            float((buffers[name] - value).abs().max()) for name, value in alone.named_buffers() if "running" in name
        )
    return far


def kept_statistics(rank: int) -> dict[str, dict[str, Tensor]]:
    """Running statistics of a norm whose images differ between the processes, as a validation or a file has them.

    So has the average that EMAHook keeps, with the norm's own or with averages of them.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for way in WAYS:
        model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm1d(2, track_running_stats=False))
        averages = [EMAHook(momentum=0.5, update_buffers=update) for update in (False, True)]
        for average in averages:
            average.before_run(SimpleNamespace(model=model))
            average.ema_model.update_parameters(model)  # the first one copies
        model[0](torch.full((2, 3, 2, 2), float(rank)))
        for average in averages:
            average.ema_model.update_parameters(model)
        models = nn.ModuleList([model, *(average.ema_model.module for average in averages)])

        def noted(*_: Any, models: nn.Module = models, way: str = way, **__: Any) -> None:
            found[way] = {name: value.clone() for name, value in models.state_dict().items()}

        hub, hook = MessageHub.get_instance(f"{way}{rank}"), CheckpointHook(interval=1)
        hook.out_dir, hook.file_backend = ".", LocalBackend()
        runner: Any = SimpleNamespace(model=model, work_dir=".", message_hub=hub, save_checkpoint=noted)
        runner.hooks = [*averages, hook]
        runner.epoch = runner.iter = 1
        runner.logger = SimpleNamespace(warning=lambda text: None)
        if way == "validated":
            hook.before_val(runner)
            noted()
        elif way == "saved":
            hook._save_checkpoint_with_step(runner, 1, dict(iter=1))
        else:
            save_interrupted(runner)
    return found


def refused(batch_sampler: Callable[..., Any], batch: int, **options: Any) -> bool:
    """Whether a training over epochs refuses batches of five images, of which one process may get three."""
    sampler = DefaultSampler(range(5), shuffle=False, round_up=options.pop("round_up", True))
    loader = planned(DataLoader(UserList(range(5)), batch_sampler=batch_sampler(sampler, batch, **options)))
    try:
        require_even(loader)
    except InputError as error:
        return "round_up=True" in str(error)
    return False


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("localhost", 0))
        return place.getsockname()[1]


def status_of(rank: int, port: int, option: str) -> tuple[int | None, str]:
    """Exit status and output of a training process that slurm started with another, and over which nothing watches.

    It is a fork, before torch's threads are there: with all modules, and without what this process may have opened.
    """
    output = Path(f"{option.rpartition('=')[2]}_{rank}.txt")

    def work() -> None:
        pretend_srun(rank)
        os.environ.update(MASTER_PORT=str(port))
        with output.open("w") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
            sys.exit(training(["detector.py", "--launcher", "slurm", "--work-dir", "failed", "--cfg-options", option]))

    process = torch.multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(PATIENCE)
    process.kill()
    return process.exitcode, output.read_text()


def pretend_srun(rank: int) -> None:
    """The variables that two tasks have, and a `scontrol` that knows their nodes."""
    os.environ.update(SLURM_PROCID=str(rank), SLURM_NTASKS="2", SLURM_LOCALID=str(rank), SLURM_NODELIST="node[1-2]")
    os.environ["PATH"] = f"{Path.cwd()}{os.pathsep}{os.environ['PATH']}"


def as_one_of_two(rank: int, folder: Path, free: list[int]) -> None:
    """What each of the two processes does; the first one writes the answers down."""
    ports = iter(free)
    os.chdir(folder)
    leave_unformatted()
    torch.set_num_threads(1)
    failures = {
        "bad image": status_of(rank, next(ports), "train_dataloader.dataset.data_prefix.img=bad"),
        "missing data": status_of(rank, next(ports), "train_dataloader.dataset.data_root=nowhere"),
    }
    torch.save(failures, f"failures_{rank}.pt")
    task = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="localhost")
    answers: dict[str, Any] = {}

    def together(work: Callable, *arguments: Any) -> Any:
        """Each time a process group of its own, as in a job of its own."""
        os.environ.update(task, MASTER_PORT=str(next(ports)))
        try:
            return work(*arguments)
        finally:
            destroy_process_group()

    def compare() -> None:
        init_process_group("gloo")
        wrapper = dict(train_config(TrainOptions(Path("detector.py"), launcher="pytorch")).model_wrapper_cfg)
        assert wrapper.pop("type") == "MMDistributedDataParallel"
        families = {family.name: family for family in FAMILIES}
        answers["gradients"] = {case: difference(families[case[1]], case[0], rank, wrapper) for case in CASES}
        answers["statistics"] = statistics(rank)
        answers["agreed"] = largest(rank == 1), largest(False), largest(rank * signal.SIGTERM)  # a loss, and a signal
        answers["refused"] = {
            "three and two": refused(BatchSampler, 1, drop_last=False, round_up=False),
            "one and one": refused(BatchSampler, 3, drop_last=False, round_up=False),
            "by shape": refused(AspectRatioBatchSampler, 2),
            "by shape, whole": refused(AspectRatioBatchSampler, 2, drop_last=True),
        }
        torch.save(kept_statistics(rank), f"statistics_{rank}.pt")

    def test_options(name: str, launcher: str) -> TestOptions:
        out = Path(f"{name}_{launcher}").with_suffix(".pkl" if name == "detector" else "")
        return TestOptions(Path(f"{name}.py"), Path(f"{name}.pth"), Path(f"test_{name}_{launcher}"), out, launcher=launcher)

    together(compare)
    for name in ("detector", "segmenter"):
        if rank == 0:
            answers[name] = {"none": evaluate(test_options(name, "none"))}
        answers.setdefault(name, {})["pytorch"] = together(evaluate, test_options(name, "pytorch"))
    for name, work_dir, resume, iterations in (
        ("detector", "whole", None, 4),
        ("detector", "stopped", None, 2),
        ("detector", "stopped", "auto", 4),
        ("sharded", "sharded", None, 4),
        ("sharded", "resumed", None, 2),
        ("sharded", "resumed", "auto", 4),
    ):
        if name == "sharded" and NEEDS[SHARDING] > TORCH:
            continue
        settings = {"train_cfg.max_iters": iterations, "load_from": "detector.pth"}
        options = TrainOptions(Path(f"{name}.py"), Path(work_dir), resume, cfg_options=settings, launcher="pytorch")
        together(train, options)
    pretend_srun(rank)
    for name in task:
        del os.environ[name]
    task = {}
    answers["detector"]["slurm"] = together(evaluate, test_options("detector", "slurm"))
    if rank == 0:
        torch.save(answers, "answers.pt")


def write_model(folder: Path, name: str) -> None:
    cfg = Config.fromfile(folder / f"{name}.py")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / f"{name}.pth")
