"""The configs of this package as tables: heads, datasets, the settings of each family, and recipes.

A new family is a row of `DROP_PATHS`; a published recipe is a row of `RECIPES`. `configs` prints the source of a recipe into
the config as a comment. `published_results` has the results.
"""

from collections.abc import Mapping
from dataclasses import dataclass

GPUS = 8  # GPUs of every recipe below


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
class Head:
    """Settings that a leaf has to pass to a head of `configs/_base_/heads`.

    Attributes:
        runtime: base of the runs.
        inputs: part of the model to the level whose channels it takes; None for all four.
        classifiers: parts that take num_classes.
        first: the first level that its neck takes, the neck's start_level.
    """

    runtime: str
    inputs: Mapping[str, int | None]
    classifiers: tuple[str, ...] = ()
    first: int = 0


@dataclass(frozen=True)
class Pairing:
    """Head on a dataset: the settings of families that have no recipe of their own there.

    Attributes:
        data, schedule: bases, of `configs/_base_/datasets` and `configs/_base_/schedules`.
        ours: where the recipe is taken from, for families without a published one.
        classes: number of classes of the dataset; None if the base of the head has it.
        crop: height and width in training; None for detection.
        lr: learning rate, if it is not the schedule's.
        images: images per GPU.
        slide: stride of a sliding-window test with windows of the training crop; None tests whole images.
    """

    data: str
    schedule: str
    ours: str
    classes: int | None = None
    crop: tuple[int, int] | None = None
    lr: str | None = None
    images: int = 2
    slide: tuple[int, int] | None = None


@dataclass(frozen=True)
class Rates:
    """Drop path rates by arch, `"*"` for those not named, and their origin, which is a comment in the leaf."""

    origin: str
    by_arch: Mapping[str, float]

    def of(self, arch: str) -> float:
        return self.by_arch[arch] if arch in self.by_arch else self.by_arch["*"]


@dataclass(frozen=True)
class Recipe:
    """A family's own recipe, as far as it is known: only the differences from its `Pairing` and drop path.

    Attributes:
        heads, family, dataset, archs: the leaves that it applies to; empty archs mean all.
        source: its source and any contradictions there; a comment in the leaf.
        published: False if the authors published only a part of it.
    """

    heads: tuple[str, ...]
    family: str
    dataset: str
    source: str
    archs: tuple[str, ...] = ()
    published: bool = True
    lr: str | None = None
    weight_decay: str | None = None
    images: int | None = None
    slide: tuple[int, int] | None = None
    drop_path: Rates | None = None

    def covers(self, leaf: Leaf) -> bool:
        return (
            leaf.head in self.heads
            and (leaf.family, leaf.dataset) == (self.family, self.dataset)
            and (not self.archs or leaf.arch in self.archs)
        )


HEADS = {
    "retinanet": Head("runtime_detection", {"neck": None}, first=1),
    "mask_rcnn": Head("runtime_detection", {"neck": None}),
    "upernet": Head(
        "runtime_segmentation", {"decode_head": None, "auxiliary_head": 2}, classifiers=("decode_head", "auxiliary_head")
    ),
    "segformer": Head("runtime_segmentation", {"decode_head": None}, classifiers=("decode_head",)),
    "fpn": Head("runtime_segmentation", {"neck": None}, classifiers=("decode_head",)),
}

PAIRINGS = {
    ("retinanet", "coco"): Pairing("coco_detection", "detection_1x", ours="PVT's for RetinaNet"),
    ("mask_rcnn", "coco"): Pairing("coco_instance", "detection_1x", ours="PVT's for Mask R-CNN", lr="2e-4"),
    ("upernet", "ade20k"): Pairing("ade20k", "upernet_160k", ours="VAN's for UperNet", classes=150, crop=(512, 512)),
    ("upernet", "cityscapes"): Pairing(
        "cityscapes", "upernet_160k", ours="VAN's for UperNet on ADE20K", classes=19, crop=(512, 1024)
    ),
    ("segformer", "ade20k"): Pairing(
        "ade20k", "segformer_160k", ours="mmsegmentation's for SegFormer with MiT", classes=150, crop=(512, 512)
    ),
    ("segformer", "cityscapes"): Pairing(
        "cityscapes_1024x1024",
        "segformer_160k",
        ours="mmsegmentation's for SegFormer with MiT, 8 GPUs x 1 image, sliding-window test",
        classes=19,
        crop=(1024, 1024),
        images=1,
        slide=(768, 768),
    ),
    ("fpn", "ade20k"): Pairing("ade20k", "fpn_40k", ours="PVT's for Semantic FPN", classes=150, crop=(512, 512), images=4),
    ("fpn", "cityscapes"): Pairing(
        "cityscapes", "fpn_80k", ours="the one of PVT's paper for Semantic FPN on ADE20K", classes=19, crop=(512, 1024)
    ),
}

VAN_UPERNET = {"b3": 0.3, "b4": 0.4, "b5": 0.4, "b6": 0.5, "*": 0.1}  # VAN-Segmentation, configs/upernet
DROP_PATHS = {  # by family, unless a recipe has others
    "pvt": Rates("the authors' segmentation code (segmentation/pvt.py)", {"*": 0.1}),
    "pvt_v2": Rates("the authors' detection code (detection/pvt_v2.py)", {"*": 0.1}),
    "volo": Rates(
        "ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's",
        {"d1": 0.1, "d2": 0.2, "*": 0.5},
    ),
    "shunted": Rates("ours, that of the paper's ImageNet training", {"tiny": 0.1, "small": 0.2, "base": 0.3}),
    "t2t_vit": Rates("ours, that of the authors' ImageNet training (main.py)", {"*": 0.1}),
    "van": Rates("ours, that of the authors' UperNet configs", VAN_UPERNET),
}

PVT_CONFIGS = "whai362/PVT, detection/configs"
PVT_DETECTION = Rates(
    "the authors' detection code (detection/pvt.py)", {"tiny": 0.1, "small": 0.1, "medium": 0.0, "large": 0.0}
)
VAN_SAME = Rates("the same config", VAN_UPERNET)
ONE_IMAGE = "8 GPUs x 1 image, rate / 1.4. Contradiction: PVT's paper has batch 16 and 1e-4; code over paper"
MASK_RATE = "Contradiction: PVT's paper has 1e-4, the code 2e-4; code over paper"
RECIPES = (  # the first that covers a leaf is used
    Recipe(
        ("retinanet",),
        "pvt",
        "coco",
        f"PVT's authors ({PVT_CONFIGS}/retinanet_pvt_*_fpn_1x_coco.py); paper and code agree",
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt",
        "coco",
        f"PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_l_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("large",),
        lr="2e-4 / 1.4",
        images=1,
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt",
        "coco",
        f"PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_*_fpn_1x_coco.py). {MASK_RATE}",
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("retinanet",),
        "pvt_v2",
        "coco",
        f"PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("b4", "b5"),
        lr="1e-4 / 1.4",
        images=1,
    ),
    Recipe(("retinanet",), "pvt_v2", "coco", f"PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py)"),
    Recipe(
        ("mask_rcnn",),
        "pvt_v2",
        "coco",
        f"PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("b4", "b5"),
        lr="2e-4 / 1.4",
        images=1,
    ),
    Recipe(("mask_rcnn",), "pvt_v2", "coco", f"PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py). {MASK_RATE}"),
    Recipe(
        ("retinanet", "mask_rcnn"),
        "van",
        "coco",
        "VAN's paper, AdamW 1e-4, weight decay 0.05, batch 16, 1x. The detection code was never released",
        lr="1e-4",
        weight_decay="0.05",
    ),
    Recipe(
        ("retinanet", "mask_rcnn"),
        "shunted",
        "coco",
        "PVT's, as the author of Shunted Transformer says; the code was never released",
    ),
    Recipe(
        ("fpn",),
        "pvt",
        "ade20k",
        "PVT's authors (whai362/PVT, segmentation/configs/sem_fpn/PVT). Contradiction: the paper has 1e-4, 80,000 iterations "
        "and batch 16; code over paper",
    ),
    Recipe(
        ("fpn",),
        "pvt_v2",
        "ade20k",
        "PVT's for Semantic FPN, of the same repository, which has none for PVTv2. Results: VAN's paper, table 12",
    ),
    Recipe(
        ("fpn",),
        "van",
        "ade20k",
        "VAN's authors (VAN-Segmentation, configs/sem_fpn)",
        drop_path=Rates(
            "the same configs; b5 and b6, which have none, as with UperNet", VAN_UPERNET | {"b0": 0.2, "b1": 0.2, "b2": 0.2}
        ),
    ),
    Recipe(
        ("fpn",),
        "shunted",
        "ade20k",
        "PVT's, as the author of Shunted Transformer says; the code was never released. Results: RMT's paper, table 5",
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained): 8 GPUs x 4 images, where the others have 2",
        archs=("b4",),
        images=4,
        drop_path=VAN_SAME,
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "VAN's authors (VAN-Segmentation, configs/upernet/22k_pretrained)",
        archs=("b5", "b6"),
        drop_path=VAN_SAME,
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained)",
        drop_path=VAN_SAME,
    ),
    Recipe(
        ("upernet",),
        "volo",
        "ade20k",
        "except that VOLO's authors say sliding-window test; ours: VAN's for UperNet, windows and stride of mmsegmentation's "
        "ConvNeXt configs",
        published=False,
        slide=(341, 341),
    ),
    Recipe(
        ("upernet",),
        "volo",
        "cityscapes",
        "except that VOLO's authors say sliding-window test; ours: VAN's for UperNet on ADE20K, windows of the training crop, "
        "moved by two thirds of it",
        published=False,
        slide=(341, 683),
    ),
)
