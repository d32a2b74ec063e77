"""Published results of the families with each head and dataset; `results` prints them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .tables import Leaf


@dataclass(frozen=True)
class Reference:
    """Where a number is published."""

    name: str
    url: str


@dataclass(frozen=True)
class Published:
    """Results of a family with a head on a dataset, from one source."""

    head: str
    family: str
    dataset: str
    source: Reference
    figures: Mapping[str, str]  # arch to the numbers as they are printed: box AP, box AP / mask AP, or mean IoU, in percent
    test: Literal["single scale", "multi-scale"] | None = None  # scales of the test images; None if the source does not say
    under: str | None = None  # conditions that are not in the leaf's name

    def leaves(self) -> Iterator[Leaf]:
        return (Leaf(self.head, self.family, arch, self.dataset) for arch in self.figures)


PVT_PAPER = Reference("PVT paper", "https://arxiv.org/abs/2102.12122")
PVT_CODE = Reference("PVT repository", "https://github.com/whai362/PVT")
PVT_V2_PAPER = Reference("PVTv2 paper", "https://arxiv.org/abs/2106.13797")
VAN_PAPER = Reference("VAN paper", "https://arxiv.org/abs/2202.09741")
VAN_TABLE = Reference("VAN paper, table 12", VAN_PAPER.url)
VAN_CODE = Reference("VAN-Segmentation", "https://github.com/Visual-Attention-Network/VAN-Segmentation")
VAN_MMSEG = Reference("mmsegmentation, projects/van", "https://github.com/open-mmlab/mmsegmentation/tree/main/projects/van")
VOLO_CITED = Reference("sithu31296/semantic-segmentation", "https://github.com/sithu31296/semantic-segmentation")
RMT_TABLE = Reference("RMT paper, table 5", "https://arxiv.org/abs/2309.11523")
LONGER = "3x schedule, multi-scale training"
MORE_IMAGES = "pre-trained on ImageNet-22k"
PUBLISHED = (
    Published("retinanet", "pvt", "coco", PVT_PAPER, dict(tiny="36.7", small="40.4", medium="41.9", large="42.6")),
    Published(
        "retinanet", "pvt", "coco", PVT_PAPER, dict(tiny="39.4", small="42.2", medium="43.2", large="43.4"), under=LONGER
    ),
    Published("retinanet", "pvt", "coco", PVT_CODE, dict(small="38.7"), under="short side 640"),
    Published(
        "mask_rcnn",
        "pvt",
        "coco",
        PVT_PAPER,
        dict(tiny="36.7 / 35.1", small="40.4 / 37.8", medium="42.0 / 39.0", large="42.9 / 39.5"),
    ),
    Published(
        "mask_rcnn",
        "pvt",
        "coco",
        PVT_PAPER,
        dict(tiny="39.8 / 37.4", small="43.0 / 39.9", medium="44.2 / 40.5", large="44.5 / 40.7"),
        under=LONGER,
    ),
    Published(
        "fpn",
        "pvt",
        "ade20k",
        PVT_PAPER,
        dict(tiny="35.7", small="39.8", medium="41.6", large="42.1"),
        under="1e-4, 80,000 iterations, batch 16",
    ),
    Published("fpn", "pvt", "ade20k", PVT_CODE, dict(tiny="36.6", small="41.9", medium="43.5", large="43.5")),
    Published(
        "retinanet",
        "pvt_v2",
        "coco",
        PVT_V2_PAPER,
        dict(b0="37.2", b1="41.2", b2_li="43.6", b2="44.6", b3="45.9", b4="46.1", b5="46.2"),
    ),
    Published(
        "mask_rcnn",
        "pvt_v2",
        "coco",
        PVT_V2_PAPER,
        dict(
            b0="38.2 / 36.2",
            b1="41.8 / 38.8",
            b2_li="44.1 / 40.5",
            b2="45.3 / 41.2",
            b3="47.0 / 42.5",
            b4="47.5 / 42.7",
            b5="47.4 / 42.5",
        ),
    ),
    Published("mask_rcnn", "pvt_v2", "coco", PVT_V2_PAPER, dict(b0="41.6 / 38.2", b2="47.8 / 43.1"), under="3x schedule"),
    Published("atss", "pvt_v2", "coco", PVT_CODE, dict(b2_li="48.9", b2="49.9")),
    Published("gfl", "pvt_v2", "coco", PVT_CODE, dict(b2_li="49.2", b2="50.2")),
    Published("fpn", "pvt_v2", "ade20k", VAN_TABLE, dict(b0="37.2", b1="42.5", b2="45.2", b3="47.3")),
    Published("retinanet", "van", "coco", VAN_PAPER, dict(b0="38.8", b1="42.3", b2="44.9", b3="47.5")),
    Published(
        "mask_rcnn",
        "van",
        "coco",
        VAN_PAPER,
        dict(b0="40.2 / 37.6", b1="42.6 / 38.9", b2="46.4 / 41.8", b3="48.3 / 43.4"),
    ),
    Published("fpn", "van", "ade20k", VAN_PAPER, dict(b0="38.5", b1="42.9", b2="46.7", b3="48.1")),
    Published(
        "upernet", "van", "ade20k", VAN_CODE, dict(b0="41.1", b1="44.9", b2="50.1", b3="50.6", b4="52.2"), test="multi-scale"
    ),
    Published("upernet", "van", "ade20k", VAN_CODE, dict(b5="53.9", b6="54.7"), test="multi-scale", under=MORE_IMAGES),
    Published("upernet", "van", "ade20k", VAN_MMSEG, dict(b2="49.35", b3="49.71", b4="51.56"), test="single scale"),
    Published("upernet", "van", "ade20k", VAN_MMSEG, dict(b5="53.11", b6="54.25"), test="single scale", under=MORE_IMAGES),
    Published("upernet", "volo", "ade20k", VOLO_CITED, dict(d1="50.5", d3="52.9", d5="54.3")),
    Published("fpn", "shunted", "ade20k", RMT_TABLE, dict(small="48.2")),
)
