"""Several processes, on CPUs: gradients, synchronised norms, evaluation, sharding, slurm, and what happens when one fails.

What can be asked of two processes is asked in one start of them, because imports take seconds; each test looks at one answer.
The file is long, because it is also the program that these processes run.
"""

import os
import pickle
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mmengine.config.config
import pytest
import torch
import yapf.yapflib.yapf_api
from families import FAMILIES, Family
from makers import HOME
from mmengine.config import Config
from mmengine.model import BaseModel, MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from small_datasets import write_noise_coco, write_noise_maps
from torch import Tensor, nn
from torch.distributed import destroy_process_group, init_process_group

from benchmarks.stress import differing, outcome
from mmvit.commands.training import training
from mmvit.engine.configuration import TestOptions, TrainOptions, train_config
from mmvit.engine.finite import on_any_process
from mmvit.engine.interruption import Interruption
from mmvit.engine.launch import test as evaluate
from mmvit.engine.launch import train
from mmvit.errors import InputError

pytestmark = pytest.mark.stack
TestOptions.__test__ = False
evaluate.__test__ = False

BATCH = 2  # of one of two processes
STEPS = 2  # DDP tells of parameters without a gradient when the next step begins
PATIENCE = 60  # seconds that a job may take to end once a process of it has failed
NORMED = [family for family in FAMILIES if family.normed]
SUBSETS = [(0,), (1, 3)]
VARIANTS: dict[str, tuple[list[Family], dict[str, Any]]] = {
    "plain": (FAMILIES, dict(norm_eval=True)),
    "checkpointed": (FAMILIES, dict(norm_eval=True, with_cp=True)),
    "synchronised": (NORMED, dict()),
    "frozen": (FAMILIES, dict(norm_eval=True, frozen_stages=2)),
    **{f"levels {levels}": (FAMILIES, dict(norm_eval=True, out_indices=levels)) for levels in SUBSETS},
}
CASES = [(variant, family.name) for variant, (families, _) in VARIANTS.items() for family in families]

SIZES = """
dims = [8, 16, 24, 32]
arch = dict(_delete_=True, depths=[1, 1, 2, 1], dims=dims, heads=[1, 2, 3, 4], mlp_ratios=[2] * 4, reductions=[8, 4, 2, 1])
backbone = dict(arch=arch, drop_path_rate=0.0, init_cfg=None)
loader = dict(batch_size=1, num_workers=0, persistent_workers=False)
randomness = dict(seed=0)
"""
DETECTOR = (
    '_base_ = "mmvit::retinanet_pvt_tiny_coco.py"'
    + SIZES
    + """
model = dict(
    backbone=backbone,
    neck=dict(in_channels=dims, out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0),
)
load = [dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations", with_bbox=True)]
flip = dict(type="RandomFlip", prob=0.5)
meta = dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"))
scale = dict(type="Resize", scale=(96, 64), keep_ratio=True)
train_dataloader = dict(
    **loader,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=False),
    batch_sampler=None,
    dataset=dict(pipeline=[*load, scale, flip, dict(type="PackDetInputs")]),
)
val_dataloader = test_dataloader = dict(**loader, dataset=dict(pipeline=[load[0], scale, load[1], meta]))
train_cfg = dict(_delete_=True, type="mmvit.IterBasedTrainLoop", max_iters=4, val_interval=2)
optim_wrapper = dict(
    optimizer=dict(lr=0.01),
    constructor="mmvit.LayerDecay",
    paramwise_cfg=dict(decay_rate=0.9),
    clip_grad=dict(max_norm=0.5),
)
param_scheduler = [dict(type="LinearLR", start_factor=0.5, end_factor=0.8, by_epoch=False, begin=0, end=4)]
checkpoint = dict(_delete_=True, type="mmvit.CheckpointHook", by_epoch=False, interval=2, save_best="coco/bbox_mAP")
default_hooks = dict(checkpoint=checkpoint, logger=dict(interval=1))
log_processor = dict(by_epoch=False)
"""
)
SHARDED = """
_base_ = "detector.py"
runner_type = "mmvit.FSDPRunner"
"""
SEGMENTER = (
    '_base_ = "mmvit::fpn_pvt_tiny_ade20k.py"'
    + SIZES
    + """
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=backbone,
    neck=dict(in_channels=dims, out_channels=16),
    decode_head=dict(in_channels=[16] * 4, channels=16, num_classes=3),
)
dataset = dict(
    _delete_=True,
    type="BaseSegDataset",
    data_root="data/seg",
    data_prefix=dict(img_path="images", seg_map_path="maps"),
    img_suffix=".png",
    seg_map_suffix=".png",
    metainfo=dict(classes=("ground", "plant", "sky")),
    pipeline=[dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")],
)
train_dataloader = dict(**loader, dataset=dataset)
val_dataloader = test_dataloader = dict(**loader, dataset=dict(test_mode=True, **dataset))
"""
)


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


def agreements(rank: int) -> tuple[bool, bool, int]:
    """What all processes take for true when the second one alone has a loss that is not finite, and a signal."""
    interruption = Interruption()
    interruption.number = rank * signal.SIGTERM
    return on_any_process(rank == 1), on_any_process(False), interruption.agreed()


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


def leave_unformatted() -> None:
    """yapf takes a second for each config that is shown or saved; the stacks import it at different places."""
    for module in (mmengine.config.config, yapf.yapflib.yapf_api):
        module.FormatCode = lambda code, **_: (code, False)  # type: ignore[attr-defined]


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
        answers["agreed"] = agreements(rank)

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    for name, text in (("detector", DETECTOR), ("sharded", SHARDED), ("segmenter", SEGMENTER)):
        (folder / f"{name}.py").write_text(text)
    write_noise_coco(folder / "data" / "coco", 5)
    bad = folder / "data" / "coco" / "bad"
    shutil.copytree(folder / "data" / "coco" / "train2017", bad)
    (bad / "000000000003.jpg").write_bytes(b"no image")
    write_noise_maps(folder / "data" / "seg", 5)
    for name in ("detector", "segmenter"):
        write_model(folder, name)
    scontrol = folder / "scontrol"
    scontrol.write_text('#!/bin/sh\ntest "$*" = "show hostnames node[1-2]" && echo localhost && echo node2\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Any]:
    ports = [free_port() for _ in range(12)]
    torch.multiprocessing.spawn(as_one_of_two, (folder, ports), nprocs=2)
    failures = [torch.load(folder / f"failures_{rank}.pt") for rank in range(2)]
    return torch.load(folder / "answers.pt") | {name: [found[name] for found in failures] for name in failures[0]}


@pytest.mark.parametrize(("variant", "family"), CASES)
def test_gradients_of_two_are_those_of_one(variant: str, family: str, answers: dict[str, Any]) -> None:
    assert answers["gradients"][variant, family] < 2e-5


@pytest.mark.parametrize("family", [family.name for family in NORMED])
def test_synchronised_norms_keep_the_statistics_of_all(family: str, answers: dict[str, Any]) -> None:
    assert answers["statistics"][family] < 1e-6


def test_all_processes_know_what_one_found(answers: dict[str, Any]) -> None:
    """Seen from the first one, which found nothing."""
    assert answers["agreed"] == (True, False, signal.SIGTERM)


@pytest.mark.parametrize(("name", "metric"), [("detector", "coco/bbox_mAP_50"), ("segmenter", "mIoU")])
def test_metrics_of_two_are_those_of_one(name: str, metric: str, answers: dict[str, Any]) -> None:
    """Five images: one of the processes gets one twice, which must not count."""
    alone = answers[name]["none"]
    assert alone[metric] > 0
    figures = {key for key in alone if "time" not in key}
    for launcher in set(answers[name]) - {"none"}:
        assert {key: answers[name][launcher][key] for key in figures} == {key: alone[key] for key in figures}


@pytest.mark.parametrize("launcher", ["pytorch", "slurm"])
def test_every_image_is_gathered_once(launcher: str, folder: Path, answers: dict[str, Any]) -> None:
    alone, gathered = (pickle.loads((folder / f"detector_{name}.pkl").read_bytes()) for name in ("none", launcher))
    assert [image["img_id"] for image in gathered] == [image["img_id"] for image in alone] == [0, 1, 2, 3, 4]
    for one, other in zip(alone, gathered, strict=True):
        assert torch.equal(one["pred_instances"]["scores"], other["pred_instances"]["scores"])


def checkpoint(folder: Path, work_dir: str, iteration: int = 4) -> dict[str, Any]:
    return torch.load(folder / work_dir / f"iter_{iteration}.pth", weights_only=True)


def test_sharded_training_is_unsharded_training(folder: Path, answers: dict[str, Any]) -> None:
    """With the gradient clipped, and rates and decays by name and kind of parameter."""
    start = torch.load(folder / "detector.pth", weights_only=True)["state_dict"]
    whole, sharded = (checkpoint(folder, name) for name in ("whole", "sharded"))
    assert list(sharded["state_dict"]) == list(whole["state_dict"])
    moved = max(float((value - start[name]).abs().max()) for name, value in whole["state_dict"].items())
    far = max(float((sharded["state_dict"][name] - value).abs().max()) for name, value in whole["state_dict"].items())
    assert far < 1e-3 * moved
    rates = [
        [(group["lr"], group["weight_decay"], len(group["params"])) for group in saved["optimizer"]["param_groups"]]
        for saved in (whole, sharded)
    ]
    assert rates[0] == rates[1]
    assert len({decay for _, decay, _ in rates[0]}) == 2


def test_training_resumes_bit_for_bit(folder: Path, answers: dict[str, Any]) -> None:
    assert differing(outcome(folder / "whole"), outcome(folder / "stopped")) == []


def test_sharded_training_resumes_bit_for_bit(folder: Path, answers: dict[str, Any]) -> None:
    straight, resumed = (checkpoint(folder, name) for name in ("sharded", "resumed"))
    assert checkpoint(folder, "resumed", 2)["meta"]["iter"] == 2  # written again after the validation
    assert straight["meta"]["iter"] == resumed["meta"]["iter"] == 4
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in straight["state_dict"].items())
    assert straight["optimizer"]["base_param_settings"]["lr"] == resumed["optimizer"]["base_param_settings"]["lr"] != 0.01
    for name, averages in straight["optimizer"]["state"].items():
        assert all(torch.equal(value, resumed["optimizer"]["state"][name][key]) for key, value in averages.items())


def test_sharded_checkpoint_is_evaluated_by_one_process(folder: Path, answers: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    metrics = evaluate(TestOptions(Path("sharded.py"), Path("sharded/iter_4.pth"), Path("test_sharded")))
    assert "coco/bbox_mAP" in metrics


@pytest.mark.slow
def test_a_killed_process_ends_the_job(folder: Path) -> None:
    endless = ["train_cfg.max_iters=100000", "train_cfg.val_interval=100000", "default_hooks.checkpoint.interval=100000"]
    words = ["detector.py", "--launcher", "pytorch", "--work-dir", "killed", "--cfg-options", *endless]
    agent = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    with subprocess.Popen(
        [*agent, HOME / "tools" / "train.py", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        assert job.stdout is not None
        assert any("Iter(train) [     3/" in line for line in job.stdout)
        processes = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        assert len(processes) == 2
        os.kill(int(processes[1]), signal.SIGKILL)
        try:
            said, _ = job.communicate(timeout=PATIENCE)
        finally:
            job.kill()
    assert job.returncode not in (0, None)
    assert "exitcode  : -9" in said
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_a_bad_image_of_one_process_ends_both(answers: dict[str, Any]) -> None:
    """Images 0, 2, 4 are the first process's, 1 and 3 the second's."""
    (first, _), (second, said) = answers["bad image"]
    assert second == 2
    assert said.strip().splitlines()[-1].startswith("error: image data/coco/bad/000000000003.jpg: it cannot be decoded")
    assert first not in (0, None)


def test_missing_data_end_both(answers: dict[str, Any]) -> None:
    """The first process of a machine alone looks at the data."""
    (first, said), (second, _) = answers["missing data"]
    assert first == 2
    assert "error: dataset not found" in said
    assert second not in (0, None)


def test_slurm_without_srun(folder: Path) -> None:
    options = TrainOptions(folder / "detector.py", folder / "alone", launcher="slurm")
    with pytest.raises(InputError, match=r"--launcher slurm: expected srun's variables"):
        train(options)
