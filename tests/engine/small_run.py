"""A training of seconds whose every batch is random, killed where a test wants it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from mmengine.runner import Runner, find_latest_checkpoint
from torch import Tensor, nn

BFLOAT16 = dict(
    type="mmvit.BFloat16OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2),
    clip_grad=dict(max_norm=1.0),
    accumulative_counts=1,
)
SAMPLES, BATCH = 11, 3  # four batches an epoch, the last of two samples


class Killed(BaseException):
    """What the tests end a run with: nothing in mmengine catches it."""


@DATASETS.register_module()
class Noise(BaseDataset):
    """Images made of the global random streams of Python, NumPy and torch, as transforms draw from them."""

    def load_data_list(self) -> list[dict]:
        return [dict(number=number) for number in range(SAMPLES)]

    def __getitem__(self, index: int) -> dict:
        drawn = random.random() + np.random.rand() + torch.rand(3, 32, 32)
        return dict(inputs=drawn + index, data_samples=index)


@MODELS.register_module()
class Classifier(BaseModel):
    """A backbone with batch norm and drop path, and a head with dropout."""

    def __init__(self, poison: int | None = None) -> None:
        super().__init__()
        family = next(family for family in FAMILIES if family.name == "VAN")
        self.backbone = family.build(drop_path_rate=0.3, out_indices=(3,))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(self.backbone.out_channels[0], 1))
        self.poison = poison
        self.seen = 0

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        scores = self.head(self.backbone(torch.stack(list(inputs)))[0].mean((2, 3)))
        if mode == "predict":
            return list(scores)
        if self.poison is not None:
            self.seen += 1
            scores = scores / (self.seen != self.poison)
        return dict(loss=(scores - 1).square().mean())


@METRICS.register_module()
class Score(BaseMetric):
    def process(self, data_batch: Any, data_samples: list[Tensor]) -> None:
        self.results += [float(score) for score in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return dict(score=-abs(sum(results)))


@HOOKS.register_module()
class KillHook(Hook):
    """Ends the run as it is about to do something for the `at`-th time."""

    priority = "LOWEST"

    def __init__(self, at: int, moment: str = "after_train_iter") -> None:
        self.left = at
        setattr(self, moment, self.count)

    def count(self, *_: Any, **__: Any) -> None:
        self.left -= 1
        if not self.left:
            raise Killed


def runner(work_dir: Path, hooks: list | None = None, **changes: Any) -> Runner:
    """A runner of three epochs, by iterations where `by_epoch` is false, that saves after each iteration or epoch."""
    runner.count += 1  # type: ignore[attr-defined]
    by_epoch = changes.pop("by_epoch", True)
    workers = changes.pop("workers", 0)
    sampler = changes.pop("sampler", "DefaultSampler")
    checkpoint = dict(
        type="mmvit.CheckpointHook", by_epoch=False, interval=1, max_keep_ckpts=1, save_best="score", rule="greater"
    )
    train_cfg = (
        dict(type="mmvit.EpochBasedTrainLoop", max_epochs=3, val_interval=1)
        if by_epoch
        else dict(type="mmvit.IterBasedTrainLoop", max_iters=11, val_interval=4)
    )
    noise = dict(type="Noise", serialize_data=False)
    options: dict[str, Any] = dict(
        model=dict(type="Classifier", poison=changes.pop("poison", None)),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=BATCH,
            num_workers=workers,
            persistent_workers=workers > 0,
            sampler=dict(type=sampler, shuffle=True),
            dataset=noise,
        ),
        val_dataloader=dict(batch_size=5, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False), dataset=noise),
        val_evaluator=dict(type="Score"),
        train_cfg=train_cfg,
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-2), clip_grad=dict(max_norm=1.0)),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=5),
            dict(type="CosineAnnealingLR", by_epoch=by_epoch, T_max=3),
        ],
        default_hooks=dict(checkpoint={**checkpoint, **changes.pop("checkpoint", {})}),
        custom_hooks=[dict(type="EMAHook"), *(hooks or [])],
        log_level="ERROR",
        randomness=dict(seed=changes.pop("seed", 7)),
        experiment_name=f"resume {runner.count}",  # type: ignore[attr-defined]
    )
    return Runner(**{**options, **changes})


runner.count = 0  # type: ignore[attr-defined]


def train(run: Runner) -> None:
    """Trains; its data workers end with it, for which the garbage collector would need seconds."""
    try:
        run.train()
    finally:
        loop = run.train_loop
        loop.dataloader_iterator = loop.dataloader._iterator = None


def kill(run: Runner) -> None:
    with pytest.raises(Killed):
        train(run)


def resumed(work_dir: Path, **changes: Any) -> Runner:
    return runner(work_dir, resume=True, load_from=find_latest_checkpoint(str(work_dir)), **changes)
