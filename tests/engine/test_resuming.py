"""What the config of a resumed run says and its checkpoint overrules, and the other way round with a new schedule."""

import shutil
from collections.abc import Callable
from logging.handlers import BufferingHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from small_run import kill, resumed, runner, train

from mmvit.compat.checkpoints import safe_load
from mmvit.engine.checkpoints import CheckpointHook, forget_other_best
from mmvit.engine.differences import of_parts, of_wrapper
from mmvit.errors import InputError
from mmvit.layers.forms import BANDS

pytestmark = pytest.mark.stack

HOOK = dict(type="mmvit.ResumeHook")
NEW = dict(type="mmvit.ResumeHook", new_schedule=True)


def schedule(first: float = 0.1, milestones: tuple[int, ...] = (1, 2), by_epoch: bool = True) -> list[dict]:
    return [
        dict(type="LinearLR", start_factor=first, by_epoch=False, begin=0, end=5),
        dict(type="MultiStepLR", by_epoch=by_epoch, milestones=list(milestones), gamma=0.5),
    ]


def optimizer(**options: Any) -> dict:
    return dict(optimizer=dict(**{**dict(type="AdamW", lr=1e-2), **options}))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by epochs of four iterations that was killed after the sixth."""
    folder = tmp_path_factory.mktemp("killed")
    kill(runner(folder, [dict(type="KillHook", at=6)], param_scheduler=schedule(), optim_wrapper=optimizer()))
    return folder


RESUME = "doubtful     resume       "


def told(folder: Path, hook: dict = HOOK, end: Callable[[Runner], None] = kill, **changes: Any) -> tuple[str, Runner]:
    """What a resumed run says, and the run, killed at its first iteration."""
    stop = dict(type="KillHook", at=1, moment="before_train_iter")
    settings = dict(param_scheduler=schedule(), optim_wrapper=optimizer(), log_level="WARNING")
    run = resumed(folder, hooks=[hook, stop], **{**settings, **changes})
    heard = BufferingHandler(1000)  # mmengine's loggers hand nothing on
    run.logger.addHandler(heard)
    end(run)
    lines = [record.getMessage() for record in heard.buffer]
    return "\n".join(line for line in lines if line.startswith(RESUME)), run


def test_nothing_is_said_where_nothing_differs(killed: Path) -> None:
    assert told(killed)[0] == ""


def test_a_training_that_is_over_says_so(killed: Path) -> None:
    """mmengine ends such a run at once and says nothing."""
    message, _ = told(killed, end=train, train_cfg=dict(type="mmvit.EpochBasedTrainLoop", max_epochs=1, val_interval=1))
    over = "nothing is left to train: the checkpoint has 6 of 4 iterations. To continue, raise train_cfg.max_epochs"
    assert f"{RESUME}{over}" in message.splitlines()


def test_what_the_checkpoint_overrules_is_told(killed: Path) -> None:
    message, run = told(
        killed,
        param_scheduler=schedule(0.2, (1, 3)),
        optim_wrapper=optimizer(lr=1e-3, weight_decay=0.1, betas=(0.8, 0.9)),
    )
    assert [line.strip() for line in message.removeprefix(RESUME).splitlines()] == [
        "the config has other settings than the checkpoint, and the checkpoint's count:",
        "optim_wrapper.optimizer.betas: (0.8, 0.9) in the config, (0.9, 0.999) in the checkpoint",
        "optim_wrapper.optimizer.weight_decay: 0.1 in the config, 0.01 in the checkpoint",
        "optim_wrapper.optimizer.lr: 0.001 in the config, 0.01 in the checkpoint",
        "param_scheduler.0.start_factor: 0.2 in the config, 0.1 in the checkpoint",
        "param_scheduler.1.milestones: [1, 3] in the config, [1, 2] in the checkpoint",
        "To take the config's: --resume --new-schedule",
    ]
    assert run.optim_wrapper.param_groups[0]["initial_lr"] == 1e-2


def test_other_schedules_and_what_else_differs(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = int(BANDS.is_chosen(True))
    monkeypatch.setenv(BANDS.variable, str(1 - before))  # as on another kind of machine
    loader = dict(batch_size=2, num_workers=0, sampler=dict(type="DefaultSampler"), dataset=dict(type="Noise"))
    message, _ = told(
        killed,
        param_scheduler=[dict(type="CosineAnnealingLR", T_max=3)],
        train_dataloader=loader,
        custom_hooks=[HOOK, dict(type="KillHook", at=1, moment="before_train_iter")],
    )
    assert "  param_scheduler: 1 schedules in the config, 2 in the checkpoint" in message
    assert "  param_scheduler.0.T_max: 3 in the config, nothing in the checkpoint" in message
    assert f"{RESUME}the checkpoint has averaged weights, the config no EMAHook" in message
    assert f"set in the environment: {BANDS.variable}={before}\n" in f"{message}\n"
    assert f"{RESUME}train_dataloader.batch_size: 2 now, 3 in the checkpoint. 2 counts" in message


def test_an_option_that_is_not_given_again_is_told() -> None:
    """`--amp` and accumulation, of which a type may be a class, and the text of it a path."""
    text = "optim_wrapper = dict(type='mmvit.BFloat16OptimWrapper', accumulative_counts=5, clip_grad=dict(max_norm=1))"
    now = Config(dict(optim_wrapper=dict(type=OptimWrapper, clip_grad=dict(max_norm=1))))
    assert list(map(str, of_wrapper(now, text))) == [
        "optim_wrapper.type: OptimWrapper in the config, BFloat16OptimWrapper in the checkpoint",
        "optim_wrapper.accumulative_counts: 1 in the config, 5 in the checkpoint",
    ]
    assert not list(of_wrapper(now, "optim_wrapper = dict(type='mmengine.optim.OptimWrapper', clip_grad=dict(max_norm=1))"))


def test_options_of_the_model_and_the_pipeline_are_told() -> None:
    """These are the config's; a user who forgets an option of the command line should know."""
    text = """
model = dict(
    backbone=dict(type='PVT', drop_path_rate=0.1, frozen_stages=1, init_cfg=dict(type='Pretrained', checkpoint='a')),
    head=dict(loss=[dict(type='mmengine.optim.OptimWrapper', class_weight=[1, 2])]), test_cfg=dict(k=1))
train_dataloader = dict(batch_size=2, dataset=dict(data_root='a', pipeline=[dict(type='Resize', scale=(8, 8))]))
"""
    changes = {"0.1": "0.2", "[1, 2]": "[1, 3]", "(8, 8)": "(9, 8)", "'a'": "'b'", "k=1": "k=2", "stages=1": "stages=2"}
    changed = text
    for before, after in changes.items():
        changed = changed.replace(before, after)
    same, now = Config.fromstring(text, ".py"), Config.fromstring(changed, ".py")
    same.model.head.loss[0].type = now.model.head.loss[0].type = OptimWrapper
    assert not list(of_parts(same, text))
    assert list(map(str, of_parts(now, text))) == [
        "model.backbone.drop_path_rate: 0.2 in the config, 0.1 in the checkpoint",
        "model.head.loss.0.class_weight: [1, 3] in the config, [1, 2] in the checkpoint",
        "train_dataloader.dataset.pipeline.0.scale: (9, 8) in the config, (8, 8) in the checkpoint",
    ]


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_new_schedule_is_that_of_a_training_with_it(tmp_path: Path, by_epoch: bool) -> None:
    """The rates after resuming are those of a run that began with the new options; the averages are the checkpoint's."""
    changes = dict(param_scheduler=schedule(0.3, (1, 2) if by_epoch else (3, 8), by_epoch), by_epoch=by_epoch)
    other = dict(param_scheduler=schedule(by_epoch=by_epoch), by_epoch=by_epoch)
    kill(runner(tmp_path / "old", [dict(type="KillHook", at=6)], optim_wrapper=optimizer(), **other))
    kill(runner(tmp_path / "new", [dict(type="KillHook", at=6)], optim_wrapper=optimizer(lr=3e-3), **changes))
    rates = rates_of(
        resumed(tmp_path / "new", hooks=[dict(type="KillHook", at=4)], optim_wrapper=optimizer(lr=3e-3), **changes)
    )
    old = safe_load(next((tmp_path / "old").glob("iter_*.pth")))
    run = resumed(tmp_path / "old", hooks=[NEW, dict(type="KillHook", at=4)], optim_wrapper=optimizer(lr=3e-3), **changes)
    assert rates_of(run) == pytest.approx(rates, rel=1e-12)
    assert len(set(rates)) > 1
    assert old["optimizer"]["param_groups"][0]["initial_lr"] == 1e-2
    saved = safe_load(sorted((tmp_path / "old").glob("iter_*.pth"))[-1])["optimizer"]
    assert saved["param_groups"][0]["initial_lr"] == 3e-3
    assert saved["state"][0]["step"] > 6


def rates_of(run: Runner) -> list[float]:
    """The learning rate of each iteration until the run is killed."""
    found: list[float] = []
    hook: Any = Hook()
    hook.before_train_iter = lambda runner, **_: found.append(runner.optim_wrapper.param_groups[0]["lr"])
    run.register_hook(hook)
    kill(run)
    return found


def test_averages_are_kept(killed: Path) -> None:
    state = safe_load(sorted(killed.glob("iter_*.pth"))[-1])["optimizer"]["state"]
    message, run = told(killed, hook=NEW, optim_wrapper=optimizer(lr=1e-3))
    assert message.startswith(
        f"{RESUME}the config has other settings than the checkpoint, and the config's count (--new-schedule)"
    )
    now = run.optim_wrapper.optimizer.state_dict()["state"]
    assert all(torch.equal(now[number]["exp_avg"], state[number]["exp_avg"]) for number in state)


def test_another_optimiser_cannot_go_on(killed: Path) -> None:
    """test_launch has more that differs, and the whole message."""
    wrapper = dict(**optimizer(weight_decay=0.01), paramwise_cfg=dict(norm_decay_mult=0.0))
    with pytest.raises(InputError, match="parameters in 1 groups, this config's has"):
        told(killed, optim_wrapper=wrapper)


def validating(ann_file: str, **more: Any) -> dict:
    return dict(dataset=dict(type="CocoDataset", data_root="data", ann_file=ann_file, data_prefix=dict(img="val/"), **more))


@pytest.mark.parametrize(
    ("options", "loader", "kept"),
    [
        (dict(save_best="mIoU"), validating("val.json"), ["best_ckpt", "best_score"]),
        (dict(save_best="mIoU", rule="greater"), validating("/elsewhere/val.json"), ["best_ckpt", "best_score"]),
        (dict(save_best=["aAcc", "mIoU"]), validating("val.json"), ["best_ckpt_mIoU", "best_score_mIoU"]),
        (dict(save_best="aAcc"), validating("val.json"), []),
        (dict(save_best="mIoU_small"), validating("val.json"), []),
        (dict(save_best="auto"), validating("val.json"), []),
        (dict(save_best="mIoU", rule="less"), validating("val.json"), []),
        (dict(save_best="mIoU"), validating("other.json"), []),
        (dict(save_best="mIoU"), validating("val.json", indices=2), []),
    ],
)
def test_the_best_by_another_metric_rule_or_set_is_no_longer_compared(options: dict, loader: dict, kept: list[str]) -> None:
    """mmengine has one score for whatever `save_best` names, and removes the file of the one before."""
    info = dict(best_ckpt="/run/best_mIoU_iter_2.pth", best_score=28.1, outdated_best=["/run/best_mIoU_iter_2.pth"])
    info["ranked_by"] = CheckpointHook(save_best="mIoU").ranked(Config(dict(val_dataloader=validating("val.json"))))
    run = SimpleNamespace(hooks=[CheckpointHook(**options)], cfg=Config(dict(val_dataloader=loader)))
    hub: dict[str, Any] = dict(runtime_info=info, resumed_keys={})
    said = list(forget_other_best(run, dict(message_hub=hub)))  # type: ignore[arg-type]
    assert sorted(key for key in info if key.startswith("best_")) == kept
    assert sorted(hub["resumed_keys"]) == kept, "or mmengine would not save them"
    assert [line.partition(" but ")[0] for line in said] == ([] if kept else ["/run/best_mIoU_iter_2.pth stays,"])
    assert info["outdated_best"] == (["/run/best_mIoU_iter_2.pth"] if kept else [])


def test_a_new_metric_leaves_the_file_of_the_old_one(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path / "run")
    before = next((tmp_path / "run").glob("best_score_*"))
    message, _ = told(tmp_path / "run", val_evaluator=dict(type="Score", prefix="new"), checkpoint=dict(save_best="new/score"))
    assert RESUME in message
    assert "the best by new/score is looked for" in message
    assert before.is_file()
