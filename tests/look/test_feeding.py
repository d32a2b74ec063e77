"""Samples as a run feeds them, and how anchors fit objects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from predict.trained import Trained

from mmvit.config.files import load_config, our_config
from mmvit.errors import InputError
from mmvit.look.feeding import Fed, Feed, anchors_of

pytestmark = pytest.mark.stack


def test_anchors_and_what_they_fit() -> None:
    anchors = anchors_of(load_config(our_config("retinanet_pvt_small_coco")).model)
    assert (anchors.enough, anchors.least) == (0.5, 0.0)
    assert len(anchors.sizes) == 5 * 9
    smallest = anchors.generator.base_anchors[0][0].numpy()
    long = np.array([10, 10, 110, 12])
    boxes = np.stack([smallest + 80, long, smallest / 2 + 80]).astype(np.float32)
    fed = Fed("x", (128, 128), np.zeros((128, 128, 3), np.uint8), torch.zeros(3, 128, 160), boxes, np.zeros(3, int), None, None)
    best = anchors.best(fed)
    assert best[0] == pytest.approx(1)
    assert best[1] < 0.2
    assert best[2] == pytest.approx(0.25)  # of the same shape, a quarter of the area


def test_two_stages_have_those_of_their_first() -> None:
    anchors = anchors_of(load_config(our_config("mask_rcnn_pvt_small_coco")).model)
    assert (anchors.enough, anchors.least) == (0.7, 0.3)
    assert anchors_of(load_config(our_config("fpn_pvt_small_ade20k")).model) is None


def test_a_sample_is_what_the_run_feeds(tmp_path: Path) -> None:
    trained = Trained("mask_rcnn", tmp_path)
    feed = Feed(trained.cfg, "train")
    (fed,) = list(feed.samples([0]))
    assert len(feed) == 4
    assert feed.classes == trained.classes
    assert fed.boxes.tolist() == [[4, 4, 34, 34]]
    assert fed.masks.sum() == pytest.approx(900, abs=61)
    rgb = torch.from_numpy(fed.image[..., ::-1].copy()).permute(2, 0, 1).float()
    mean, std = (torch.tensor(trained.cfg.model.data_preprocessor[name])[:, None, None] for name in ("mean", "std"))
    height, width = fed.image.shape[:2]
    torch.testing.assert_close(fed.batch[:, :height, :width], (rgb - mean) / std)
    trained.cfg.train_dataloader.dataset.pipeline[0].to_float32 = True  # as of large-scale jittering
    (floats,) = list(Feed(trained.cfg, "train").samples([0]))
    np.testing.assert_allclose(floats.image.astype(int), fed.image, atol=1)
    with pytest.raises(InputError, match="no nowhere_dataloader"):
        Feed(trained.cfg, "nowhere")
    trained.cfg.train_dataloader.dataset.unknown = 1
    with pytest.raises(InputError, match=r"^train_dataloader\.dataset: TypeError: .*See mmvit doctor"):
        Feed(trained.cfg, "train")  # it ended with a traceback
