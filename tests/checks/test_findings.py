"""Options of configs of ours are changed, and a check has one finding about it: how bad it is, which key, and why."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from makers import HOME
from mmengine.config import Config
from mmengine.registry import DefaultScope
from small_datasets import own_config

from mmvit.checks.best import check_best
from mmvit.checks.channels import check_channels
from mmvit.checks.classes import check_classes
from mmvit.checks.evaluators import check_metrics
from mmvit.checks.findings import Finding
from mmvit.checks.losses import check_losses
from mmvit.checks.options import check_options
from mmvit.checks.pipelines import check_sizes
from mmvit.checks.plan import Plan
from mmvit.checks.settings import check_settings

pytestmark = pytest.mark.stack

Check = Callable[[Plan], Iterator[Finding]]
DETECTOR, MASKS, SEGMENTER = "retinanet_pvt_tiny_coco", "mask_rcnn_pvt_tiny_coco", "fpn_van_b0_ade20k"
UPERNET, CITIES = "upernet_van_b2_ade20k", "segformer_pvt_v2_b2_cityscapes"


def found(check: Check, cfg: Config, *splits: str) -> list[tuple[str, str]]:
    """Verdict and text of what a check finds."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return [(finding.verdict, finding.text) for finding in check(Plan(cfg, splits or ("train", "val", "test")))]


CE = dict(type="CrossEntropyLoss", loss_weight=1.0)
DETR = dict(loss_cls=dict(type="CrossEntropyLoss", bg_cls_weight=0.1, class_weight=1.0), num_classes=80, embed_dims=256)
FLIP = [dict(type="mmvit.LoadImage"), dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
NORMALIZE = dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
NORMALIZED = [FLIP[0], NORMALIZE, FLIP[2]]
STILL = [FLIP[0], dict(type="RandomFlip", prob=0.0), FLIP[2]]
TRAIN_STEPS, VAL_STEPS, TEST_STEPS = (f"{split}_dataloader.dataset.pipeline" for split in ("train", "val", "test"))
MEAN, STD = "model.data_preprocessor.mean", "model.data_preprocessor.std"
RANDOM = {"model.backbone.init_cfg": None, "model.backbone.frozen_stages": 2}
TRAINING_DATA = dict(ann_file="annotations/instances_train2017.json", data_prefix=dict(img="train2017/"))
BEST, LOSS = "default_hooks.checkpoint.save_best", "model.decode_head.loss_decode"
PREFIXES = dict(type="MultiDatasetsEvaluator", metrics=[dict(type="CocoMetric")], dataset_prefixes=["a"])
IOU = dict(_delete_=True, type="IoUMetric")
DATA = "train_dataloader.dataset.metainfo"
ENCODER = dict(in_channels=512, out_channels=256, block_mid_channels=128, num_residual_blocks=2, block_dilations=[2, 4])
YOLO = dict(num_scales=3, in_channels=[512, 320, 128], out_channels=[512, 256, 128])
ONE = dict(out_channels=1, num_classes=2)
SIZE, CROPS = "model.data_preprocessor.size", "train_dataloader.dataset.pipeline crops to 512 x 512"

# Config, options, and the finding: how bad it is, and the beginning of what is said, "..." standing for any words.
Row = tuple[str, dict[str, Any], str]
ROWS: dict[Check, list[Row]] = {
    check_channels: [
        (
            DETECTOR,
            {"model.neck.in_channels": [64, 128, 320]},
            "wrong ... is [64, 128, 320], but ... gives [64, 128, 320, 512]",
        ),
        (DETECTOR, {"model.backbone.out_indices": (0, 1, 2)}, "wrong model.neck.in_ch... 512], but ... gives [64, 128, 320]"),
        (
            MASKS,
            {"model.neck.out_channels": 128},
            "wrong model.rpn_head.in_channels is 256, but what comes before it gives 128",
        ),
        (
            UPERNET,
            {"model.decode_head.in_channels": [64, 128, 256, 512]},
            "wrong ... 256, 512], but ... gives [64, 128, 320, 512]",
        ),
        (UPERNET, {"model.auxiliary_head.in_index": 4}, "wrong ... is 4, but there are 4 maps: [64, 128, 320, 512]"),
        (DETECTOR, {"model.neck.in_channels": [1, 128, 320, 512]}, ""),  # a level that the neck leaves out
        (
            DETECTOR,
            {"model.backbone.out_indices": (3,), "model.neck": dict(_delete_=True, type="DilatedEncoder", **ENCODER)},
            "",
        ),
        (
            DETECTOR,  # a neck that turns the order
            {
                "model.backbone.out_indices": (1, 2, 3),
                "model.neck": dict(_delete_=True, type="YOLOV3Neck", **YOLO),
                "model.bbox_head.in_channels": 256,
            },
            "",
        ),
        (DETECTOR, {"model.neck.type": "absent.Neck", "model.neck.in_channels": 7}, "not checked model.neck.in_channels is 7"),
    ],
    check_losses: [
        (
            SEGMENTER,
            {LOSS: [CE, dict(type="DiceLoss", loss_name="dice")]},
            f"wrong {LOSS}.1.loss_name is 'dice': mmengine adds",
        ),
        (SEGMENTER, {f"{LOSS}.loss_weight": 0}, "wrong model: every loss has loss_weight=0: nothing learns"),
        (DETECTOR, {"model.bbox_head.loss_bbox.loss_weight": 0}, "doubtful model.bbox_head.loss_bbox: loss_weight is 0"),
        (SEGMENTER, {f"{LOSS}.class_weight": "w.npy"}, f"wrong {LOSS}.class_weight names the file w.npy, which is not there"),
        (MASKS, {"model.roi_head.mask_head.loss_mask.class_weight": [1.0] * 80}, "wrong ...: a mask is compared with that of"),
        (MASKS, {"model.rpn_head.loss_cls.class_weight": [1.0] * 80}, "wrong ....class_weight has 80 numbers, expected 1"),
        (DETECTOR, {}, ""),
        (MASKS, {}, ""),
        (SEGMENTER, {}, ""),
    ],
    check_sizes: [
        (SEGMENTER, {SIZE: (256, 256)}, f"wrong {CROPS}... Set model.data_preprocessor.size=(512, 512)"),
        (SEGMENTER, {SIZE: (1024, 1024)}, f"doubtful {CROPS}... 75% of each batch is padding"),
        (SEGMENTER, {SIZE: None}, "wrong model.data_preprocessor has neither size nor size_divisor, expected one of them"),
        (SEGMENTER, {}, ""),
        (
            SEGMENTER,
            {"val_dataloader.batch_size": 2, "model.data_preprocessor.test_cfg": None},
            "doubtful val_dataloader.batch_size is 2: images of several sizes stop the run",
        ),
    ],
    check_classes: [
        (
            DETECTOR,
            {"model.bbox_head.num_classes": 81},
            f"wrong ... is 81, but ... has 80 ... Set it to 80, ... in {DATA}.classes",
        ),
        (
            DETECTOR,
            {DATA: dict(classes=("screw", "nut"))},
            "wrong model.bbox_head.num_classes is 80, ... 2 classes (screw, nut)",
        ),
        (MASKS, {"model.roi_head.bbox_head.num_classes": 3}, "wrong ... is 3, but"),
        (MASKS, {"model.roi_head.mask_head.num_classes": 3}, "wrong ... is 3, but"),
        (UPERNET, {"model.decode_head.num_classes": 19}, "wrong ... is 19, but"),
        (UPERNET, {"model.auxiliary_head.num_classes": 19}, "wrong ... is 19, but"),
        (CITIES, {"model.decode_head.num_classes": 150}, "wrong ... (CityscapesDataset) has 19 classes (road"),
        # Two classes from one map, the old way and the new; heads whose classes are others than the dataset's.
        (
            SEGMENTER,
            {"model.decode_head": ONE, DATA: dict(classes=("cell",))},
            "doubtful ... ('background', 'cell')",
        ),
        (SEGMENTER, {"model.decode_head.num_classes": 1, DATA: dict(classes=("no", "yes"))}, ""),
        (UPERNET, {"model.auxiliary_head.type": "STDCHead", "model.auxiliary_head.num_classes": 2}, ""),
        (MASKS, {"model.rpn_head.num_classes": 1}, ""),
        (MASKS, {"model.roi_head.mask_head": dict(class_agnostic=True, num_classes=1)}, ""),
        # Classes that nobody knows before the files are read, and parts of packages that are not here.
        (MASKS, {DATA: dict(classes="classes.txt")}, ""),
        (MASKS, {"train_dataloader.dataset.type": "CocoPanopticDataset"}, ""),
        (MASKS, {"train_dataloader.dataset.type": "absent.Dataset"}, ""),
        (MASKS, {"train_dataloader": None}, ""),
        (UPERNET, {"model.decode_head.type": "absent.Head", "model.decode_head.num_classes": 7}, ""),
        (SEGMENTER, {f"{LOSS}.class_weight": [1.0] * 3}, f"wrong {LOSS}.class_weight has 3 numbers, expected 150: one for"),
        (SEGMENTER, {f"{LOSS}.class_weight": [1.0] * 150}, ""),
        (
            DETECTOR,
            {DATA: dict(classes=("cat", "dog", "cat")), "model.bbox_head.num_classes": 3},
            f"wrong {DATA}.classes has cat more than once",
        ),
    ],
    check_metrics: [
        (DETECTOR, {}, ""),
        (
            DETECTOR,
            {"val_evaluator.metric": ["bbox", "segm"]},
            "wrong val_evaluator.metric has 'segm', and the model has no head of masks",
        ),
        (
            SEGMENTER,
            {"val_dataloader.dataset.type": "BaseSegDataset"},
            "wrong val_dataloader.dataset (BaseSegDataset) names no classes, which val_evaluator counts by",
        ),
        (DETECTOR, {"val_evaluator.metric": "box"}, "wrong val_evaluator.metric has 'box'; did you mean bbox?"),
        (DETECTOR, {"val_evaluator": {**IOU, "iou_metrics": ["IoU"]}}, "wrong ...iou_metrics has 'IoU'; did you mean"),
    ],
    check_best: [
        (DETECTOR, {}, ""),
        (DETECTOR, {BEST: "coco/bbox_map"}, f"wrong {BEST} is 'coco/bbox_map', and the validation gives no such figure; did"),
        (DETECTOR, {BEST: ["coco/bbox_mAP", "mAP"]}, f"wrong {BEST} is 'mAP', and"),
        (DETECTOR, {BEST: "auto"}, ""),
        (DETECTOR, {"val_evaluator.classwise": True, BEST: "coco/kite_precision"}, ""),
        (
            DETECTOR,
            {"val_evaluator.classwise": True, BEST: "coco/kites_precision"},
            f"wrong {BEST} is 'coco/kites_precision', and",
        ),
        (DETECTOR, {"val_dataloader": None}, f"doubtful {BEST} is 'coco/bbox_mAP', and there is no validation"),
        (DETECTOR, {"val_evaluator": PREFIXES}, f"wrong {BEST} is 'coco/bbox_mAP', and the validation gives no such figure"),
        (DETECTOR, {"val_evaluator.type": "LVISMetric", BEST: "lvis/bbox_mAP"}, ""),
        (
            DETECTOR,
            {"custom_hooks": [dict(type="EarlyStoppingHook", monitor="mAP")]},
            "wrong custom_hooks.0.monitor is 'mAP', ",
        ),
        (DETECTOR, {"param_scheduler": [dict(type="ReduceOnPlateauLR")]}, "wrong param_scheduler.0.monitor is 'loss', and"),
        (
            DETECTOR,
            {"val_evaluator": {**IOU, "iou_metrics": ["mFscore"]}, BEST: "mFscore"},
            f"wrong {BEST} is 'mFscore', and mmengine cannot tell whether more of it is better. Set",
        ),
    ],
    check_settings: [
        (
            DETECTOR,
            {MEAN: (0.485, 0.456, 0.406), STD: (0.229, 0.224, 0.225)},
            "doubtful model.data...write mean=[123.675, 116.28, 103.53], std=",
        ),
        (DETECTOR, {MEAN: [103.53, 116.28, 123.675], STD: [1.0, 1.0, 1.0]}, ""),
        (DETECTOR, {VAL_STEPS: NORMALIZED}, f"doubtful {VAL_STEPS} has Normalize, and model.data_preprocessor normalises, too"),
        (
            DETECTOR,
            {VAL_STEPS: NORMALIZED, MEAN: None, STD: None},
            f"wrong {VAL_STEPS} has Normalize, train_... has not: the",
        ),
        (DETECTOR, dict.fromkeys((TRAIN_STEPS, VAL_STEPS, TEST_STEPS), NORMALIZED) | {MEAN: None, STD: None}, ""),
        (DETECTOR, {MEAN: None, STD: None}, "doubtful model.data_preprocessor has no mean and std: pixels from 0 to 255"),
        (DETECTOR, {"optim_wrapper.optimizer.lr": 0}, "wrong optim_wrapper.optimizer.lr is 0: nothing learns"),
        (DETECTOR, RANDOM, "wrong model.backbone.frozen_stages is 2, and nothing is loaded into the backbone: random weights"),
        (DETECTOR, {**RANDOM, "load_from": "own.pth"}, ""),
        (DETECTOR, {"model.backbone.frozen_stages": 2}, ""),  # the authors' file is in there
        (DETECTOR, {VAL_STEPS: FLIP}, f"doubtful {VAL_STEPS}.1 is RandomFlip:"),
        (DETECTOR, {VAL_STEPS: STILL}, ""),
        (
            DETECTOR,
            {"val_dataloader.dataset.test_mode": False, "val_dataloader.dataset.filter_cfg": dict(min_size=32)},
            "wrong val_dataloader.dataset leaves out images (filter_cfg), because test_mode is not set",
        ),
        (
            DETECTOR,  # one begins so, to see a model learn at all
            {f"val_dataloader.dataset.{name}": value for name, value in TRAINING_DATA.items()},
            "doubtful val_dataloader.dataset reads the data of train_dataloader.dataset",
        ),
        (DETECTOR, {"train_cfg.max_epochs": 0}, "wrong train_cfg.max_epochs is 0, expected a whole number from 1"),
        (DETECTOR, {"train_cfg.val_interval": 0}, "wrong train_cfg.val_interval is 0, expected a whole number from 1"),
        (DETECTOR, {"train_dataloader.batch_size": 0}, "wrong train_dataloader.batch_size is 0, expected"),
        (DETECTOR, {"val_evaluator": None}, "wrong val_evaluator missing or None, but val_dataloader and val_cfg given: a val"),
        (
            DETECTOR,
            {"test_cfg": None, "test_evaluator": None},
            "wrong test_cfg and test_evaluator missing or None, but test_dataloader given",
        ),
        (DETECTOR, {"auto_scale_lr.enable": True, "auto_scale_lr.base_batch_size": None}, "wrong auto_scale_lr.enable is on"),
        (SEGMENTER, {"default_hooks.checkpoint.by_epoch": True}, "doubtful default_hooks.checkpoint counts epochs"),
    ],
    check_options: [
        (DETECTOR, {"train_cfg.max_epoch": 1}, "wrong ...: EpochBasedTrainLoop takes no such option; did you mean max_epochs"),
        (SEGMENTER, {"train_cfg.max_epochs": 1}, "wrong ...: IterBasedTrainLoop takes no such option; did you mean max_iters"),
        (DETECTOR, {"default_hooks.checkpoint.intervall": 1}, "wrong ...: CheckpointHook takes ...; did you mean interval"),
        (DETECTOR, {"train_dataloader.dataset.filter_cfgs": 1}, "wrong ...: CocoDataset takes ...; did you mean filter_cfg"),
        (SEGMENTER, {"test_dataloader.dataset.img_sufix": 1}, "wrong ...: ADE20KDataset takes ...; did you mean img_suffix"),
        (DETECTOR, {"train_dataloader.dataset.data_prefix": "a/"}, "wrong ... is 'a/', expected a dict of folders, such as "),
        (DETECTOR, {"val_dataloader.dataset.ann_file": ["a", "b"]}, "wrong ..., expected one file. For several write a Concat"),
        (SEGMENTER, {DATA: dict(_delete_=True, CLASSES=("a",))}, "wrong ... has CLASSES, which ... Write classes=(...)"),
        (DETECTOR, {"train_dataloader.batchsize": 1}, "wrong ...: a data loader takes no such option; did you mean batch_size"),
        (DETECTOR, {"train_dataloader.sampler.shufle": 1}, "wrong ...: DefaultSampler takes ...; did you mean shuffle"),
        (DETECTOR, {"train_dataloader.dataset.pipeline.2.scales": 1}, "wrong ... takes no such option; "),
        (DETECTOR, {"optim_wrapper.optimizer.learning_rate": 1}, "wrong ...: AdamW takes no such option"),
        (DETECTOR, {"optim_wrapper.clip_grads": 1}, "wrong ...: OptimWrapper takes ...; did you mean clip_grad"),
        (DETECTOR, {"param_scheduler.0.start_facto": 1}, "wrong ... takes ...; did you mean start_factor"),
        (DETECTOR, {"val_evaluator.metrics": 1}, "wrong ...: CocoMetric takes no such option; did you mean metric"),
        (DETECTOR, {"model.bbox_head.loss_bbox.loss_weights": 1}, "wrong ...: L1Loss takes ...; did you mean loss_weight"),
        (DETECTOR, {"model.bbox_head": dict(_delete_=True, type="DETRHead", **DETR)}, ""),  # which it takes out of its loss
        (DETECTOR, {f"{DATA}.classes": "cat"}, "wrong ... is the string 'cat', where ... Write classes=('cat',) with a comma"),
        (SEGMENTER, {"test_evaluator.iou_metrics": "mIoU"}, "wrong ... is the string 'mIoU', ... Write iou_metrics=('mIoU',) "),
        (SEGMENTER, {"model.decode_head.loss_decode": dict(_delete_=True, type="LovaszLoss", classes="present")}, ""),
        (
            DETECTOR,
            {"val_dataloader.dataset.metainfo.thing_classes": "a"},
            "wrong ... is the string 'a', ...('a',) with a comma",
        ),
        (
            SEGMENTER,
            {"model.pretrained": "open-mmlab://resnet50_v1c"},
            "wrong ... is 'open-mmlab://resnet50_v1c', which mmseg hands to the backbone... model=dict(pretrained=None, ...)",
        ),
    ],
}


@pytest.mark.parametrize(
    ("check", "name", "options", "told"),
    [pytest.param(check, *row, id=f"{', '.join(row[1])}: {row[2][:30]}") for check, rows in ROWS.items() for row in rows],
)
def test_options(check: Check, name: str, options: dict[str, Any], told: str) -> None:
    findings = found(check, own_config(name, **options))
    assert len(findings) == bool(told), findings
    for verdict, text in findings:
        said = f"{verdict} {text}"
        assert told.partition(" ...")[0] != verdict or text.startswith(tuple(options)), text
        assert re.match(".*".join(map(re.escape, told.split("..."))), said, re.DOTALL), said


@pytest.mark.parametrize("name", sorted(file.stem for file in (HOME / "configs").glob("*.py"))[::5])
def test_our_configs_are_faultless(name: str) -> None:
    cfg = own_config(name)
    assert [
        told for check in (check_settings, check_options, check_channels, check_classes) for told in found(check, cfg)
    ] == []
