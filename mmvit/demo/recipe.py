"""Recipe of the demo: any config of this package, its model unchanged except for the classes, on the embedded dataset.

`apply` changes what the data require (paths, classes, pipelines), and what two CPU cores and random weights require: the
schedule, the optimiser (AdamW, warm-up, cosine, gradient clipping), fewer proposals, and the spread of RetinaNet's first
weights. Heads learn at a lower rate than the backbone where their 3 x 3 convolutions sum over 2,304 inputs and have no norms:
at 1e-3 for all parts the loss diverged.
"""

from collections.abc import Collection
from math import sqrt
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS

from ..arguments import name_of
from ..compat.versions import FUSED
from ..config.datasets import SPLITS
from ..config.files import Variant
from ..data.colours import palette_of
from ..errors import InputError
from ..recipes.tables import HEADS, Pace
from .dataset import build
from .spec import ADE20K, BINARY, CITYSCAPES, CLASSES, DemoSpec, LabelMaps

ROOT = Path("data/demo")
BATCH = 4
WARM_UP = 50
BETAS = (0.9, 0.98)  # 0.98: the size of the gradients changes within tens of iterations
VALIDATIONS = 4
VAL_BATCH = 10
RETINANET_STD = 0.03  # sqrt(2 / 2304): signals keep their size through the head; RetinaNet's own 0.01 divides them by 75
PROPOSALS = 200  # proposals of Mask R-CNN's first stage, for images of 96 pixels with at most five digits
SAMPLES = 32  # proposals used in training; a quarter of them goes through the mask head
DETECTIONS = 20  # final detections of an image
SECONDS = 440  # of bare steps; whole runs, with data, validations and a busier machine, took 1.3 to 1.5 times that
SECONDS_A_MILLION = 0.0115  # time that a million parameters of the backbone add to an iteration

ONE_CHANNEL = "binary segmentation"
KINDS = {head.kind: head for head in HEADS.values()}
SEGMENTATION = {"ADE20KDataset": ADE20K, "CityscapesDataset": CITYSCAPES, ONE_CHANNEL: BINARY}


def apply(cfg: Config, root: Path, from_file: bool = False) -> None:
    """Turn a config into its demo, in place.

    Args:
        cfg: a config whose datasets are COCO's, ADE20K's, Cityscapes' or ours for binary segmentation.
        root: folder of the demo dataset.
        from_file: keep the backbone's `init_cfg` instead of random weights.

    Raises:
        InputError: a model or a dataset that the demo does not support.
    """
    kind = name_of(cfg.train_dataloader.dataset.get("type"))
    if cfg.model.get("decode_head", {}).get("out_channels") == 1:
        kind = ONE_CHANNEL
    parts = [name_of(cfg.model[part].get("type")) for part in ("bbox_head", "decode_head") if part in cfg.model]
    name = next((name for name in (name_of(cfg.model.type), *parts) if name in KINDS), None)
    fits = kind in SEGMENTATION if "decode_head" in cfg.model else kind == "CocoDataset"
    if name is None or not fits:
        raise InputError(
            f"--demo: expected a model with one of {', '.join(KINDS)} on CocoDataset, {' or '.join(SEGMENTATION)}, "
            f"got {name_of(cfg.model.type)} with {' and '.join(parts) or 'another head'} on {kind}"
        )
    if not from_file:
        cfg.model.backbone.init_cfg = None
    cfg.model.backbone.drop_path_rate = 0.0  # a few passes over the data need no regularisation
    if kind == "CocoDataset":
        _detector(cfg.model)
        _detection_pipelines(cfg)
        _detection_data(cfg, f"{root.as_posix()}/coco/")
    else:
        _segmenter(cfg.model, SEGMENTATION[kind])
        _segmentation_data(cfg, root, SEGMENTATION[kind])
    _loaders(cfg)
    cfg.merge_from_dict({f"model.{key}": value for key, value in KINDS[name].demo.items()})
    _schedule(cfg, KINDS[name].pace)


def _detector(model: ConfigDict) -> None:
    """Set a detector's number of classes, and the settings that random weights and short runs need."""
    if "roi_head" in model:
        for head in ("bbox_head", "mask_head"):
            if head in model.roi_head:
                model.roi_head[head].num_classes = len(CLASSES)
        model.train_cfg.rcnn.sampler.num = SAMPLES
        model.test_cfg.rcnn.max_per_img = DETECTIONS
        for proposals in (model.train_cfg.rpn_proposal, model.test_cfg.rpn):
            proposals.nms_pre = proposals.max_per_img = PROPOSALS
        return
    if "panoptic_head" in model:
        for part in (model.panoptic_head, model.panoptic_fusion_head):
            part.num_things_classes = len(CLASSES)
        model.panoptic_head.loss_cls.class_weight = [*[1.0] * len(CLASSES), 0.1]
        return
    model.bbox_head.num_classes = len(CLASSES)
    if name_of(model.bbox_head.type) != "RetinaHead":
        return
    outputs = [
        dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.01),
        dict(type="Normal", name="retina_reg", std=0.003),
    ]
    model.bbox_head.init_cfg = dict(type="Normal", layer="Conv2d", std=RETINANET_STD, override=outputs)


def _segmenter(model: ConfigDict, layout: LabelMaps) -> None:
    side = DemoSpec().image_size
    model.data_preprocessor.size = (side, side)
    for head in ("decode_head", "auxiliary_head"):
        if head in model:
            model[head].num_classes = len(layout.classes)
            if weights := model[head].get("loss_cls", {}).get("class_weight"):  # the last is that of no object
                model[head].loss_cls.class_weight = [*weights[: len(layout.classes)], weights[-1]]
    if model.test_cfg.mode == "slide":  # windows of half the image, overlapping by half
        model.test_cfg = dict(mode="slide", crop_size=(side // 2, side // 2), stride=(side // 4, side // 4))


def _detection_pipelines(cfg: Config) -> None:
    masked = [part for part in ("roi_head", "panoptic_head") if part in cfg.model]
    masks = dict(with_mask=True, poly2mask=masked[0] == "panoptic_head") if masked else {}
    load: list[dict] = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True, **masks)]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    cfg.train_pipeline = [*load, dict(type="PackDetInputs")]
    resize = dict(type="Resize", scale_factor=1.0, keep_ratio=True)
    cfg.test_pipeline = [load[0], resize, load[1], dict(type="PackDetInputs", meta_keys=keys)]
    pack = dict(type="PackDetInputs", meta_keys=(*keys, "flip", "flip_direction"))
    cfg.tta_pipeline = [load[0], _views(load[1], pack)]


def _detection_data(cfg: Config, data_root: str) -> None:
    for split in SPLITS:
        year = "train2017" if split == "train" else "val2017"
        dataset = cfg[f"{split}_dataloader"].dataset
        dataset.data_root = data_root
        dataset.ann_file = f"annotations/instances_{year}.json"
        dataset.data_prefix = dict(img=f"{year}/")
        dataset.metainfo = dict(classes=CLASSES)
        if split != "train":
            cfg[f"{split}_evaluator"].ann_file = data_root + dataset.ann_file


def _segmentation_data(cfg: Config, root: Path, layout: LabelMaps) -> None:
    load: list[dict] = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]
    cfg.train_pipeline = cfg.test_pipeline = [*load, dict(type="PackSegInputs")]
    cfg.tta_pipeline = [load[0], _views(load[1], dict(type="PackSegInputs"))]
    for split in SPLITS:
        images, maps = layout.folders(split)
        cfg[f"{split}_dataloader"].dataset = dict(
            type="BaseSegDataset",  # ADE20KDataset and CityscapesDataset accept only their own classes
            data_root=(root / layout.root).as_posix(),
            data_prefix=dict(img_path=images, seg_map_path=maps),
            img_suffix=layout.images[1],
            seg_map_suffix=layout.maps[1],
            reduce_zero_label=layout.reduce_zero_label,
            metainfo=dict(classes=layout.classes, palette=palette_of(layout.classes)),
            test_mode=split != "train",
        )


def _views(annotations: dict, pack: dict) -> dict:
    """Return test-time augmentation in three sizes, without flips: a flipped 2 is no 2."""
    sizes = [dict(type="Resize", scale_factor=factor, keep_ratio=True) for factor in (0.75, 1.0, 1.25)]
    return dict(type="TestTimeAug", transforms=[sizes, [dict(type="RandomFlip", prob=0.0)], [annotations], [pack]])


def _loaders(cfg: Config) -> None:
    for split in SPLITS:
        loader = cfg[f"{split}_dataloader"]
        loader.num_workers = 1
        loader.persistent_workers = True
        loader.dataset.pipeline = cfg.train_pipeline if split == "train" else cfg.test_pipeline
        if split == "val":
            loader.batch_size = VAL_BATCH


def _schedule(cfg: Config, pace: Pace) -> None:
    """Give a config the schedule and the optimiser of a demo."""
    with torch.device("meta"):
        backbone = MODELS.build(cfg.model.backbone)
    millions = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    iterations = 10 * round(SECONDS / (pace.seconds + SECONDS_A_MILLION * millions) / 10)  # the same on every machine
    rate = pace.learning_rate * min(1.0, sqrt(pace.millions / millions))
    cfg.train_dataloader.batch_size = BATCH
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_cfg = dict(type="mmvit.IterBasedTrainLoop", max_iters=iterations, val_interval=iterations // VALIDATIONS)
    cfg.param_scheduler = [
        dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=WARM_UP),
        dict(type="CosineAnnealingLR", by_epoch=False, begin=WARM_UP, end=iterations, eta_min_ratio=0.01),
    ]
    heads = [part for part in cfg.model if part == "neck" or (part.endswith("_head") and part != "panoptic_fusion_head")]
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="AdamW", lr=rate, betas=BETAS, weight_decay=0.05, fused=FUSED),
        paramwise_cfg=dict(
            norm_decay_mult=0.0,
            bias_decay_mult=0.0,
            bypass_duplicate=True,  # RTMDet shares convolutions between levels
            custom_keys={part: dict(lr_mult=pace.heads_lr_mult) for part in heads},
        ),
        clip_grad=dict(max_norm=1.0),
    )
    cfg.default_hooks.checkpoint = dict(
        type="mmvit.CheckpointHook", by_epoch=False, interval=iterations // VALIDATIONS, max_keep_ckpts=1
    )
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.log_metric_by_epoch = False


def _change(cfg: Config, asked: Collection[str]) -> None:
    apply(cfg, ROOT, from_file="model.backbone.init_cfg.checkpoint" in asked)


def _prepare() -> None:
    try:
        build(ROOT)
    except (ImportError, FileExistsError) as error:
        raise InputError(f"--demo: {error}") from error


DEMO = Variant("demo", _change, _prepare, hooks=("mmvit.DemoReportHook",))
