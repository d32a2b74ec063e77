"""Each head, exported, gives what its checkpoint gives; a file that would not is never written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from makers import HOME
from mmengine.config import Config
from tiny import SIZES, require_same, write_checkpoint, write_config, write_photographs

import mmvit
from mmvit.commands import export, inspect
from mmvit.errors import InputError
from mmvit.export.models import from_config

pytestmark = pytest.mark.stack
HEADS = [
    "retinanet-PVTv2",
    "fpn-PVT",
    *(pytest.param(name, marks=pytest.mark.once) for name in ("mask_rcnn-VAN", "upernet-VOLO", "segformer-ShuntedTransformer")),
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs") / "photographs")


@pytest.fixture(scope="module", params=HEADS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A config, its checkpoint, and the ONNX file that `mmvit export` wrote."""
    folder = tmp_path_factory.mktemp("export")
    head, family = request.param.split("-")
    config = write_config(folder, head, family)
    checkpoint = write_checkpoint(config)
    out = folder / "model.onnx"
    assert export.main([str(config), str(checkpoint), "--out", str(out)]) == 0
    return config, checkpoint, out


def test_an_exported_model_gives_what_its_checkpoint_gives(exported: tuple[Path, Path, Path], photographs: Path) -> None:
    config, checkpoint, out = exported
    found = list(mmvit.Predictor(None, out, score=0.02)(photographs))
    wanted = list(mmvit.Predictor(config, checkpoint, score=0.02, device="cpu")(photographs))
    assert [result.size for result in found] == list(SIZES)
    for one, other in zip(found, wanted, strict=True):
        require_same(one, other)


def test_the_file_tells_what_it_is(exported: tuple[Path, Path, Path], capsys: pytest.CaptureFixture) -> None:
    config, _, out = exported
    assert inspect.main([str(out)]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert json.loads(told["classes"]) == list("abcde")
    assert json.loads(told["config"]) == config.stem
    assert len(json.loads(told["checkpoint_sha256"])) == 64
    assert json.loads(told["scale"]) == dict(scale=[320, 200], keep_ratio=True)
    assert json.loads(told["mean"]) == pytest.approx([123.675, 116.28, 103.53])


def test_the_command_predicts_without_the_training_stack(
    exported: tuple[Path, Path, Path], photographs: Path, tmp_path: Path
) -> None:
    _, _, out = exported
    blocked = ["torch", "torchvision", "timm", "mmcv", "mmdet", "mmseg", "mmengine", "onnx", "onnxscript", "PIL"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked})); from mmvit.__main__ import main; "
        f"sys.exit(main({['predict', str(out), str(photographs), '--score', '0.02', '--out', str(tmp_path)]}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=HOME)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["file_name"] for entry in written["images"]] == [str(photographs / "0.png"), str(photographs / "1.png")]
    assert written["annotations"] or all(len(entry["shares"]) > 1 for entry in written["images"])
    assert (tmp_path / "overlays" / "0.jpg").is_file()


@pytest.mark.once
@pytest.mark.parametrize(
    ("exported", "to", "name"),
    [
        ("retinanet-PVTv2", "pt2", "model.pt2"),
        ("retinanet-PVTv2", "openvino", "model.xml"),
    ],
    indirect=["exported"],
)
def test_other_formats_give_the_same(exported: tuple[Path, Path, Path], photographs: Path, to: str, name: str) -> None:
    config, checkpoint, onnx = exported
    out = onnx.with_name(name)
    assert export.main([str(config), str(checkpoint), "--to", to, "--out", str(out)]) == 0
    found, wanted = (mmvit.Predictor(None, file, score=0.02)(photographs) for file in (out, onnx))
    for one, other in zip(found, wanted, strict=True):
        require_same(one, other)
    assert inspect.main([str(out)]) == 0


def test_a_model_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = write_config(tmp_path, "fpn", "VAN")
    checkpoint = write_checkpoint(config)
    monkeypatch.setattr("mmvit.export.preprocessing.Preprocessing.forward", lambda _, image: image.permute(0, 3, 1, 2) / 255.0)
    out = tmp_path / "out"
    out.mkdir()
    words = [str(config), str(checkpoint), "--size", "64x96", "--out", str(out / "model.onnx")]
    assert export.main(words) == 2
    assert "Nothing was written" in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("head", "changes", "words"),
    [
        ("fpn", dict(test_cfg=dict(mode="slide", crop_size=(64, 64), stride=(32, 32))), "slide"),
        ("retinanet", dict(test_cfg=dict(nms=dict(type="soft_nms"))), "soft_nms"),
        (
            "retinanet",
            dict(
                bbox_head=dict(
                    type="GFLHead",
                    in_channels=8,
                    feat_channels=32,
                    num_classes=5,
                    anchor_generator=dict(ratios=[1.0], scales_per_octave=1),
                )
            ),
            "GFLHead",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path: Path, head: str, changes: dict, words: str) -> None:
    config = write_config(tmp_path, head, "VAN", **changes)
    with pytest.raises(InputError, match=words):
        from_config(config, write_checkpoint(config))


def test_a_step_of_the_pipeline_that_the_runner_does_not_follow_is_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, "fpn", "VAN")
    checkpoint = write_checkpoint(config)
    cfg = Config.fromfile(config)
    cfg.test_dataloader.dataset.pipeline.insert(2, dict(type="RandomFlip", prob=1.0))
    cfg.dump(config)
    with pytest.raises(InputError, match="RandomFlip"):
        from_config(config, checkpoint)


def test_a_fixed_size_takes_no_other(tmp_path: Path) -> None:
    config = write_config(tmp_path, "fpn", "PVT")
    out = tmp_path / "model.onnx"
    assert export.main([str(config), str(write_checkpoint(config)), "--size", "200x300", "--out", str(out)]) == 0
    predictor = mmvit.Predictor(None, out)
    (result,) = predictor(np.zeros((100, 150, 3), np.uint8), channels="bgr")
    assert result.size == (100, 150)
    with pytest.raises(InputError, match="200 x 300 only"):
        list(predictor(np.zeros((100, 100, 3), np.uint8), channels="bgr"))
