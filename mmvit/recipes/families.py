"""How leaves of each family are trained: drop path rates, and the recipes that were published or that we chose.

A new family is a row of `DROP_PATHS`; a published recipe is a row of `RECIPES`. `configs` prints its source into the config as
a comment.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .tables import Leaf


@dataclass(frozen=True)
class Rates:
    """Drop path rates by arch, `"*"` for those not named, and their origin, which is a comment in the leaf."""

    origin: str
    by_arch: Mapping[str, float]

    def of(self, arch: str) -> float:
        return self.by_arch[arch] if arch in self.by_arch else self.by_arch["*"]


@dataclass(frozen=True)
class Recipe:
    """How leaves are trained: a family's own recipe, as far as it is known. `configs.recipe_of` completes it for a leaf."""

    heads: tuple[str, ...]  # of the leaves that it applies to, of those of its family and dataset
    source: str  # its source and any contradictions there; a comment in the leaf
    archs: tuple[str, ...] = ()  # likewise; empty means all
    published: bool = True  # False if the authors published only a part of it, or nothing
    lr: str | None = None  # None if it is the pairing's or the schedule's
    weight_decay: str | None = None  # likewise
    images: int = 0  # 0 if it is the pairing's
    slide: tuple[int, int] | None = None  # None if it is the pairing's
    drop_path: Rates | None = None  # None if it is the family's

    def covers(self, leaf: Leaf) -> bool:
        return leaf.head in self.heads and (not self.archs or leaf.arch in self.archs)

    @property
    def note(self) -> str:
        return f"Recipe: {self.source}" if self.published else f"No published recipe{self.source}"


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
RECIPES = {  # by family and dataset; the first that covers a leaf is used
    ("pvt", "coco"): [
        Recipe(
            ("retinanet",),
            f"PVT's authors ({PVT_CONFIGS}/retinanet_pvt_*_fpn_1x_coco.py); paper and code agree",
            drop_path=PVT_DETECTION,
        ),
        Recipe(
            ("mask_rcnn",),
            f"PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_l_fpn_1x_coco.py): {ONE_IMAGE}",
            archs=("large",),
            lr="2e-4 / 1.4",
            images=1,
            drop_path=PVT_DETECTION,
        ),
        Recipe(
            ("mask_rcnn",),
            f"PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_*_fpn_1x_coco.py). {MASK_RATE}",
            drop_path=PVT_DETECTION,
        ),
    ],
    ("pvt_v2", "coco"): [
        Recipe(
            ("retinanet",),
            f"PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
            archs=("b4", "b5"),
            lr="1e-4 / 1.4",
            images=1,
        ),
        Recipe(("retinanet",), f"PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py)"),
        Recipe(
            ("mask_rcnn",),
            f"PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
            archs=("b4", "b5"),
            lr="2e-4 / 1.4",
            images=1,
        ),
        Recipe(("mask_rcnn",), f"PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py). {MASK_RATE}"),
        Recipe(
            ("atss", "gfl"),
            f"PVTv2's authors ({PVT_CONFIGS}/{{atss,gfl}}_pvt_v2_*_fpn_3x_mstrain_fp16.py)",
            archs=("b2_li", "b2"),
        ),
    ],
    ("van", "coco"): [
        Recipe(
            ("retinanet", "mask_rcnn"),
            "VAN's paper, AdamW 1e-4, weight decay 0.05, batch 16, 1x. The detection code was never released",
            lr="1e-4",
            weight_decay="0.05",
        )
    ],
    ("shunted", "coco"): [
        Recipe(("retinanet", "mask_rcnn"), "PVT's, as the author of Shunted Transformer says; the code was never released")
    ],
    ("pvt", "ade20k"): [
        Recipe(
            ("fpn",),
            "PVT's authors (whai362/PVT, segmentation/configs/sem_fpn/PVT). Contradiction: the paper has 1e-4, 80,000 "
            "iterations and batch 16; code over paper",
        )
    ],
    ("pvt_v2", "ade20k"): [
        Recipe(
            ("fpn",), "PVT's for Semantic FPN, of the same repository, which has none for PVTv2. Results: VAN's paper, table 12"
        )
    ],
    ("van", "ade20k"): [
        Recipe(
            ("fpn",),
            "VAN's authors (VAN-Segmentation, configs/sem_fpn)",
            drop_path=Rates(
                "the same configs; b5 and b6, which have none, as with UperNet", VAN_UPERNET | {"b0": 0.2, "b1": 0.2, "b2": 0.2}
            ),
        ),
        Recipe(
            ("upernet",),
            "VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained): 8 GPUs x 4 images, where the others have 2",
            archs=("b4",),
            images=4,
            drop_path=VAN_SAME,
        ),
        Recipe(
            ("upernet",),
            "VAN's authors (VAN-Segmentation, configs/upernet/22k_pretrained)",
            archs=("b5", "b6"),
            drop_path=VAN_SAME,
        ),
        Recipe(("upernet",), "VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained)", drop_path=VAN_SAME),
    ],
    ("shunted", "ade20k"): [
        Recipe(
            ("fpn",),
            "PVT's, as the author of Shunted Transformer says; the code was never released. Results: RMT's paper, table 5",
        )
    ],
    ("volo", "ade20k"): [
        Recipe(
            ("upernet",),
            ", except that VOLO's authors say sliding-window test; ours: VAN's for UperNet, windows and stride of "
            "mmsegmentation's ConvNeXt configs",
            published=False,
            slide=(341, 341),
        )
    ],
    ("volo", "cityscapes"): [
        Recipe(
            ("upernet",),
            ", except that VOLO's authors say sliding-window test; ours: VAN's for UperNet on ADE20K, windows of the training "
            "crop, moved by two thirds of it",
            published=False,
            slide=(341, 683),
        )
    ],
}
