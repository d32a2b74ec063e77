"""The demo: any detection config of this package, its model unchanged but for the classes, on the embedded dataset.

`apply` changes what the data force (paths, classes, pipelines), and what two CPU cores and random weights ask for: the
schedule, the optimiser (AdamW, warm-up, cosine, gradient clipping) and the spread of the head's first weights. Neck and
head learn at a lower rate than the backbone: their 3 x 3 convolutions sum over 2,304 inputs and have no norms. At 1e-3
for all parts the loss blew up.
"""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from ..errors import InputError
from .spec import CLASSES

BATCH = 4
# Iterations are shared out by what a bare step costs at its best on two cores (batch 4, 96 pixels). Whole runs, with data,
# validations and a busier machine, took 1.3 to 1.5 times SECONDS: PVT small 9.9 min, tiny 11.0 min.
SECONDS = 440
SECONDS_AN_ITERATION = 0.165  # for the neck, the head and everything else,
SECONDS_A_MILLION = 0.0115  # and this much more for a million parameters of the backbone
WARM_UP = 50
LEARNING_RATE = 3.5e-4
BETAS = (0.9, 0.98)  # 0.98: the size of the gradients changes within tens of iterations
CONVOLUTIONS_LR_MULT = 0.4  # of neck and head
HEAD_STD = 0.03  # sqrt(2 / 2304): signals keep their size through the head; RetinaNet's own 0.01 divides them by 75
VALIDATIONS = 4
VAL_BATCH = 10


def apply(cfg: Config, root: Path) -> None:
    """Turns a detection config into its demo, in place.

    Args:
        cfg: a config whose datasets are COCO's.
        root: where the demo dataset lies.

    Raises:
        InputError: a config that is no detector on COCO; demos of other heads are not there yet.
    """
    kind = cfg.train_dataloader.dataset.get("type")
    if "bbox_head" not in cfg.model or kind != "CocoDataset":
        raise InputError(
            f"--demo: expected a one-stage detector (model.bbox_head) on CocoDataset, got {cfg.model.type} on {kind}"
        )
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.drop_path_rate = 0.0  # nothing to regularise in a few passes over the data
    cfg.model.bbox_head.num_classes = len(CLASSES)
    if cfg.model.bbox_head.type == "RetinaHead":
        cfg.model.bbox_head.init_cfg = _head_init()
    _data(cfg, root)
    _schedule(cfg, _iterations(cfg))


def _iterations(cfg: Config) -> int:
    """So many that every backbone gets about the same time; the same number on every machine."""
    with torch.device("meta"):
        backbone = MODELS.build(cfg.model.backbone)
    millions = sum(parameter.numel() for parameter in backbone.parameters()) / 1e6
    return 10 * round(SECONDS / (SECONDS_AN_ITERATION + SECONDS_A_MILLION * millions) / 10)


def _head_init() -> dict:
    """RetinaNet's first weights with `HEAD_STD` in the stacked convolutions."""
    outputs = [
        dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.01),
        dict(type="Normal", name="retina_reg", std=0.003),
    ]
    return dict(type="Normal", layer="Conv2d", std=HEAD_STD, override=outputs)


def _data(cfg: Config, root: Path) -> None:
    data_root = f"{root.as_posix()}/coco/"
    load = [dict(type="mmvit.LoadImage"), dict(type="LoadAnnotations", with_bbox=True)]
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    cfg.train_pipeline = [*load, dict(type="PackDetInputs")]
    resize = dict(type="Resize", scale_factor=1.0, keep_ratio=True)
    cfg.test_pipeline = [load[0], resize, load[1], dict(type="PackDetInputs", meta_keys=keys)]
    sizes = [dict(type="Resize", scale_factor=factor, keep_ratio=True) for factor in (0.75, 1.0, 1.25)]
    unflipped = dict(type="RandomFlip", prob=0.0)  # a flipped 2 is no 2
    pack = dict(type="PackDetInputs", meta_keys=(*keys, "flip", "flip_direction"))
    cfg.tta_pipeline = [load[0], dict(type="TestTimeAug", transforms=[sizes, [unflipped], [load[1]], [pack]])]
    for split, pipeline in (("train", cfg.train_pipeline), ("val", cfg.test_pipeline), ("test", cfg.test_pipeline)):
        loader = cfg[f"{split}_dataloader"]
        loader.num_workers = 1
        loader.persistent_workers = True
        dataset = loader.dataset
        year = "train2017" if split == "train" else "val2017"
        dataset.data_root = data_root
        dataset.ann_file = f"annotations/instances_{year}.json"
        dataset.data_prefix = dict(img=f"{year}/")
        dataset.metainfo = dict(classes=CLASSES)
        dataset.pipeline = pipeline
        if split == "val":
            loader.batch_size = VAL_BATCH
        if split != "train":
            cfg[f"{split}_evaluator"].ann_file = data_root + dataset.ann_file


def _schedule(cfg: Config, iterations: int) -> None:
    cfg.train_dataloader.batch_size = BATCH
    cfg.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=iterations // VALIDATIONS)
    cfg.param_scheduler = [
        dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=WARM_UP),
        dict(type="CosineAnnealingLR", by_epoch=False, begin=WARM_UP, end=iterations, eta_min_ratio=0.01),
    ]
    cfg.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="AdamW", lr=LEARNING_RATE, betas=BETAS, weight_decay=0.05, fused=True),
        paramwise_cfg=dict(
            norm_decay_mult=0.0,
            bias_decay_mult=0.0,
            custom_keys={part: dict(lr_mult=CONVOLUTIONS_LR_MULT) for part in ("neck", "bbox_head")},
        ),
        clip_grad=dict(max_norm=1.0),
    )
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", by_epoch=False, interval=iterations // VALIDATIONS, max_keep_ckpts=1
    )
    cfg.log_processor.by_epoch = False
    cfg.default_hooks.logger.log_metric_by_epoch = False
