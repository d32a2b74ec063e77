"""How every command finds a config, the folder of a project among them, and reads it."""

import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvit.commands.predict import parts
from mmvit.config.costs import costs_of_config
from mmvit.config.datasets import datasets_of
from mmvit.config.files import config_file, open_config
from mmvit.config.work_dirs import best_of
from mmvit.data.colours import COLOURS, GREY, palette_of
from mmvit.errors import InputError

pytestmark = pytest.mark.stack


def test_a_project(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("a = 1\n", encoding="utf-8")
    config = tmp_path / "coins.py"
    config.write_text("_base_ = 'base.py'\nwork_dir = '{{ fileDirname }}/run'\n", encoding="utf-8")
    assert config_file(str(tmp_path)) == config
    with pytest.raises(InputError, match="expected a work dir of a training"):
        best_of(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for number, name in enumerate(("best_b.pth", "best_a.pth")):
        (run / name).touch()
        os.utime(run / name, (number, number))
    assert best_of(tmp_path) == str(run / "best_a.pth")
    assert parts([str(tmp_path), "photos/", "more/"]) == (str(tmp_path), None, ["photos/", "more/"])
    assert parts([str(tmp_path), "x.pth", "photos/"]) == (str(tmp_path), "x.pth", ["photos/"])


@pytest.mark.parametrize(("names", "told"), [((), "no config in it"), (("a.py", "b.py"), r"2 configs in it \(a.py, b.py\)")])
def test_folders_that_are_no_project(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=told):
        config_file(str(tmp_path))


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


def test_a_dataset_is_known_by_the_scope_of_its_config() -> None:
    """Also where no scope is active: Cityscapes' lists are read like COCO's."""
    cfg = Config(dict(default_scope="mmdet", val_dataloader=dict(dataset=dict(type="CityscapesDataset", ann_file="a.json"))))
    (view,) = datasets_of(cfg, ("val",))
    assert view.is_coco


def test_costs_of_a_network_for_four_channels(tmp_path: Path) -> None:
    costs = {}
    for channels in (3, 4):
        text = f"_base_ = 'mmvit::fpn_van_b0_ade20k.py'\nmodel = dict(backbone=dict(in_channels={channels}, init_cfg=None))\n"
        (tmp_path / "c.py").write_text(text)
        costs[channels] = costs_of_config(tmp_path / "c.py", 64, 64)
    assert all(costs[4][part].multiply_adds > costs[3][part].multiply_adds for part in ("backbone", "model"))


def test_a_dataset_that_stands_in_a_list(tmp_path: Path) -> None:
    """Projects of label maps write `_delete_=True` into their datasets; mmengine leaves it in lists, and none takes it."""
    (tmp_path / "a.py").write_text("val = dict(_delete_=True, type='A')\nloader = dict(dataset=dict(type='B', x=1))\n")
    (tmp_path / "b.py").write_text(
        "_base_ = 'a.py'\nloader = dict(dataset=dict(_delete_=True, type='C', datasets=[_base_.val, dict(_base_.val, x=2)]))\n"
    )
    cfg = open_config(tmp_path / "b.py")
    assert cfg.loader.to_dict() == dict(dataset=dict(type="C", datasets=[dict(type="A"), dict(type="A", x=2)]))
