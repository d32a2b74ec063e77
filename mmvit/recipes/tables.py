"""The heads and datasets of the configs, one row each: a new head is a row of `HEADS`, a dataset one of `DATASETS`.

`families` has the recipes, `published_results` the results.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

GPUS = 8  # of the recipes below that name no other number


@dataclass(frozen=True, order=True)
class Leaf:
    """Four parts of a config's name."""

    head: str
    family: str
    arch: str
    dataset: str

    @property
    def name(self) -> str:
        return f"{self.head}_{self.family}_{self.arch}_{self.dataset}"


@dataclass(frozen=True)
class Dataset:
    """A dataset with a base in `configs/_base_/datasets`."""

    title: str  # its name on pages
    kind: str  # its type in configs
    layout: str  # its files, under data_root
    download: str  # what to download from where
    classes: int | None = None  # how many it has, where the base of a head has another number
    head: Mapping[str, Any] = field(default_factory=dict)  # more settings of each head that takes num_classes
    families: tuple[str, ...] = ()  # those that have a config for it; all by default
    published: bool = True  # whether everyone's files are the same; otherwise they are the user's own

    def has(self, family: str) -> bool:
        return not self.families or family in self.families


@dataclass(frozen=True)
class Pairing:
    """Head on a dataset: the settings of families that have no recipe of their own there."""

    data: str  # base in `configs/_base_/datasets`
    schedule: str  # base in `configs/_base_/schedules`
    ours: str  # where the recipe is taken from, for families without a published one
    crop: tuple[int, int] | None = None  # height and width in training; None for detection
    lr: str | None = None  # learning rate, if it is not the schedule's
    images: int = 2  # images per GPU
    slide: tuple[int, int] | None = None  # stride of a test with sliding windows of the training crop; None tests whole images
    gpus: int = GPUS


@dataclass(frozen=True)
class Pace:
    """Pace at which a kind of model trains in the demo: times of bare steps at their best on two cores (batch 4, 96 pixels)."""

    seconds: float  # time of an iteration without the backbone
    learning_rate: float
    heads_lr_mult: float = 1.0  # learning rate of everything except the backbone
    millions: float = inf  # millions of backbone parameters beyond which the rate falls with their square root


@dataclass(frozen=True)
class Head:
    """A head with a base in `configs/_base_/heads`, the settings that a leaf has to pass to it, and its datasets."""

    title: str  # its name on pages
    kind: str  # the type in configs that a model with this head has, or its head
    metrics: tuple[str, ...]  # what is measured, as pages call it
    pace: Pace  # of the demo
    on: Mapping[str, Pairing]  # its pairings, by dataset
    runtime: str = "runtime_detection"  # base of the runs
    # part of the model to the level whose channels it takes; None for all four
    inputs: Mapping[str, int | None] = field(default_factory=lambda: {"neck": None})
    classifiers: tuple[str, ...] = ()  # parts that take num_classes
    first: int = 0  # the first level that its neck takes
    skips: bool = True  # whether the neck leaves out earlier levels by start_level; False if the backbone must not return them
    demo: Mapping[str, object] = field(default_factory=dict)  # what the demo changes in the model, for images of 96 pixels


DATASETS = {
    "coco": Dataset(
        "COCO 2017",
        "CocoDataset",
        "annotations/instances_{train,val}2017.json, train2017/*.jpg, val2017/*.jpg",
        "train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org/#download",
    ),
    "ade20k": Dataset(
        "ADE20K",
        "ADE20KDataset",
        "images/{training,validation}/*.jpg, annotations/{training,validation}/*.png",
        "ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu",
        classes=150,
    ),
    "cityscapes": Dataset(
        "Cityscapes",
        "CityscapesDataset",
        "leftImg8bit/{train,val}/CITY/*_leftImg8bit.png, gtFine/{train,val}/CITY/*_gtFine_labelTrainIds.png",
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip from https://www.cityscapes-dataset.com, "
        "labelTrainIds by the cityscapesscripts package",
        classes=19,
    ),
    "binary": Dataset(
        "binary segmentation",
        "BaseSegDataset",
        "images/{train,val}/*.jpg, masks/{train,val}/*.png",
        "your own data, with masks of 0 and 1; mmvit new FOLDER --task binary makes them of masks with 0 and 255",
        classes=2,
        head=dict(out_channels=1, threshold=0.5, loss_decode=dict(_delete_=True, type="mmvit.StructureLoss")),
        families=("pvt_v2",),
        published=False,
    ),
}
BINARY = Pairing("binary", "binary_12k", "Polyp-PVT's, with another head", (352, 352), images=16, gpus=1)
MIT = "mmsegmentation's for SegFormer with MiT"
HEADS = {
    "retinanet": Head(
        "RetinaNet",
        "RetinaHead",
        ("box AP",),
        Pace(0.165, 3.5e-4, heads_lr_mult=0.4),
        {"coco": Pairing("coco_detection", "detection_1x", "PVT's for RetinaNet")},
        first=1,
    ),
    "mask_rcnn": Head(
        "Mask R-CNN",
        "MaskRCNN",
        ("box AP", "mask AP"),
        Pace(0.75, 3.5e-4, heads_lr_mult=0.4),
        {"coco": Pairing("coco_instance", "detection_1x", "PVT's for Mask R-CNN", lr="2e-4")},
    ),
    "upernet": Head(
        "UperNet",
        "UPerHead",
        ("mIoU",),
        Pace(1.4, 2e-3, millions=4),
        {
            "ade20k": Pairing("ade20k", "upernet_160k", "VAN's for UperNet", (512, 512)),
            "cityscapes": Pairing("cityscapes", "upernet_160k", "VAN's for UperNet on ADE20K", (512, 1024)),
            "binary": BINARY,
        },
        classifiers=("decode_head", "auxiliary_head"),
        runtime="runtime_segmentation",
        inputs={"decode_head": None, "auxiliary_head": 2},
    ),
    "segformer": Head(
        "SegFormer head",
        "SegformerHead",
        ("mIoU",),
        Pace(0.1, 2e-3, millions=4),
        {
            "ade20k": Pairing("ade20k", "segformer_160k", MIT, (512, 512)),
            "cityscapes": Pairing(
                "cityscapes_1024x1024",
                "segformer_160k",
                f"{MIT}, 8 GPUs x 1 image, sliding-window test",
                (1024, 1024),
                images=1,
                slide=(768, 768),
            ),
            "binary": BINARY,
        },
        classifiers=("decode_head",),
        runtime="runtime_segmentation",
        inputs={"decode_head": None},
    ),
    "fpn": Head(
        "Semantic FPN",
        "FPNHead",
        ("mIoU",),
        Pace(0.22, 2e-3, millions=4),
        {
            "ade20k": Pairing("ade20k", "fpn_40k", "PVT's for Semantic FPN", (512, 512), images=4),
            "cityscapes": Pairing("cityscapes", "fpn_80k", "the one of PVT's paper for Semantic FPN on ADE20K", (512, 1024)),
            "binary": BINARY,
        },
        classifiers=("decode_head",),
        runtime="runtime_segmentation",
    ),
    "atss": Head(
        "ATSS",
        "ATSS",
        ("box AP",),
        Pace(0.165, 3.5e-4),
        {"coco": Pairing("coco_detection_multiscale", "detection_3x", "PVTv2's for ATSS")},
        first=1,
    ),
    "gfl": Head(
        "GFL",
        "GFL",
        ("box AP",),
        Pace(0.165, 3.5e-4),
        {"coco": Pairing("coco_detection_multiscale", "detection_3x", "PVTv2's for GFL")},
        first=1,
    ),
    "dino": Head(
        "DINO",
        "DINO",
        ("box AP",),
        Pace(1.2, 2e-4),
        {"coco": Pairing("coco_detection", "detr_1x", "mmdet's for DINO")},
        first=1,
        skips=False,
        demo={"num_queries": 100},
    ),
    "deformable_detr": Head(
        "Deformable DETR",
        "DeformableDETR",
        ("box AP",),
        Pace(0.7, 2e-4),
        {"coco": Pairing("coco_detection", "deformable_detr_50e", "mmdet's for Deformable DETR", images=4)},
        first=1,
        skips=False,
        demo={"num_queries": 50},
    ),
    "rtmdet": Head(
        "RTMDet",
        "RTMDet",
        ("box AP",),
        Pace(0.2, 1e-3),
        {
            "coco": Pairing(
                "coco_detection", "rtmdet_1x", "PVT's for RetinaNet, without RTMDet's 300 epochs of mosaics and mixed images"
            )
        },
        first=1,
        skips=False,
    ),
    "mask2former_instance": Head(
        "Mask2Former (instances)",
        "Mask2Former",
        ("box AP", "mask AP"),
        Pace(1.0, 2e-4),
        {"coco": Pairing("coco_instance", "mask2former_50e", "mmdet's for Mask2Former, without its large-scale jitter")},
        demo={"panoptic_head.num_queries": 50, "train_cfg.num_points": 1024},
        inputs={"panoptic_head": None},
    ),
    "mask2former_semantic": Head(
        "Mask2Former",
        "Mask2FormerHead",
        ("mIoU",),
        Pace(1.0, 2e-4),
        {"ade20k": Pairing("ade20k", "mask2former_160k", "mmsegmentation's for Mask2Former", (512, 512))},
        classifiers=("decode_head",),
        demo={"decode_head.num_queries": 50, "decode_head.train_cfg.num_points": 1024},
        runtime="runtime_segmentation",
        inputs={"decode_head": None},
    ),
}
PAIRINGS = {(head, dataset): pairing for head, row in HEADS.items() for dataset, pairing in row.on.items()}
