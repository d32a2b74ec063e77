"""`mmvit.lightly_train`: the real lightly-train pre-trains an encoder on pictures without labels, and it comes back exactly."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmvit.lightly_train import Encoder
from mmvit.zoo import create

pytestmark = pytest.mark.once


def test_pre_trained_weights_come_back(tmp_path):
    lightly_train = pytest.importorskip("lightly_train")
    (tmp_path / "pictures").mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{index}.png")
    encoder = Encoder("van_b0")
    before = encoder.backbone.state_dict()["stages.0.patch_embed.proj.weight"].clone()
    lightly_train.pretrain(
        out=tmp_path / "out",
        data=tmp_path / "pictures",
        model=encoder,
        method="simclr",
        epochs=1,
        batch_size=4,
        num_workers=0,
        accelerator="cpu",
        transform_args=dict(image_size=(64, 64)),
    )
    file = tmp_path / "out" / "exported_models" / "exported_last.pt"
    exported = torch.load(file, weights_only=True)
    again = create("van_b0", file).state_dict()
    assert again.keys() == exported.keys()
    assert [key for key, value in again.items() if not torch.equal(value, exported[key])] == []
    assert not torch.equal(again["stages.0.patch_embed.proj.weight"], before)
