"""Every leaf config: its name says what is in it, its numbers are the arch tables' and the published recipe's, it builds."""

import re
from pathlib import Path

import pytest
import torch
from families import FAMILIES
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvit.engine.configuration import load_config
from mmvit.errors import InputError

pytestmark = pytest.mark.stack

FOLDER = Path(__file__).parent.parent / "configs"
LEAVES = sorted(FOLDER.glob("*.py"))
HEADS = {"retinanet": "RetinaNet"}
PREFIXES = {"pvt": "PVT"}  # how leaves spell a family
DATA = {"coco": "CocoDataset"}

each_leaf = pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.stem)


def parts(leaf: Path) -> tuple[str, str, str, str]:
    found = re.fullmatch(rf"({'|'.join(HEADS)})_({'|'.join(PREFIXES)})_(.+)_({'|'.join(DATA)})", leaf.stem)
    assert found, f"{leaf.name}: expected HEAD_FAMILY_ARCH_DATASET.py"
    return found.groups()


def test_the_promised_leaves_are_there() -> None:
    assert {f"retinanet_pvt_{arch}_coco" for arch in ("tiny", "small", "medium", "large")} <= {leaf.stem for leaf in LEAVES}


@each_leaf
def test_name_says_what_is_inside(leaf: Path) -> None:
    head, family, arch, data = parts(leaf)
    cfg = load_config(leaf)
    assert cfg.model.type == HEADS[head]
    assert cfg.model.backbone.type == f"mmvit.{PREFIXES[family]}"
    assert cfg.model.backbone.arch == arch
    for split in ("train", "val", "test"):
        assert cfg[f"{split}_dataloader"].dataset.type == DATA[data]
    assert cfg.model.backbone.init_cfg.checkpoint.endswith(f"/{family}_{arch}.pth")


@each_leaf
def test_leaf_rests_on_bases_alone(leaf: Path) -> None:
    bases = re.findall(r'"([^"]+\.py)"', leaf.read_text())
    assert bases
    assert all(base.startswith("_base_/") for base in bases)


@each_leaf
def test_channels_are_the_backbones(leaf: Path) -> None:
    cfg = load_config(leaf)
    with torch.device("meta"):
        backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
    assert tuple(cfg.model.neck.in_channels) == backbone.out_channels
    assert cfg.model.bbox_head.in_channels == cfg.model.neck.out_channels


@each_leaf
def test_dumped_config_reloads_to_the_same(leaf: Path, tmp_path: Path) -> None:
    cfg = load_config(leaf)
    cfg.dump(tmp_path / leaf.name)
    assert Config.fromfile(tmp_path / leaf.name).to_dict() == cfg.to_dict()


@each_leaf
def test_model_is_the_published_size(leaf: Path) -> None:
    """PVT's paper, table 3: millions of parameters of RetinaNet, to 0.1."""
    published = dict(tiny=23.0, small=34.2, medium=53.9, large=71.1)
    cfg = load_config(leaf)
    init_default_scope("mmdet")
    with torch.device("meta"):
        model = MODELS.build(dict(cfg.model, backbone=dict(cfg.model.backbone, init_cfg=None)))
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert count == pytest.approx(published[parts(leaf)[2]], abs=0.2)


def test_recipe_is_the_authors() -> None:
    """PVT's shipped RetinaNet configs: 8 GPUs x 2 images, AdamW 1e-4 and 1e-4, 12 epochs, no clipping."""
    for arch, drop_path in (("tiny", 0.1), ("small", 0.1), ("medium", 0.0), ("large", 0.0)):
        cfg = load_config(FOLDER / f"retinanet_pvt_{arch}_coco.py")
        assert cfg.model.backbone.drop_path_rate == drop_path
        assert cfg.optim_wrapper.optimizer.to_dict() == dict(type="AdamW", lr=1e-4, weight_decay=1e-4)
        assert "clip_grad" not in cfg.optim_wrapper
        assert (cfg.train_cfg.max_epochs, cfg.param_scheduler[1].milestones) == (12, [8, 11])
        assert (cfg.param_scheduler[0].end, cfg.param_scheduler[0].start_factor) == (500, 0.001)
        assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16
        assert cfg.train_dataloader.dataset.data_root == "data/coco/"
        assert cfg.model.neck.to_dict() == dict(
            type="FPN", in_channels=[64, 128, 320, 512], out_channels=256, start_level=1, add_extra_convs="on_input", num_outs=5
        )


def test_a_leaf_trains_and_predicts() -> None:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    cfg = load_config(FOLDER / "retinanet_pvt_tiny_coco.py")
    cfg.model.backbone.update(init_cfg=None, arch=FAMILIES[0].tiny)
    cfg.model.neck.in_channels = [8, 16, 24, 32]
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model)
    model.init_weights()
    sample = DetDataSample(
        metainfo=dict(img_shape=(120, 90), ori_shape=(120, 90), pad_shape=(120, 90), scale_factor=(1.0, 1.0))
    )
    sample.gt_instances = InstanceData(bboxes=torch.tensor([[10.0, 10.0, 60.0, 70.0]]), labels=torch.tensor([3]))
    data = model.data_preprocessor(dict(inputs=[torch.randint(0, 255, (3, 120, 90), dtype=torch.uint8)], data_samples=[sample]))
    losses, _ = model.parse_losses(model(**data, mode="loss"))
    losses.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    result = model.eval()(**data, mode="predict")[0].pred_instances
    assert result.bboxes.shape == (len(result.scores), 4)


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean .*retinanet_pvt_small_coco\.py"):
        load_config(FOLDER / "retinanet_pvt_smal_coco.py")
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "nowhere" / "x.py")
    (tmp_path / "broken.py").write_text("model = dict(")
    with pytest.raises(InputError, match=r"broken\.py does not parse"):
        load_config(tmp_path / "broken.py")
