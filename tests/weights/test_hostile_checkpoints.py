"""Checkpoint files that were made to do harm: no code of theirs runs, on any path."""

import io
import pickle
import tarfile
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from makers import Planted
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from states import PVT, refused, released, under

from mmvit.engine.start import Start, start_of
from mmvit.errors import CheckpointError, InputError
from mmvit.export.publishing import publish
from mmvit.predict.predictor import Predictor
from mmvit.weights.archives import read_checkpoint
from mmvit.weights.convert import convert
from mmvit.weights.whole import whole_of


class PlantedState(Planted):
    """Hides it behind a harmless class."""

    def __reduce__(self) -> tuple:
        return OrderedDict, (), {"hook": Planted(self.target)}


def history(payload: object) -> HistoryBuffer:
    buffer = HistoryBuffer()
    buffer.update(1.0)
    buffer.hook = payload
    return buffer


PLACES: dict[str, Callable[[Planted, dict], object]] = {
    "alone": lambda bomb, state: bomb,
    "among the tensors": lambda bomb, state: {**state, "head.hook": bomb},
    "beside them": lambda bomb, state: {"state_dict": state, "meta": bomb},
    "as a key": lambda bomb, state: {"state_dict": state, ("key", bomb): 1},
    "deep inside": lambda bomb, state: {"state_dict": OrderedDict(state), "meta": {"hooks": [{"x": (1, [bomb])}]}},
    "in an array": lambda bomb, state: {"state_dict": state, "meta": np.array([bomb], dtype=object)},
    "in logged values": lambda bomb, state: {"state_dict": state, "message_hub": {"log_scalars": {"loss": history(bomb)}}},
    "in the optimizer": lambda bomb, state: {"state_dict": state, "optimizer": {"state": {0: {"step": bomb}}}},
    "in attributes of a dict": lambda bomb, state: {"state_dict": state, "more": PlantedState(bomb.target)},
}


def legacy(content: object, file: Path) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=False)


def bare(content: object, file: Path) -> None:
    file.write_bytes(pickle.dumps(content))


def tarred(content: object, file: Path) -> None:
    """As torch wrote before 0.2."""
    with tarfile.open(file, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(content)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


WAYS: dict[str, Callable[[object, Path], None]] = {"archive": torch.save, "legacy": legacy, "pickle": bare, "tar": tarred}


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Path]:
    """Where code of a file would leave its trace."""
    yield tmp_path / "planted"
    assert not (tmp_path / "planted").exists(), "code of a file was run"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_code_is_never_run(tmp_path: Path, planted: Path, place: str, way: str) -> None:
    content = PLACES[place](Planted(planted), {"weight": torch.ones(2)})
    for name in ("file.pth", "file.safetensors"):
        WAYS[way](content, tmp_path / name)
        refused(tmp_path / name, "was not loaded|cannot be read")


@pytest.fixture
def hostile(tmp_path: Path, planted: Path) -> Path:
    torch.save({"state_dict": released(), "meta": Planted(planted)}, tmp_path / "hostile.pth")
    return tmp_path / "hostile.pth"


def test_code_is_not_run_on_the_way_to_a_backbone(hostile: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    for checkpoint in (str(hostile), hostile.as_uri()):
        model = PVT.build(init_cfg=dict(type="Pretrained", checkpoint=checkpoint))
        with pytest.raises(CheckpointError, match="could run code"):
            model.init_weights()


@pytest.mark.stack
def test_code_is_not_run_by_the_tools(hostile: Path) -> None:
    """What is evaluated or resumed is read before mmengine reads it, and so is what `load_from` names."""
    with pytest.raises(CheckpointError, match=r"hostile\.pth was not loaded.*could run code"):
        start_of(Config(dict(load_from=str(hostile))))
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such file"):
        start_of(Config(dict(load_from="absent.pth")))


def test_weights_alone_are_nothing_to_resume_from(tmp_path: Path) -> None:
    path = tmp_path / "best_mIoU_iter_80.pth"
    torch.save(dict(meta={}, message_hub={}, state_dict={}), path)
    with pytest.raises(InputError, match=rf"--resume {path}: no optimizer in it\. .* --cfg-options load_from={path}"):
        Start(str(path)).require_progress()


READERS: dict[str, Callable[[Path, Path], object]] = {
    "convert": lambda file, folder: convert(file, "authors", folder / "out.pth"),
    "publish": lambda file, folder: publish(file, folder / "out"),
    "predict": lambda file, folder: Predictor("fpn_pvt_v2_b0_ade20k", file, device="cpu"),
    "begin": lambda file, folder: Start(str(file)).fit(SimpleNamespace(model=PVT.build()), exactly=True),
    "read": lambda file, folder: whole_of(read_checkpoint(file), file, file, PVT.build()),
}


@pytest.mark.stack
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("harm", ["code", "settings", "claim", "sparse", "half"])
def test_no_path_believes_a_file(tmp_path: Path, planted: Path, reader: str, harm: str) -> None:
    """Code, also behind what stands in for the settings of scripts; claims; and files that end early."""
    state = under("backbone.", released())
    content = {
        "code": {"state_dict": state, "meta": Planted(planted)},
        "settings": {"state_dict": state, "args": Namespace(path=PurePosixPath("/x"), hook=Planted(planted))},
        "claim": {"state_dict": {**state, "backbone.pos_embed1": torch.zeros(1, 1, 8).expand(1, 2**40, 8)}},
        "sparse": {"state_dict": {**state, "x": torch.sparse_coo_tensor(size=(1, 2**40))}},
        "half": {"state_dict": state},
    }[harm]
    content |= {"meta": dict(cfg="model = dict()")} if harm != "code" else {}
    torch.save(content, tmp_path / "file.pth")
    if harm == "half":
        whole = (tmp_path / "file.pth").read_bytes()
        (tmp_path / "file.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"file\.pth"):
        READERS[reader](tmp_path / "file.pth", tmp_path)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.pth").exists()
