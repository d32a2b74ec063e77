"""A run that was killed and resumed ends with the very bits of one that was not; what it saves is whole at any moment."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from makers import tiers
from mmengine.registry import HOOKS
from mmengine.runner import find_latest_checkpoint
from small_run import SAMPLES, Killed, KillHook, kill, resumed, runner, train

from benchmarks.stress import differing, outcome
from mmvit.compat.checkpoints import safe_load
from mmvit.engine.checkpoints import INTERRUPTED, CheckpointHook
from mmvit.engine.interruption import Interruption
from mmvit.engine.storage import WholeFiles, write_whole
from mmvit.errors import CheckpointError, InputError

pytestmark = pytest.mark.stack

WAYS = {
    "epochs": dict(by_epoch=True),
    "epochs, workers": dict(by_epoch=True, workers=2),
    "iterations": dict(by_epoch=False, sampler="InfiniteSampler"),
    "iterations, workers": dict(by_epoch=False, sampler="InfiniteSampler", workers=2),
    "iterations over epochs": dict(by_epoch=False),
    "without a seed": dict(by_epoch=True, seed=None),
}


@pytest.mark.parametrize("way", tiers(WAYS, ("epochs, workers", "iterations", "without a seed").__contains__))
def test_killed_anywhere_ends_with_the_same_bits(tmp_path: Path, way: str) -> None:
    options = WAYS[way]
    if options.get("seed", 7) is None:  # drawn as the run begins, kept in its checkpoints
        kill(runner(tmp_path / "killed", [dict(type="KillHook", at=2)], **options))
        seed = safe_load(find_latest_checkpoint(str(tmp_path / "killed")))["meta"]["seed"]
        train(runner(tmp_path / "whole", **{**options, "seed": seed}))
    else:
        train(runner(tmp_path / "whole", **options))
    for at in (1, 2, 4, 3):  # within an epoch, at its end, at the end of the next, within it
        kill(resumed(tmp_path / "killed", hooks=[dict(type="KillHook", at=at)], **options))
    train(resumed(tmp_path / "killed", **options))
    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    assert f"train/loss.{whole['iter'] - 1}" in whole
    assert whole["iter"] > 10
    assert differing(whole, killed) == []


def differs(folder: Path, killed_by: KillHook, **options: Any) -> list[str]:
    """What differs between a training, and the same one that was killed and resumed."""
    train(runner(folder / "whole", **options))
    kill(runner(folder / "killed", [killed_by], **options))
    train(resumed(folder / "killed", **options))
    return differing(outcome(folder / "whole"), outcome(folder / "killed"))


def test_stock_loops_differ_after_a_kill(tmp_path: Path) -> None:
    """What the test above would not notice if nothing here were random."""
    loop = dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1)
    assert "train/loss.4" in differs(tmp_path, KillHook(4), train_cfg=loop)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_validation_that_was_killed_is_made_up_for(tmp_path: Path, by_epoch: bool) -> None:
    hook = KillHook(2, "after_val_iter")
    assert differs(tmp_path, hook, by_epoch=by_epoch, checkpoint=dict(by_epoch=by_epoch)) == []


def test_the_best_metric_is_kept_after_a_kill_before_it(tmp_path: Path) -> None:
    """The one validation comes after the last checkpoint, which is written again with what it found."""
    loop = dict(type="mmvit.EpochBasedTrainLoop", max_epochs=2, val_begin=2)
    assert differs(tmp_path, KillHook(8), train_cfg=loop) == []


MOMENTS = {
    "half written": (os, "fsync"),
    "whole, but not yet named": (Path, "replace"),
    "the outdated not yet removed": (WholeFiles, "remove"),
}


def test_a_best_checkpoint_that_is_gone_is_not_the_best(tmp_path: Path) -> None:
    """A run that resumes from before a better one replaced it ended with the name of a file that is not there."""
    options: dict[str, Any] = dict(by_epoch=False, seed=3)
    train(runner(tmp_path, checkpoint=dict(max_keep_ckpts=-1), **options))
    for file in tmp_path.glob("best_*.pth"):
        file.unlink()
    loop = dict(type="mmvit.IterBasedTrainLoop", max_iters=7, val_interval=7)
    run = runner(tmp_path, resume=True, load_from=str(tmp_path / "iter_5.pth"), train_cfg=loop, **options)
    train(run)
    hook = next(hook for hook in run.hooks if isinstance(hook, CheckpointHook))
    assert Path(str(hook.best_ckpt_path)).name == "best_score_iter_7.pth"
    assert Path(str(hook.best_ckpt_path)).is_file()


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_checkpoint_at_least_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """With `max_keep_ckpts=1`, a run that is killed while it saves leaves a whole checkpoint, and nothing for ever."""
    train(runner(tmp_path / "whole"))
    for at in (4, 8):  # of the removals, the eighth is of the best checkpoint so far
        folder = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(*MOMENTS[moment], killing(getattr(*MOMENTS[moment]), at))
            kill(runner(folder))
        assert safe_load(find_latest_checkpoint(str(folder)))["meta"]["iter"] > 0
        train(resumed(folder))
        assert differing(outcome(tmp_path / "whole"), outcome(folder)) == []
        assert files(folder) == files(tmp_path / "whole")


@pytest.mark.parametrize("most", [4, 20])
def test_as_many_checkpoints_stay_as_asked_for(tmp_path: Path, most: int) -> None:
    """Through a resumed run, too; mmengine removes by the list of them in the checkpoint as it begins."""
    options: dict[str, Any] = dict(checkpoint=dict(max_keep_ckpts=most, save_best=None, rule=None))
    kill(runner(tmp_path, [dict(type="KillHook", at=4)], **options))
    assert sorted(int(path.stem[5:]) for path in tmp_path.glob("iter_*.pth")) == [1, 2, 3, 4]
    train(resumed(tmp_path, **options))
    assert sorted(int(path.stem[5:]) for path in tmp_path.glob("iter_*.pth")) == list(range(1, 13))[-most:]


@pytest.mark.parametrize(("by_epoch", "name"), [(True, "epoch_2.pth"), (False, "iter_8.pth")])
def test_a_training_that_ends_early_can_go_on(tmp_path: Path, by_epoch: bool, name: str) -> None:
    """It ends after two validations, before the first regular checkpoint is due."""
    options = dict(by_epoch=by_epoch, checkpoint=dict(by_epoch=by_epoch, interval=100, save_best=None))
    ending = dict(type="EarlyStoppingHook", monitor="score", rule="greater", patience=1, min_delta=1e9)
    train(runner(tmp_path, [ending], **options))
    assert Path(find_latest_checkpoint(str(tmp_path))).name == name
    train(runner(tmp_path / "whole", **options))
    train(resumed(tmp_path, **options))
    assert differing(outcome(tmp_path / "whole"), outcome(tmp_path)) == []


def killing(function: Callable, at: int) -> Callable:
    """The function, except that its call number `at` is killed before it does anything."""
    calls = iter(range(1, at + 1))

    def call(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) == at:
            raise Killed
        return function(*arguments, **options)

    return call


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix in (".pth", ".partial")} | {
        find_latest_checkpoint(str(folder))[len(str(folder)) :]
    }


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on a file's size stands for a full disk: the system refuses to write on in both cases."""
    path = tmp_path / "iter_1.pth"
    write_whole(path, b"old")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        with pytest.raises(CheckpointError, match=r"iter_1.pth could not be written .*: 2\.0 MB, where .* MB are free"):
            write_whole(path, bytes(2_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["iter_1.pth"]
    with pytest.raises(CheckpointError, match=r"\(File exists\).*: see to .*iter_1\.pth and use --resume"):
        write_whole(path / "iter_2.pth", b"new")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_signals_save_and_exit(tmp_path: Path, by_epoch: bool, workers: int) -> None:
    """With regular checkpoints far apart, a run that gets SIGTERM, then one that gets Ctrl-C, lose no iteration."""
    rare = dict(by_epoch=by_epoch, workers=workers, checkpoint=dict(interval=100))
    before = signal.getsignal(signal.SIGINT)  # a shell starts jobs in the background with Ctrl-C ignored
    train(runner(tmp_path / "whole", **rare))
    for hook, status in (("SIGTERM", 143), ("SIGINT", 130)):
        with pytest.raises(SystemExit) as left:
            train(resumed(tmp_path / "stopped", hooks=[dict(type="SignalHook", at=3, name=hook)], **rare))
        assert left.value.code == status
        assert Path(find_latest_checkpoint(str(tmp_path / "stopped"))).name == INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is before
    assert safe_load(tmp_path / "stopped" / INTERRUPTED)["meta"]["iter"] == 6
    train(resumed(tmp_path / "stopped", **rare))
    assert differing(outcome(tmp_path / "whole"), outcome(tmp_path / "stopped")) == []
    assert not (tmp_path / "stopped" / INTERRUPTED).exists(), "the regular checkpoint after it takes its place"


@HOOKS.register_module()
class SignalHook(KillHook):
    """Sends a signal to this process and its data workers, as terminals do with Ctrl-C and torchrun with SIGTERM."""

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at, "before_train_iter")
        self.number = signal.Signals[name]

    def count(self, *_: Any, **__: Any) -> None:
        self.left -= 1
        if not self.left:
            for process in (os.getpid(), *(worker.pid for worker in multiprocessing.active_children())):
                os.kill(process, self.number)


def test_a_loader_without_batches_is_told(tmp_path: Path) -> None:
    run = runner(tmp_path, by_epoch=False)
    run._train_dataloader["drop_last"] = True
    run._train_dataloader["batch_size"] = SAMPLES + 1
    with pytest.raises(InputError, match="train_dataloader gives no batch"):
        run.train()


def answer(end: Connection) -> None:
    """Say how a forked process treats SIGTERM, then wait."""
    end.send(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
    time.sleep(600)


@pytest.fixture
def foreground() -> Iterator[None]:
    """Ctrl-C as in the foreground: a shell lets what it starts with `&` ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.once
@pytest.mark.usefixtures("foreground")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_forked_processes_end_at_a_signal(number: int) -> None:
    """VOCMetric evaluates in a pool: its processes ignored SIGTERM, and `Pool.terminate` waited for ever."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with Interruption() as interruption:
        process = context.Process(target=answer, args=(theirs,))
        process.start()
        try:
            assert ours.recv()
            os.kill(process.pid, number)
            process.join(timeout=30)
            assert not process.is_alive()
            assert process.exitcode != 0
        finally:
            process.kill()
            process.join()
        assert interruption.number == 0, "the training goes on"


@pytest.mark.once
def test_pools_are_terminated_as_they_start() -> None:
    """Python forgets signals that reach a process between the fork and its first action."""
    with Interruption():
        for _ in range(5):
            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.starmap(max, [(1, 2)] * 4) == [2] * 4
