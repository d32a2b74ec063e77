"""Every leaf config: its name says what is in it, its numbers are the arch tables' and the published recipe's, it builds."""

from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from makers import FEW, HOME, each_pairing, stem, tiers
from mmengine.config import Config
from mmengine.registry import DATASETS as DATASET_TYPES
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmvit.config.files import load_config
from mmvit.errors import InputError
from mmvit.recipes.configs import parse
from mmvit.recipes.tables import HEADS, PAIRINGS, Leaf

pytestmark = pytest.mark.stack

FOLDER = HOME / "configs"
BY_FAMILY = {family.kind.record.name: family for family in FAMILIES}
DATASETS = {  # type, classes, where mmdet and mmseg document it to be
    "coco": ("CocoDataset", 80, "data/coco/"),
    "ade20k": ("ADE20KDataset", 150, "data/ade/ADEChallengeData2016"),
    "cityscapes": ("CityscapesDataset", 19, "data/cityscapes/"),
    "binary": ("BaseSegDataset", 2, "data/binary"),
}
TYPES = {  # of the model and of the part that stands for the head
    "retinanet": ("RetinaNet", "bbox_head", "RetinaHead"),
    "mask_rcnn": ("MaskRCNN", "roi_head", "StandardRoIHead"),
    "upernet": ("EncoderDecoder", "decode_head", "UPerHead"),
    "segformer": ("EncoderDecoder", "decode_head", "SegformerHead"),
    "fpn": ("EncoderDecoder", "decode_head", "FPNHead"),
    "atss": ("ATSS", "bbox_head", "ATSSHead"),
    "gfl": ("GFL", "bbox_head", "GFLHead"),
    "dino": ("DINO", "bbox_head", "DINOHead"),
    "deformable_detr": ("DeformableDETR", "bbox_head", "DeformableDETRHead"),
    "rtmdet": ("RTMDet", "bbox_head", "RTMDetSepBNHead"),
    "mask2former_instance": ("Mask2Former", "panoptic_head", "Mask2FormerHead"),
    "mask2former_semantic": ("EncoderDecoder", "decode_head", "Mask2FormerHead"),
}


def load(leaf: Leaf | str) -> Config:
    return load_config(FOLDER / f"{leaf if isinstance(leaf, str) else leaf.name}.py")


def build(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def class_counts(part: Any) -> list[int]:
    if not isinstance(part, dict):
        return []
    return [value for key, value in part.items() if key in ("num_classes", "num_things_classes")] + [
        count for value in part.values() for count in class_counts(value)
    ]


@pytest.mark.parametrize("path", tiers(sorted(FOLDER.glob("*.py")), lambda path: parse(path.stem) in FEW, stem))
def test_name_says_what_is_inside(path: Path) -> None:
    leaf, cfg = parse(path.stem), load_config(path)
    model, part, head = TYPES[leaf.head]
    assert (cfg.model.type, cfg.model[part].type) == (model, head)
    assert cfg.model.backbone.type == f"mmvit.{BY_FAMILY[leaf.family].name}"
    assert cfg.model.backbone.arch == leaf.arch
    kind, classes, root = DATASETS[leaf.dataset]
    assert set(class_counts(cfg.model.to_dict())) == {classes}
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert (dataset.type, dataset.data_root) == (kind, root)
        assert dataset.get("reduce_zero_label", False) == (leaf.dataset == "ade20k")
        assert dataset.pipeline[0].type == "LoadImageFromFile"
    released = BY_FAMILY[leaf.family].kind.record.released[leaf.arch]
    assert cfg.model.backbone.init_cfg.checkpoint == released.url or (
        released.url is None
        and cfg.model.backbone.init_cfg.checkpoint == f"checkpoints/{leaf.family}_{leaf.arch}.pth"
        and released.folder in path.read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("_base_/**/*.py")), ids=lambda path: path.stem)
def test_bases_name_no_backbone(path: Path) -> None:
    cfg = Config.fromfile(path)
    assert "backbone" not in (cfg.get("model") or {})


@each_pairing
def test_a_run_has_what_it_needs(path: Path) -> None:
    """Hooks, evaluators, test-time augmentation, and a batch that the rate is scaled from."""
    leaf, cfg = parse(path.stem), load_config(path)
    segments = leaf.dataset != "coco"
    assert cfg.default_scope == ("mmseg" if segments else "mmdet")
    masks = "mask AP" in HEADS[leaf.head].metrics
    assert cfg.tta_model.type == ("mmvit.SegTTAModel" if segments else "mmvit.InstanceTTAModel" if masks else "DetTTAModel")
    assert cfg.tta_pipeline[0].type == "LoadImageFromFile"
    assert len(cfg.tta_pipeline[1].transforms[0]) > 1
    hook = cfg.default_hooks.checkpoint
    assert (hook.save_best, hook.max_keep_ckpts, hook.get("by_epoch", True)) == (
        ("mIoU", 3, False) if segments else ("coco/bbox_mAP", 3, True)
    )
    assert cfg.log_processor.by_epoch is not segments
    assert cfg.visualizer.type == ("SegLocalVisualizer" if segments else "DetLocalVisualizer")
    gpus = 1 if leaf.dataset == "binary" else 8
    assert cfg.train_dataloader.batch_size * gpus == cfg.auto_scale_lr.base_batch_size
    assert cfg.auto_scale_lr.enable is False
    for key in ("train_cfg", "val_cfg", "test_cfg", "val_evaluator", "test_evaluator", "log_level", "env_cfg"):
        assert cfg.get(key), key
    if segments:
        crop = next(step.crop_size for step in cfg.train_pipeline if step.type == "RandomCrop")
        assert cfg.model.data_preprocessor.size == crop == cfg.crop_size
        assert cfg.model.test_cfg.get("crop_size", crop) == crop
        assert "SyncBN" not in cfg.pretty_text
        assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end
        assert cfg.train_cfg.max_iters % cfg.default_hooks.checkpoint.interval == 0
    else:
        assert cfg.val_evaluator.metric == (["bbox", "segm"] if masks else "bbox")


@each_pairing
def test_channels_are_the_backbones(path: Path) -> None:
    leaf, cfg = parse(path.stem), load_config(path)
    with torch.device("meta"):
        backbone = MODELS.build(dict(cfg.model.backbone, init_cfg=None))
    left_out = 4 - len(backbone.out_channels) + cfg.model.get("neck", {}).get("start_level", 0)
    assert left_out == HEADS[leaf.head].first
    for part, level in HEADS[leaf.head].inputs.items():
        channels = list(backbone.out_channels)
        assert cfg.model[part].in_channels == (channels if level is None else channels[level])
        assert cfg.model[part].get("in_index", level) in (level, [0, 1, 2, 3])


@each_pairing
def test_dumped_config_reloads_to_the_same(path: Path, tmp_path: Path) -> None:
    cfg = load_config(path)
    cfg.dump(tmp_path / path.name)
    assert Config.fromfile(tmp_path / path.name).to_dict() == cfg.to_dict()


@each_pairing
def test_model_builds(path: Path) -> None:
    """At its real size, on the meta device; `init_cfg` would only name a file."""
    cfg = load_config(path)
    cfg.model.backbone.init_cfg = None
    with torch.device("meta"):
        model = build(cfg)
    assert {name for name, value in model.named_parameters() if not value.is_meta} <= {"level_embed"}, "made by torch.Tensor"
    with torch.device("meta"), DefaultScope.overwrite_default_scope(cfg.default_scope):
        assert MODELS.build(dict(cfg.tta_model, module=model)).module is model


def count(name: str) -> float:
    """Millions of parameters, the auxiliary head's not counted."""
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    with torch.device("meta"):
        model = build(cfg)
    return sum(parameter.numel() for name, parameter in model.named_parameters() if not name.startswith("auxiliary")) / 1e6


SIZES = {  # millions of parameters, as PVT's and VAN's papers have them
    "retinanet_pvt_{}_coco": dict(tiny=23.0, small=34.2, medium=53.9, large=71.1),
    "mask_rcnn_pvt_{}_coco": dict(tiny=32.9, small=44.1, medium=63.9, large=81.0),
    "fpn_pvt_{}_ade20k": dict(tiny=17.0, small=28.2, medium=48.0, large=65.1),
    "retinanet_van_{}_coco": dict(b0=13.4, b1=23.6, b2=36.3, b3=54.5),
    "mask_rcnn_van_{}_coco": dict(b0=23.9, b1=33.5, b2=46.2, b3=64.4),
    "fpn_van_{}_ade20k": dict(b0=8, b1=18, b2=30, b3=49),
}
PUBLISHED = {name.format(arch): size for name, sizes in SIZES.items() for arch, size in sizes.items()}


@pytest.mark.once
@pytest.mark.parametrize("name", tiers(PUBLISHED, ("mask_rcnn_pvt_tiny_coco", "fpn_van_b0_ade20k").__contains__))
def test_model_is_the_published_size(name: str) -> None:
    assert count(name) == pytest.approx(PUBLISHED[name], abs=0.6 if "fpn_van" in name else 0.2)


def recipe(name: str) -> dict[str, Any]:
    """The numbers of a recipe, as they are in a leaf and its bases."""
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == "AdamW"
    assert "clip_grad" not in cfg.optim_wrapper
    return dict(
        lr=optimizer.lr,
        decay=optimizer.weight_decay,
        images=cfg.train_dataloader.batch_size,
        drop_path=cfg.model.backbone.drop_path_rate,
        length=cfg.train_cfg.get("max_epochs") or cfg.train_cfg.max_iters,
        test=cfg.model.test_cfg.get("mode"),
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "lr", "decay", "images", "drop_path", "length", "test"),
    [
        ("retinanet_pvt_tiny_coco", 1e-4, 1e-4, 2, 0.1, 12, None),
        ("retinanet_pvt_large_coco", 1e-4, 1e-4, 2, 0.0, 12, None),
        ("mask_rcnn_pvt_medium_coco", 2e-4, 1e-4, 2, 0.0, 12, None),
        ("mask_rcnn_pvt_large_coco", 2e-4 / 1.4, 1e-4, 1, 0.0, 12, None),
        ("retinanet_pvt_v2_b2_li_coco", 1e-4, 1e-4, 2, 0.1, 12, None),
        ("retinanet_pvt_v2_b5_coco", 1e-4 / 1.4, 1e-4, 1, 0.1, 12, None),
        ("mask_rcnn_pvt_v2_b3_coco", 2e-4, 1e-4, 2, 0.1, 12, None),
        ("mask_rcnn_pvt_v2_b4_coco", 2e-4 / 1.4, 1e-4, 1, 0.1, 12, None),
        ("atss_pvt_v2_b2_coco", 1e-4, 0.05, 2, 0.1, 36, None),
        ("gfl_pvt_v2_b2_li_coco", 1e-4, 0.05, 2, 0.1, 36, None),
        ("retinanet_van_b2_coco", 1e-4, 0.05, 2, 0.1, 12, None),
        ("mask_rcnn_van_b3_coco", 1e-4, 0.05, 2, 0.3, 12, None),
        ("fpn_pvt_large_ade20k", 2e-4, 1e-4, 4, 0.1, 40000, "whole"),
        ("fpn_van_b0_ade20k", 2e-4, 1e-4, 4, 0.2, 40000, "whole"),
        ("fpn_van_b3_ade20k", 2e-4, 1e-4, 4, 0.3, 40000, "whole"),
        ("upernet_van_b2_ade20k", 6e-5, 0.01, 2, 0.1, 160000, "whole"),
        ("upernet_van_b4_ade20k", 6e-5, 0.01, 4, 0.4, 160000, "whole"),
        ("upernet_van_b6_ade20k", 6e-5, 0.01, 2, 0.5, 160000, "whole"),
        ("upernet_volo_d3_ade20k", 6e-5, 0.01, 2, 0.5, 160000, "slide"),
        ("segformer_van_b2_ade20k", 6e-5, 0.01, 2, 0.1, 160000, "whole"),
        ("segformer_pvt_small_cityscapes", 6e-5, 0.01, 1, 0.1, 160000, "slide"),
        ("fpn_shunted_small_ade20k", 2e-4, 1e-4, 4, 0.2, 40000, "whole"),
        ("fpn_pvt_small_cityscapes", 1e-4, 1e-4, 2, 0.1, 80000, "whole"),
    ],
)
def test_recipe_is_the_published(
    name: str, lr: float, decay: float, images: int, drop_path: float, length: int, test: str | None
) -> None:
    """Numbers by hand from the authors' configs and papers, beside those in `mmvit.recipes`."""
    assert recipe(name) == dict(lr=lr, decay=decay, images=images, drop_path=drop_path, length=length, test=test)


def test_schedules_are_the_authors() -> None:
    steps = load("retinanet_pvt_small_coco").param_scheduler
    assert (steps[0].end, steps[0].start_factor, steps[1].milestones) == (500, 0.001, [8, 11])
    assert load("gfl_pvt_v2_b2_coco").param_scheduler[1].milestones == [27, 33]
    poly = load("fpn_pvt_small_ade20k").param_scheduler
    assert [(step.type, step.get("power"), step.begin, step.end) for step in poly] == [("PolyLR", 0.9, 0, 40000)]
    warm, poly = load("upernet_van_b2_ade20k").param_scheduler
    assert (warm.start_factor, warm.end, poly.begin, poly.power, poly.end) == (1e-6, 1500, 1500, 1.0, 160000)
    assert load("retinanet_pvt_tiny_coco").model.neck.to_dict() == dict(
        type="FPN", in_channels=[64, 128, 320, 512], out_channels=256, start_level=1, add_extra_convs="on_input", num_outs=5
    )
    auxiliary = load("upernet_van_b2_ade20k").model.auxiliary_head
    assert (auxiliary.channels, auxiliary.loss_decode.loss_weight, auxiliary.in_index) == (256, 0.4, 2)


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images a split in the three formats."""
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    from mmvit.demo.dataset import DemoSpec
    from mmvit.demo.dataset import build as build_data

    return build_data(tmp_path_factory.mktemp("demo") / "data", DemoSpec(train_images=2, val_images=2))


@pytest.mark.parametrize(("head", "data"), PAIRINGS, ids=lambda part: part)
def test_pipelines_read_the_datasets_format(head: str, data: str, demo_data: Path) -> None:
    """Training, testing and test-time augmentation, on files that lie where the format wants them."""
    cfg = load(f"{head}_{'pvt_v2' if data == 'binary' else 'van'}_b2_{data}")
    root = demo_data / data.replace("ade20k", "ade/ADEChallengeData2016")
    for split, pipeline in dict(train="train_pipeline", val="test_pipeline", test="tta_pipeline").items():
        batch = split == "train"
        settings = cfg[f"{split}_dataloader"].dataset
        assert split == "test" or settings.pipeline == cfg[pipeline]
        settings.update(data_root=str(root), pipeline=cfg[pipeline])
        if data == "coco":
            settings.metainfo = dict(classes=tuple("0123456789"))
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            dataset = DATASET_TYPES.build(settings)
            packed = dataset[0]
        assert len(dataset) == 2
        images = [packed["inputs"]] if pipeline != "tta_pipeline" else packed["inputs"]
        samples = [packed["data_samples"]] if pipeline != "tta_pipeline" else packed["data_samples"]
        assert len(images) == (1 if pipeline != "tta_pipeline" else 6 if data in ("coco", "binary") else 12)
        for image, sample in zip(images, samples, strict=True):
            assert image.shape[1:] == sample.img_shape
            if data == "coco":
                assert len(sample.gt_instances.bboxes)
                assert ("masks" in sample.gt_instances) == ("mask AP" in HEADS[head].metrics and pipeline != "tta_pipeline")
                continue
            labels = sample.gt_sem_seg.data
            assert labels.shape[1:] == (image.shape[1:] if batch else sample.ori_shape)
            assert set(labels.unique().tolist()) <= {*range(11), 255}
        if batch and data != "coco":
            assert all(side <= most for side, most in zip(image.shape[1:], cfg.crop_size, strict=True))


def test_unknown_names_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean .*retinanet_pvt_small_coco\.py"):
        load_config(FOLDER / "retinanet_pvt_smal_coco.py")
    with pytest.raises(InputError, match="no such file"):
        load_config(tmp_path / "nowhere" / "x.py")
    (tmp_path / "broken.py").write_text("model = dict(")
    with pytest.raises(InputError, match=r"broken\.py does not parse"):
        load_config(tmp_path / "broken.py")
