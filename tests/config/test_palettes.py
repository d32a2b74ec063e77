"""How every command reads a config."""

from pathlib import Path

import pytest

from mmvit.config.files import open_config
from mmvit.data.colours import COLOURS, GREY, palette_of

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("given", ["", ", palette=[(1, 2, 3), (4, 5, 6)]"])
def test_classes_without_a_palette_get_colours_that_differ(tmp_path: Path, given: str) -> None:
    data = f"dict(dataset=dict(metainfo=dict(classes=('tree', 'coin'){given})))"
    (tmp_path / "c.py").write_text(f"_base_ = 'mmvit::retinanet_van_b0_coco.py'\ntrain_dataloader = {data}\n", encoding="utf-8")
    cfg = open_config(tmp_path / "c.py")
    palette = cfg.train_dataloader.dataset.metainfo.palette
    assert len(set(palette)) == 2
    assert (palette == [(1, 2, 3), (4, 5, 6)]) == bool(given)
    assert palette_of(["background", "polyp"]) == [GREY, *palette_of(["polyp"])]
    assert len(set(palette_of(map(str, range(COLOURS))))) == COLOURS
    assert "metainfo" not in cfg.val_dataloader.dataset, "COCO's own classes have COCO's own colours"
