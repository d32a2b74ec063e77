"""Publishing: what is kept, what goes, what the card says, and that it is read back, from a hub as well."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hubs import Hub
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import save_checkpoint
from mmengine.utils import import_modules_from_strings
from predict.trained import shrink
from safetensors.torch import load_file, safe_open, save_file

from mmvit.__main__ import main
from mmvit.config.files import load_config, our_config
from mmvit.errors import CheckpointError
from mmvit.export.publishing import _figures, _unit
from mmvit.predict.predictor import Predictor
from mmvit.weights.archives import META, read_checkpoint
from mmvit.weights.whole import NORM_EPS

pytestmark = pytest.mark.stack

CLASSES = ("wall", "floor", "cat")
PALETTE = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training of a tiny segmenter from an authors' file."""
    folder = tmp_path_factory.mktemp("runs") / "fpn_tiny"
    folder.mkdir()
    cfg: Any = load_config(our_config("fpn_pvt_v2_b0_ade20k"))
    shrink(cfg, "PVTv2")
    cfg.model.decode_head.num_classes = 3
    cfg.work_dir, cfg.load_from = "/home/somebody/secret/runs", "/home/somebody/secret/start.pth"
    with DefaultScope.overwrite_default_scope("mmseg"):
        import_modules_from_strings(["mmseg.models"])
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint="mmvit://pvt_v2_b0")
    buffer = HistoryBuffer()
    buffer.update(1.0)
    meta = dict(epoch=0, iter=40, cfg=cfg.pretty_text, seed=7, experiment_name="secret", mmengine_version="0.10.7")
    content = dict(
        meta={**meta, "dataset_meta": dict(classes=CLASSES, palette=PALETTE, label_map=None), NORM_EPS: 1e-6},
        state_dict=model.state_dict(),
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0).state_dict(),
        message_hub=dict(log_scalars={"train/loss": buffer}, runtime_info=dict(iter=40)),
    )
    for name in ("iter_40.pth", "best_mIoU_iter_40.pth"):
        save_checkpoint(content, str(folder / name))
    (folder / "last_checkpoint").write_text(str(folder / "iter_40.pth"))
    log = folder / "20260101_000000/vis_data"
    log.mkdir(parents=True)
    entries = [dict(loss=2.0, step=20), dict(mIoU=11.0, aAcc=30.0, step=20), dict(mIoU=41.5, aAcc=80.25, time=1.0, step=40)]
    (log / "scalars.json").write_text("\n".join(map(json.dumps, entries)))
    return folder


@pytest.fixture(scope="module")
def published(work_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main(["publish", str(work_dir), "--out", str(out)]) == 0
    return out


def test_what_is_kept(published: Path, work_dir: Path) -> None:
    weights, safe = (next(published.glob(f"fpn_tiny-????????.{kind}")) for kind in ("pth", "safetensors"))
    for file in (weights, safe):
        assert hashlib.sha256(file.read_bytes()).hexdigest().startswith(file.stem.rpartition("-")[2])
    content, source = read_checkpoint(weights), read_checkpoint(work_dir / "iter_40.pth")
    assert content.keys() == {"meta", "state_dict"}
    assert content["meta"].keys() == {"epoch", "iter", "cfg", "dataset_meta", "mmengine_version", NORM_EPS}
    assert content["meta"]["dataset_meta"] == dict(classes=CLASSES, palette=PALETTE)
    assert all(torch.equal(value, source["state_dict"][name]) for name, value in content["state_dict"].items())
    assert content["state_dict"].keys() == source["state_dict"].keys() == load_file(safe).keys()
    for file in published.iterdir():
        assert b"secret" not in file.read_bytes()


@pytest.mark.parametrize(("by_epoch", "value"), [(True, "0.2"), (False, "0.8")])
def test_the_figures_are_of_the_checkpoints_own_step(by_epoch: bool, value: str) -> None:
    """Iteration 80 is in epoch 20, and there is an epoch 80, too."""
    log = [dict(mIoU=step / 100, step=step) for step in range(10, 101, 10)]
    cfg = dict(default_hooks=dict(logger=dict(log_metric_by_epoch=by_epoch)))
    assert _unit({}) == "epoch", "as mmengine's hook does"
    assert f"| mIoU | {value} |" in _figures(_unit(cfg), dict(epoch=20, iter=80), log)


def test_the_card(published: Path) -> None:
    card = (published / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "pipeline_tag: image-segmentation" in card
    assert "| mIoU | 41.5 |" in card
    assert "11" not in card.partition("## Figures")[2].partition("## Training")[0]
    assert "classes (3): wall, floor, cat" in card
    assert "ADE20KDataset" in card
    assert "Trained from mmvit://pvt_v2_b0, which its authors give under Apache-2.0" in card
    for file in published.glob("fpn_tiny*"):
        assert f"`{file.name}`: sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}" in card


def predict(checkpoint: Path | str, config: str | None = None) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    predictor = Predictor(config, checkpoint, device="cpu")
    assert predictor.classes == CLASSES
    return np.asarray(next(iter(predictor(image, channels="rgb"))).labels)


def test_both_formats_predict(published: Path, work_dir: Path) -> None:
    expected = predict(work_dir / "iter_40.pth")
    for file in published.glob("fpn_tiny-*"):
        assert (predict(file) == expected).all()


def test_to_a_hub_and_back(work_dir: Path, tmp_path: Path, host: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sesame")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/private.txt").write_text("not of this")
    assert main(["publish", str(work_dir), "--out", str(tmp_path / "out"), "--name", "net", "--hub", "me/net"]) == 0
    names = host.repos["me/net"]
    assert {Path(name).suffix for name in names} == {".md", ".pth", ".safetensors"}
    assert b"mmvit predict hf://me/net photo.jpg" in names["README.md"]
    assert any(line.endswith("Bearer hf_sesame") for line in host.asked if "/commit/" in line)
    assert (predict("hf://me/net") == predict(work_dir / "iter_40.pth")).all()


def test_an_edited_card_is_kept(work_dir: Path, tmp_path: Path, host: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    """Its writer has to add a licence; what it says of the place follows, and that of another model stays."""
    words = ["publish", str(work_dir), "--out", str(tmp_path), "--name"]
    assert main([*words, "net"]) == 0
    card = tmp_path / "README.md"
    card.write_text(f"{card.read_text()}\nOurs: MIT.\n")
    assert main([*words, "net", "--hub", "me/net"]) == 0
    assert host.repos["me/net"]["README.md"].endswith(b"Ours: MIT.\n")
    assert b"mmvit predict hf://me/net photo.jpg" in host.repos["me/net"]["README.md"]
    assert main([*words, "other"]) == 2
    assert "README.md is of another model, and is not replaced" in capsys.readouterr().err
    assert card.read_text().endswith("Ours: MIT.\n")


def test_a_hub_that_refuses(work_dir: Path, tmp_path: Path, host: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    host.do_POST = lambda self: self.answer(403, b"", {})  # type: ignore[method-assign]
    assert main(["publish", str(work_dir), "--out", str(tmp_path / "out"), "--hub", "me/net"]) == 2
    assert "--hub me/net: not uploaded" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_what_cannot_be_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no best_*.pth and no last_checkpoint" in capsys.readouterr().err
    torch.save({"weight": torch.ones(1)}, tmp_path / "bare.pth")
    assert main(["publish", str(tmp_path / "bare.pth"), "--out", str(tmp_path / "out")]) == 2
    assert "there is no config in it" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[1]", "{", "null", '{"a": ' * 2000])
def test_headers_of_strangers(tmp_path: Path, text: str) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "file.safetensors", metadata={META: text})
    with safe_open(tmp_path / "file.safetensors", "pt") as file:
        assert file.metadata()[META] == text
    with pytest.raises(CheckpointError, match=r"file\.safetensors \(\d+ bytes\) cannot be read as a checkpoint"):
        read_checkpoint(tmp_path / "file.safetensors")
