"""Parts of a model that do not fit each other or the data are refused; what would run is not."""

from typing import Any

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from test_config_errors import CONFIGS, faults, leaf, short

from mmvit.checks.classes import class_faults, known_classes
from mmvit.config.datasets import datasets_of
from mmvit.config.files import load_config


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        (
            "retinanet_pvt_small_coco",
            {"model.bbox_head.num_classes": 81},
            "model.bbox_head.num_classes is 81, but train_dataloader.dataset (CocoDataset) has 80 classes (person, bicycle, "
            "car and 77 more). Set it to 80, or name other classes in train_dataloader.dataset.metainfo.classes",
        ),
        (
            "retinanet_pvt_small_coco",
            {"train_dataloader.dataset.metainfo": dict(classes=("screw", "nut"))},
            "model.bbox_head.num_classes is 80, but train_dataloader.dataset (CocoDataset) has 2 classes (screw, nut)",
        ),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.bbox_head.num_classes": 3}, "model.roi_head.bbox_head.num_classes is 3"),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.mask_head.num_classes": 3}, "model.roi_head.mask_head.num_classes is 3"),
        ("upernet_van_b2_ade20k", {"model.decode_head.num_classes": 19}, "model.decode_head.num_classes is 19, but"),
        ("upernet_van_b2_ade20k", {"model.auxiliary_head.num_classes": 19}, "model.auxiliary_head.num_classes is 19, but"),
        ("segformer_pvt_v2_b2_cityscapes", {"model.decode_head.num_classes": 150}, "(CityscapesDataset) has 19 classes (road"),
        (
            "upernet_van_b2_ade20k",
            {"model.decode_head.in_channels": [64, 128, 256, 512]},
            "model.decode_head.in_channels is [64, 128, 256, 512], but what comes before it gives [64, 128, 320, 512]",
        ),
        (
            "upernet_van_b2_ade20k",
            {"model.auxiliary_head.in_index": 4},
            "model.auxiliary_head.in_index is 4, but there are 4 maps: [64, 128, 320, 512]",
        ),
        (
            "mask_rcnn_pvt_small_coco",
            {"model.neck.in_channels": [64, 128, 320]},
            "model.neck.in_channels is [64, 128, 320], but what comes before it gives [64, 128, 320, 512]",
        ),
        (
            "mask_rcnn_pvt_small_coco",
            {"model.neck.out_channels": 128},
            "model.rpn_head.in_channels is 256, but what comes before it gives 128",
        ),
        (
            "fpn_pvt_small_ade20k",
            {"model.backbone.out_indices": (0, 1, 2)},
            "model.neck.in_channels is [64, 128, 320, 512], but what comes before it gives [64, 128, 320]",
        ),
    ],
    ids=short,
)
def test_parts_that_do_not_fit(name: str, options: dict[str, Any], told: str) -> None:
    config = leaf(name)
    config.merge_from_dict(options)
    assert any(told in fault for fault in faults(config)), faults(config)


@pytest.mark.stack
@pytest.mark.parametrize(
    ("name", "options"),
    [
        # a level that the neck leaves out
        ("retinanet_pvt_small_coco", {"model.neck.in_channels": [1, 128, 320, 512]}),
        # necks that take one map, or turn the order
        (
            "retinanet_pvt_small_coco",
            {
                "model.backbone.out_indices": (3,),
                "model.neck": dict(
                    _delete_=True,
                    type="DilatedEncoder",
                    in_channels=512,
                    out_channels=256,
                    block_mid_channels=128,
                    num_residual_blocks=2,
                    block_dilations=[2, 4],
                ),
            },
        ),
        (
            "retinanet_pvt_small_coco",
            {
                "model.backbone.out_indices": (1, 2, 3),
                "model.neck": dict(
                    _delete_=True, type="YOLOV3Neck", num_scales=3, in_channels=[512, 320, 128], out_channels=[512, 256, 128]
                ),
                "model.bbox_head.in_channels": 256,
            },
        ),
        # parts that cannot be tried out, of packages that are not here
        ("retinanet_pvt_small_coco", {"model.neck.type": "absent.Neck", "model.neck.in_channels": 7}),
        ("upernet_van_b2_ade20k", {"model.decode_head.type": "absent.Head", "model.decode_head.num_classes": 7}),
        # two classes from one map, the old way and the new
        (
            "fpn_pvt_small_ade20k",
            {
                "model.decode_head.num_classes": 2,
                "model.decode_head.out_channels": 1,
                "train_dataloader.dataset.metainfo": dict(classes=("cell",)),
            },
        ),
        (
            "fpn_pvt_small_ade20k",
            {"model.decode_head.num_classes": 1, "train_dataloader.dataset.metainfo": dict(classes=("no", "yes"))},
        ),
        # heads whose classes are others than the dataset's
        ("upernet_van_b2_ade20k", {"model.auxiliary_head.type": "STDCHead", "model.auxiliary_head.num_classes": 2}),
        ("mask_rcnn_pvt_small_coco", {"model.rpn_head.num_classes": 1}),
        ("mask_rcnn_pvt_small_coco", {"model.roi_head.mask_head": dict(class_agnostic=True, num_classes=1)}),
        # classes that nobody knows before the files are read
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.metainfo": dict(classes="classes.txt")}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.type": "CocoPanopticDataset"}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader.dataset.type": "absent.Dataset"}),
        ("mask_rcnn_pvt_small_coco", {"train_dataloader": None}),
        # other backbones
        ("retinanet_pvt_small_coco", {"model.backbone": dict(_delete_=True, type="ResNet", depth=18)}),
        ("retinanet_pvt_small_coco", {"model.backbone": dict(_delete_=True, type="absent.Backbone")}),
    ],
    ids=short,
)
def test_what_would_run_is_not_refused(name: str, options: dict[str, Any]) -> None:
    config = leaf(name)
    for key, value in options.items():
        if isinstance(value, dict) and value.pop("_delete_", False):
            part, _, entry = key.rpartition(".")
            config.model[entry] = ConfigDict(value)
            assert part == "model"
        else:
            config.merge_from_dict({key: value})
    assert faults(config) == []


@pytest.mark.stack
def test_cascades_and_wrapped_datasets() -> None:
    heads = [dict(type="Shared2FCBBoxHead", num_classes=count) for count in (80, 80, 3)]
    model = dict(roi_head=dict(bbox_head=heads, mask_head=dict(type="FCNMaskHead", num_classes=80)))
    coco = dict(type="CocoDataset")
    wrapped = dict(type="RepeatDataset", times=2, dataset=dict(type="ConcatDataset", datasets=[coco, coco]))
    config = Config(dict(train_dataloader=dict(dataset=wrapped)))
    with DefaultScope.overwrite_default_scope("mmdet"):
        (fault,) = class_faults(model, datasets_of(config, ("train",)))
        assert fault.text.startswith(
            "model.roi_head.bbox_head.2.num_classes is 3, but train_dataloader.dataset.dataset.datasets."
        )
        wrapped["dataset"]["datasets"] = [coco, dict(coco, metainfo=dict(classes=("screw",)))]
        config = Config(dict(train_dataloader=dict(dataset=wrapped)))
        assert list(class_faults(model, datasets_of(config, ("train",)))) == [], "which of them is meant cannot be known"
        assert known_classes(dict(type="CocoDataset"))[:2] == ["person", "bicycle"]


@pytest.mark.stack
def test_configs_of_ours_fit() -> None:
    for file in sorted(CONFIGS.glob("*.py"))[::6]:
        config = load_config(file)
        assert faults(config) == []
