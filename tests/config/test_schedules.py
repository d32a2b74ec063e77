"""`--epochs` counts passes over the images, also of a dataset that repeats them."""

from pathlib import Path

import pytest
from mmengine.config import Config
from small_datasets import segmenter

from mmvit.config.schedules import set_epochs

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("nested", [1, 2])
def test_epochs_over_repeated_images(tmp_path: Path, nested: int) -> None:
    cfg = segmenter(tmp_path)
    for _ in range(nested):
        cfg.train_dataloader.dataset = dict(type="RepeatDataset", times=40000, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.batch_size = 2
    assert "(1 an epoch)" in set_epochs(cfg, 30)
    assert cfg.train_cfg.max_iters == 30
    loop = Config(dict(cfg, train_cfg=dict(max_epochs=5)))  # an epoch of it is a pass over all repetitions
    set_epochs(loop, 2)
    assert loop.train_cfg.max_epochs == 2
