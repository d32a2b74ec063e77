"""Tiny copies of each head, exported and compared end to end with the trained model."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from families import FAMILIES
from makers import HOME
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvit.backbones.pvt_v2 import pool
from mmvit.commands import export, inspect
from mmvit.errors import InputError
from mmvit.export import runner
from mmvit.export.models import from_config
from mmvit.export.verify import SIZES, pictures, trained

pytestmark = pytest.mark.stack
WIDTH = 8
CLASSES = 5
FAMILY = {family.name: family for family in FAMILIES}
CHANGES = dict(
    retinanet=dict(bbox_head=dict(in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=1, num_classes=CLASSES)),
    mask_rcnn=dict(
        rpn_head=dict(in_channels=WIDTH, feat_channels=WIDTH),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=WIDTH),
            mask_roi_extractor=dict(out_channels=WIDTH),
            bbox_head=dict(in_channels=WIDTH, fc_out_channels=16, num_classes=CLASSES),
            mask_head=dict(in_channels=WIDTH, conv_out_channels=WIDTH, num_convs=1, num_classes=CLASSES),
        ),
    ),
    fpn=dict(decode_head=dict(in_channels=[WIDTH] * 4, channels=WIDTH, num_classes=CLASSES)),
)


def write_trained(folder: Path, head: str, family: str, **arch) -> tuple[Path, Path]:
    """Write a config and a checkpoint whose scores are spread, as a trained model's are."""
    torch.manual_seed(0)
    cfg = Config.fromfile(HOME / f"configs/_base_/heads/{head}.py")
    cfg.default_scope = "mmseg" if head == "fpn" else "mmdet"
    cfg.model.backbone = dict(type=f"mmvit.{family}", arch=dict(FAMILY[family].tiny, **arch))
    init_default_scope(cfg.default_scope)
    backbone = MODELS.build(cfg.model.backbone)
    neck = dict(in_channels=list(backbone.channels), out_channels=WIDTH)
    cfg.merge_from_dict(dict(model=dict(neck=neck, **CHANGES[head])))
    cfg.test_pipeline = [dict(type="Resize", scale=(320, 200), keep_ratio=True)]
    file = folder / f"{head}.py"
    cfg.dump(file)
    model = MODELS.build(cfg.model)
    model.init_weights()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("retina_cls.weight", "fc_cls.weight", "conv_seg.weight", "conv_logits.weight", "rpn_cls.weight")):
                parameter.normal_(std=0.3)
    checkpoint = folder / f"{head}.pth"
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=tuple("abcde")))), checkpoint)
    return file, checkpoint


@pytest.fixture(scope="module", params=["retinanet-PVTv2", "mask_rcnn-VAN", "fpn-PVT"])
def exported(request, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A config, its checkpoint, and the ONNX file that `mmvit export` wrote."""
    folder = tmp_path_factory.mktemp("export")
    head, family = request.param.split("-")
    config, checkpoint = write_trained(folder, head, family)
    out = folder / "model.onnx"
    assert export.main([str(config), str(checkpoint), "--out", str(out)]) == 0
    return config, checkpoint, out


@pytest.mark.parametrize("size", [(211, 333), (97, 140)])
def test_the_runner_gives_what_the_model_gives(exported, size) -> None:
    config, checkpoint, out = exported
    exportable = from_config(config, checkpoint, None)
    image = pictures([size], seed=3)[0][0].numpy()
    run = runner.Runner(out, score=0.02)
    found = run(image)
    resized = torch.from_numpy(runner.resize(image, exportable.metadata["scale"]))[None]
    with torch.no_grad():
        wanted = trained(exportable, resized, 0.02, size)
    assert found.size == size
    assert found.classes == tuple("abcde")
    if isinstance(found, runner.LabelMap):
        assert (found.labels == wanted[0][0]).mean() > 0.999
        assert len(np.unique(found.labels)) > 1
        return
    assert len(found.boxes) == len(wanted[0]) > 5
    factor = size[1] / resized.shape[2]
    assert np.abs(found.scores - wanted[1]).max() < 1e-3
    assert np.abs(found.boxes[:5] - wanted[0][:5] * factor).max() < 1
    if found.masks is not None:
        assert found.masks.shape == (len(found.boxes), *size)


def test_the_file_tells_what_it_is(exported, capsys) -> None:
    _, _, out = exported
    assert inspect.main([str(out)]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert json.loads(told["classes"]) == list("abcde")
    assert len(json.loads(told["checkpoint_sha256"])) == 64
    assert json.loads(told["scale"]) == dict(scale=[320, 200], keep_ratio=True)


def test_the_runner_needs_no_training_stack(exported, tmp_path) -> None:
    _, _, out = exported
    cv2.imwrite(str(tmp_path / "photo.png"), pictures([(90, 130)])[0][0].numpy())
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in ("torch", "mmcv", "mmdet", "mmseg", "mmengine", "onnx"))
    words = f"import runpy, sys; {blocked}sys.argv = ['runner', {str(out)!r}, {str(tmp_path)!r}]; "
    program = words + f"runpy.run_path({runner.__file__!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image"].endswith("photo.png")


def test_a_mean_that_changed_is_not_written(tmp_path, monkeypatch, capsys) -> None:
    config, checkpoint = write_trained(tmp_path, "fpn", "VAN")
    monkeypatch.setattr("mmvit.export.preprocessing.Preprocessing.forward", lambda _, image: image.permute(0, 3, 1, 2) / 255.0)
    assert export.main([str(config), str(checkpoint), "--size", "64x96", "--out", str(tmp_path / "model.onnx")]) == 2
    assert "Nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


def test_a_sliding_window_is_named(tmp_path) -> None:
    config, checkpoint = write_trained(tmp_path, "fpn", "VAN")
    cfg = Config.fromfile(config)
    cfg.model.test_cfg = dict(mode="slide", crop_size=(64, 64), stride=(32, 32))
    cfg.dump(config)
    with pytest.raises(InputError, match="slide"):
        from_config(config, checkpoint, None)


@pytest.mark.parametrize("size", [(3, 5), (7, 7), (8, 13), (40, 51)])
def test_pooling_is_torchs(size) -> None:
    maps = torch.randn(2, 4, *size)
    torch.testing.assert_close(pool(maps, 7), torch.nn.functional.adaptive_avg_pool2d(maps, 7), atol=1e-6, rtol=0)


def test_linear_pvt_v2_is_right_at_other_sizes_than_the_traced() -> None:
    model = FAMILY["PVTv2"].build(dict(FAMILY["PVTv2"].tiny, linear=True)).eval()
    auto = torch.export.Dim.AUTO
    with torch.no_grad():
        program = torch.export.export(model, (torch.randn(1, 3, 128, 160),), dynamic_shapes=({2: auto, 3: auto},)).module()
        for size in SIZES:
            image = torch.randn(1, 3, *size)
            for ours, theirs in zip(program(image), model(image), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
