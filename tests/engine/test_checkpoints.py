"""mmengine's checkpoints under `weights_only=True`, on both stacks; the one that a run begins from is read once."""

import os
import pickle
import re
import stat
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.registry import METRICS
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from small_run import Score, runner, train

from mmvit.compat.checkpoints import safe_load
from mmvit.engine.checkpoints import CheckpointHook
from mmvit.engine.start import Start, start_of
from mmvit.engine.storage import WholeFiles, write_whole
from mmvit.weights.whole import THRESHOLD

pytestmark = pytest.mark.stack


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    history = HistoryBuffer()
    for value in (3.0, 1.0, 2.0):
        history.update(value)
    content = {
        "state_dict": {"weight": torch.ones(2)},
        "message_hub": {"log_scalars": {"train/loss": history}, "resumed_keys": {"train/loss": True}},
        "meta": {"seed": np.int64(3), "rates": np.array([0.1, 0.2]), "flag": np.bool_(True), "half": np.float16(0.5)},
    }
    torch.save(content, tmp_path / "run.pth")
    return tmp_path / "run.pth"


def test_mmengine_loads_its_own(checkpoint: Path) -> None:
    content = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
    history = content["message_hub"]["log_scalars"]["train/loss"]
    assert history.min() == 1.0
    assert history.statistics("mean") == 2.0
    assert content["meta"]["seed"] == 3
    assert content["meta"]["rates"].tolist() == [0.1, 0.2]


def test_loading_twice_and_through_torch(checkpoint: Path) -> None:
    safe_load(checkpoint)
    assert torch.load(checkpoint, weights_only=True)["meta"]["half"] == 0.5
    model = torch.nn.Linear(1, 2, bias=False)
    model.weight.data.zero_()
    torch.save({"state_dict": {"weight": torch.ones(2, 1)}}, checkpoint)
    load_checkpoint(model, str(checkpoint), map_location="cpu")
    assert model.weight.sum() == 2


@pytest.mark.parametrize("module", [b"numpy.core", b"numpy._core"])
def test_names_of_numpy_1_and_2_load(checkpoint: Path, tmp_path: Path, module: bytes) -> None:
    """NumPy 1 pickled its functions as `numpy.core`, NumPy 2 as `numpy._core`; the file is rewritten as of either."""
    old = tmp_path / "old.pth"
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(old, "w", zipfile.ZIP_STORED) as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                content, found = re.subn(rb"cnumpy\._?core\.multiarray\n", b"c" + module + b".multiarray\n", content)
                assert found
            target.writestr(item.filename, content)
    assert safe_load(old)["meta"]["seed"] == 3


class Call:
    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple:
        return self.reduced


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Base URL under which this machine serves the test's folder to itself."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls_load(checkpoint: Path, address: str) -> None:
    content = CheckpointLoader.load_checkpoint(f"{address}/{checkpoint.name}", map_location="cpu")
    assert content["message_hub"]["log_scalars"]["train/loss"].max() == 3.0


@pytest.mark.parametrize("attack", ["mkdir", "getattr"])
@pytest.mark.parametrize("way", ["file", "url"])
def test_hostile_files_are_refused(tmp_path: Path, address: str, attack: str, way: str) -> None:
    """By both stacks' loaders, which by themselves unpickle what comes from a URL, and the forks' what was refused."""
    planted = tmp_path / "planted"
    calls = {
        "mkdir": Call(os.mkdir, str(planted)),
        "getattr": Call(getattr, HistoryBuffer, "__init__"),  # one step from there to everything
    }
    torch.save({"state_dict": {}, "payload": calls[attack]}, tmp_path / "file.pth")
    source = {"file": str(tmp_path / "file.pth"), "url": f"{address}/file.pth"}
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        CheckpointLoader.load_checkpoint(source[way], map_location="cpu")
    assert not planted.exists()


@METRICS.register_module()
class Choosing(Score):
    """A metric that chooses another threshold in each validation, and has ever worse figures."""

    count = 0

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        self.count += 1
        return dict(score=-self.count, threshold=self.count / 10)


def test_each_checkpoint_holds_the_threshold_of_its_validation(tmp_path: Path) -> None:
    """Also those that are not the best."""
    run = runner(
        tmp_path, val_evaluator=dict(type="Choosing"), checkpoint=dict(interval=2, max_keep_ckpts=9), param_scheduler=None
    )
    train(run)
    noted = {number: safe_load(tmp_path / f"iter_{number}.pth")["meta"].get(THRESHOLD) for number in (2, 4, 6, 8, 10, 12)}
    assert noted == {2: None, 4: 0.1, 6: 0.1, 8: 0.2, 10: 0.2, 12: 0.3}


def test_former_best_of_a_folder_that_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hook = CheckpointHook()
    hook.out_dir, hook.file_backend = "runs/../runs/a", WholeFiles()
    for name in ("a/best.pth", "b/best.pth"):
        (tmp_path / "runs" / name).parent.mkdir(parents=True)
        (tmp_path / "runs" / name).touch()
    hook._remove([str(tmp_path / "runs" / name) for name in ("a/best.pth", "b/best.pth")])
    assert [path.parent.name for path in tmp_path.rglob("*.pth")] == ["b"]


def test_disks_that_cannot_flush_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    write_whole(tmp_path / "a.txt", b"a")
    assert (tmp_path / "a.txt").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("launcher", "variable", "copied"), [("pytorch", "RANK", False), ("slurm", "SLURM_PROCID", False), ("none", "RANK", True)]
)
def test_only_the_first_process_copies_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str, copied: bool
) -> None:
    """mmengine makes a group of the processes later."""
    old, new, run = tmp_path / "old", tmp_path / "new", "20261130_101010"
    (old / run / "vis_data").mkdir(parents=True)
    (old / run / "vis_data" / "scalars.json").touch()
    torch.save(dict(state_dict={}, meta=dict(experiment_name=f"x_{run}")), old / "iter_1.pth")
    start, cfg = Start(str(old / "iter_1.pth")), Config(dict(work_dir=str(new), launcher=launcher))
    monkeypatch.setenv(variable, "1")
    assert start.carry_over(cfg) == (new / run).exists() == copied
    monkeypatch.setenv(variable, "0")
    assert start.carry_over(cfg) != copied
    assert (new / run).exists()


def test_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "epoch_1.pth"
    torch.save(dict(meta=dict(epoch=1), state_dict={"weight": torch.arange(3.0)}), file)
    reads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: reads.append(arguments) or load(*arguments, **options))
    start = start_of(Config(dict(load_from=str(file))))
    start.hand_over()
    content = CheckpointLoader.load_checkpoint(str(file), "cpu")
    assert content["meta"]["epoch"] == 1
    assert content["state_dict"]["weight"].tolist() == [0, 1, 2]
    assert len(reads) == 1
    torch.save(dict(state_dict={}), file)  # another run of this process reads the file as it is then
    assert CheckpointLoader.load_checkpoint(str(file), "cpu") == dict(state_dict={})
