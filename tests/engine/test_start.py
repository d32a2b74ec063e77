"""The checkpoint that a run begins from is read once, by this package, and mmengine gets what was read."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmvit.engine.start import start_of

pytestmark = pytest.mark.stack


def test_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "epoch_1.pth"
    torch.save(dict(meta=dict(epoch=1), state_dict={"weight": torch.arange(3.0)}), file)
    reads = []
    load = torch.load
    monkeypatch.setattr(torch, "load", lambda *arguments, **options: reads.append(arguments) or load(*arguments, **options))
    start = start_of(Config(dict(load_from=str(file))))
    assert start is not None
    start.hand_over()
    content = CheckpointLoader.load_checkpoint(str(file), "cpu")
    assert content["meta"]["epoch"] == 1
    assert content["state_dict"]["weight"].tolist() == [0, 1, 2]
    assert len(reads) == 1
    torch.save(dict(state_dict={}), file)  # another run of this process reads the file as it is then
    assert CheckpointLoader.load_checkpoint(str(file), "cpu") == dict(state_dict={})
