"""mmengine's checkpoints under `weights_only=True`, on both stacks; the one that a run begins from is read once."""

import os
import pickle
import re
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
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

from mmvit.compat.checkpoints import safe_load
from mmvit.engine.start import start_of

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
