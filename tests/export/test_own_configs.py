"""Heads and resizing of mmdet and mmseg that none of our configs has, exported end to end."""

from pathlib import Path

import numpy as np
import pytest
from exports import Exported
from makers import needs_heads
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from tiny import write_checkpoint, write_config, write_model

from mmvit.commands import export
from mmvit.export.models import from_config
from mmvit.predict.runner import resize

pytestmark = [pytest.mark.stack, pytest.mark.once, needs_heads]
NARROW = dict(in_channels=8, feat_channels=32, stacked_convs=1, num_classes=5)
SEGMENTER = dict(in_index=3, in_channels=32, channels=8, num_classes=5)
OWN = {
    "fcos": ("retinanet", dict(bbox_head=dict(NARROW, _delete_=True, type="FCOSHead", strides=[8, 16, 32, 64, 128]))),
    "faster_rcnn": ("mask_rcnn", dict(roi_head=dict(mask_head=None, mask_roi_extractor=None))),
    "pspnet": ("upernet", dict(decode_head=dict(SEGMENTER, _delete_=True, type="PSPHead"), auxiliary_head=None)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_heads_of_the_toolkits(name: str, tmp_path: Path, photographs: Path) -> None:
    head, changes = OWN[name]
    exported = Exported(*write_model(tmp_path, head, "PVT", **changes), tmp_path / "model.pt2")
    words = ["--to", "pt2", "--out", str(exported.file)]  # half the time of ONNX, which is made from it
    assert export.main([str(exported.config), str(exported.checkpoint), *words]) == 0
    exported.require_same(photographs)


@pytest.mark.parametrize(
    "step",
    [
        dict(scale_factor=1.0, keep_ratio=True),
        dict(scale_factor=(1.3, 0.7), keep_ratio=True),
        dict(scale_factor=(1.3, 0.7), keep_ratio=False),
        dict(scale=(90, 70), scale_factor=3.0, keep_ratio=False),
    ],
    ids=str,
)
def test_images_are_resized_as_the_pipeline_does(step: dict, tmp_path: Path) -> None:
    file = write_config(tmp_path, "retinanet", "PVT")
    cfg = Config.fromfile(file)
    cfg.test_dataloader.dataset.pipeline[1] = dict(type="Resize", **step)
    cfg.dump(file)
    rule = from_config(str(file), str(write_checkpoint(file))).metadata["scale"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        wanted = TRANSFORMS.build(dict(type="Resize", **step))
    for height, width in ((101, 67), (64, 64), (33, 150)):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        assert np.array_equal(resize(image, rule), wanted(dict(img=image))["img"])
