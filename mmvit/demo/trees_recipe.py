"""The demo with trees: RetinaNet of this package on aerial photographs, see `trees`.

Beside what `recipe` changes: random crops, flips and quarter turns, because there are few photographs and a crown looks the
same from all sides, and longer iterations.
"""

from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from ..errors import InputError
from .recipe import PACES, adapt_detector, embedded, schedule, use_coco
from .trees import CLASSES, build

ROOT = Path("data/trees")
CROP = 192  # pixels, of tiles of 256
BATCH = 2
SCALE = 2  # size of anchors relative to their stride: with RetinaNet's 4, no anchor fits crowns below 20 pixels
SLOWER = 2.2  # times the seconds of an iteration on images of 96 pixels


def apply(cfg: Config, root: Path, from_file: bool = False) -> None:
    """Turn a config of RetinaNet on COCO into its demo on trees, in place.

    Args:
        cfg: the config.
        root: where the dataset lies.
        from_file: keep the backbone's `init_cfg` instead of random weights.

    Raises:
        InputError: another model: there are boxes, but neither masks nor label maps.
    """
    if (cfg.model.get("bbox_head") or {}).get("type") != "RetinaHead" or cfg.train_dataloader.dataset.type != "CocoDataset":
        raise InputError(f"--demo trees: expected a RetinaNet on CocoDataset, got {cfg.model.type}; --demo alone takes others")
    if not from_file:
        cfg.model.backbone.init_cfg = None
    cfg.model.backbone.drop_path_rate = 0.0
    adapt_detector(cfg.model, len(CLASSES))
    cfg.model.bbox_head.anchor_generator.octave_base_scale = SCALE
    load: list[dict] = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
    flips = dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"])
    crop = dict(type="RandomCrop", crop_size=(CROP, CROP), allow_negative_crop=True)
    slivers = dict(type="FilterAnnotations", min_gt_bbox_wh=(6, 6), keep_empty=False)
    cfg.train_pipeline = [*load, crop, slivers, flips, dict(type="PackDetInputs")]
    resize = dict(type="Resize", scale_factor=1.0, keep_ratio=True)
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    cfg.test_pipeline = [load[0], resize, load[1], dict(type="PackDetInputs", meta_keys=keys)]
    use_coco(cfg, f"{root.as_posix()}/coco/", CLASSES)
    pace = PACES["RetinaHead"]
    schedule(cfg, replace(pace, seconds=SLOWER * pace.seconds))
    cfg.train_dataloader.batch_size = BATCH
    for name in ("tta_model", "tta_pipeline"):  # their sizes are for COCO's images
        cfg.pop(name, None)


TREES = embedded("trees", "--demo trees", apply, build, ROOT)
