"""The configs of this package as tables: which head goes with which dataset, what each family brings, whose recipe it is.

A leaf, `configs/HEAD_FAMILY_ARCH_DATASET.py`, is a rendering of the rows below: `text` writes it, `parse` reads its name. The
committed leaves are `committed()`; `tools/make_config.py` writes any other. A new family is a row of `FAMILIES`; a published
recipe is a row of `RECIPES`, its results a row of `PUBLISHED`. Sources: `shared/reference/PUBLISHED.md` gathers them, and each
row names its own, which is printed into the leaf as a comment.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from .errors import InputError
from .pyramid import Pyramid
from .zoo import archs_of, families, released_of

BASES = "_base_"
WIDTH = 128  # of a line, as in pyproject.toml
GPUS = 8  # of every recipe below


class Code(str):
    """Python source, printed as it stands: `1e-4 / 1.4` says more than its value."""


@dataclass(frozen=True)
class Head:
    """What a leaf must tell a head of `configs/_base_/heads`.

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
    """A head on a dataset: what any family gets that has no recipe of its own there.

    Attributes:
        data, schedule: bases, of `configs/_base_/datasets` and `configs/_base_/schedules`.
        ours: where the recipe is taken from, for families without a published one.
        classes: of the dataset; None where the base of the head has them.
        crop: height and width in training; None for detection.
        lr: where another than the schedule's.
        images: per GPU, of 8.
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
    """Drop path rates by arch, `"*"` for those not named, and where they come from; the origin is a comment in the leaf."""

    origin: str
    by_arch: Mapping[str, float]

    def of(self, arch: str) -> float:
        return self.by_arch[arch] if arch in self.by_arch else self.by_arch["*"]


@dataclass(frozen=True)
class Family:
    """What the configs need to know about a family beside its tables of archs and released files.

    Attributes:
        small: the arch that has a leaf for every head and dataset.
        drop_path: where no recipe has others.
        tapped: whether each map has parameters of its own. They would get no gradient where a head leaves the map out, and
            training on several GPUs stops at that: such a map is not asked for.
    """

    small: str
    drop_path: Rates
    tapped: bool = False


@dataclass(frozen=True)
class Recipe:
    """What is known of a family's own recipe; only what differs from its `Pairing` and `Family`.

    Attributes:
        heads, family, dataset, archs: what it is for; no archs stands for all.
        source: whose it is, and its contradictions; a comment in the leaf.
    """

    heads: tuple[str, ...]
    family: str
    dataset: str
    source: str
    archs: tuple[str, ...] = ()
    lr: str | None = None
    weight_decay: str | None = None
    images: int | None = None
    slide: tuple[int, int] | None = None
    drop_path: Rates | None = None

    def covers(self, leaf: "Leaf") -> bool:
        return (
            leaf.head in self.heads
            and (leaf.family, leaf.dataset) == (self.family, self.dataset)
            and (not self.archs or leaf.arch in self.archs)
        )


@dataclass(frozen=True, order=True)
class Leaf:
    """The four parts of a config's name."""

    head: str
    family: str
    arch: str
    dataset: str

    @property
    def name(self) -> str:
        return f"{self.head}_{self.family}_{self.arch}_{self.dataset}"


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
FAMILIES = {
    "pvt": Family("small", Rates("the authors' segmentation code (segmentation/pvt.py)", {"*": 0.1})),
    "pvt_v2": Family("b2", Rates("the authors' detection code (detection/pvt_v2.py)", {"*": 0.1})),
    "volo": Family(
        "d1",
        Rates(
            "ours, that of the authors' ImageNet training (README), which has none for d4 and d5: d3's",
            {"d1": 0.1, "d2": 0.2, "*": 0.5},
        ),
        tapped=True,
    ),
    "shunted": Family("small", Rates("ours, that of the paper's ImageNet training", {"tiny": 0.1, "small": 0.2, "base": 0.3})),
    "t2t_vit": Family("14", Rates("ours, that of the authors' ImageNet training (main.py)", {"*": 0.1}), tapped=True),
    "van": Family("b2", Rates("ours, that of the authors' UperNet configs", VAN_UPERNET)),
}

PVT_CONFIGS = "whai362/PVT, detection/configs"
PVT_DETECTION = Rates(
    "the authors' detection code (detection/pvt.py)", {"tiny": 0.1, "small": 0.1, "medium": 0.0, "large": 0.0}
)
ONE_IMAGE = "8 GPUs x 1 image, rate / 1.4. Contradiction: PVT's paper has batch 16 and 1e-4; code over paper"
MASK_RATE = "Contradiction: PVT's paper has 1e-4, the code 2e-4; code over paper"
RECIPES = (  # the first that covers a leaf holds
    Recipe(
        ("retinanet",),
        "pvt",
        "coco",
        f"Recipe: PVT's authors ({PVT_CONFIGS}/retinanet_pvt_*_fpn_1x_coco.py); paper and code agree",
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt",
        "coco",
        f"Recipe: PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_l_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("large",),
        lr="2e-4 / 1.4",
        images=1,
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt",
        "coco",
        f"Recipe: PVT's authors ({PVT_CONFIGS}/mask_rcnn_pvt_*_fpn_1x_coco.py). {MASK_RATE}",
        drop_path=PVT_DETECTION,
    ),
    Recipe(
        ("retinanet",),
        "pvt_v2",
        "coco",
        f"Recipe: PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("b4", "b5"),
        lr="1e-4 / 1.4",
        images=1,
    ),
    Recipe(
        ("retinanet",),
        "pvt_v2",
        "coco",
        f"Recipe: PVTv2's authors ({PVT_CONFIGS}/retinanet_pvt_v2_*_fpn_1x_coco.py)",
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt_v2",
        "coco",
        f"Recipe: PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py): {ONE_IMAGE}",
        archs=("b4", "b5"),
        lr="2e-4 / 1.4",
        images=1,
    ),
    Recipe(
        ("mask_rcnn",),
        "pvt_v2",
        "coco",
        f"Recipe: PVTv2's authors ({PVT_CONFIGS}/mask_rcnn_pvt_v2_*_fpn_1x_coco.py). {MASK_RATE}",
    ),
    Recipe(
        ("retinanet", "mask_rcnn"),
        "van",
        "coco",
        "Recipe: VAN's paper, AdamW 1e-4, weight decay 0.05, batch 16, 1x. The detection code was never released",
        lr="1e-4",
        weight_decay="0.05",
    ),
    Recipe(
        ("retinanet", "mask_rcnn"),
        "shunted",
        "coco",
        "Recipe: PVT's, as the author of Shunted Transformer says; the code was never released",
    ),
    Recipe(
        ("fpn",),
        "pvt",
        "ade20k",
        "Recipe: PVT's authors (whai362/PVT, segmentation/configs/sem_fpn/PVT). Contradiction: the paper has 1e-4, 80,000 "
        "iterations and batch 16; code over paper",
    ),
    Recipe(
        ("fpn",),
        "pvt_v2",
        "ade20k",
        "Recipe: PVT's for Semantic FPN, of the same repository, which has none for PVTv2. Results: VAN's paper, table 12",
    ),
    Recipe(
        ("fpn",),
        "van",
        "ade20k",
        "Recipe: VAN's authors (VAN-Segmentation, configs/sem_fpn)",
        drop_path=Rates(
            "the same configs; b5 and b6, which have none, as with UperNet", VAN_UPERNET | {"b0": 0.2, "b1": 0.2, "b2": 0.2}
        ),
    ),
    Recipe(
        ("fpn",),
        "shunted",
        "ade20k",
        "Recipe: PVT's, as the author of Shunted Transformer says; the code was never released. Results: RMT's paper, table 5",
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "Recipe: VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained): 8 GPUs x 4 images, where the others have 2",
        archs=("b4",),
        images=4,
        drop_path=Rates("the same config", VAN_UPERNET),
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "Recipe: VAN's authors (VAN-Segmentation, configs/upernet/22k_pretrained)",
        archs=("b5", "b6"),
        drop_path=Rates("the same config", VAN_UPERNET),
    ),
    Recipe(
        ("upernet",),
        "van",
        "ade20k",
        "Recipe: VAN's authors (VAN-Segmentation, configs/upernet/1k_pretrained)",
        drop_path=Rates("the same config", VAN_UPERNET),
    ),
    Recipe(
        ("upernet",),
        "volo",
        "ade20k",
        "No published recipe, except that VOLO's authors say sliding-window test; ours: VAN's for UperNet, windows and stride "
        "of mmsegmentation's ConvNeXt configs",
        slide=(341, 341),
    ),
    Recipe(
        ("upernet",),
        "volo",
        "cityscapes",
        "No published recipe, except that VOLO's authors say sliding-window test; ours: VAN's for UperNet on ADE20K, windows "
        "of the training crop, moved by two thirds of it",
        slide=(341, 683),
    ),
)

PUBLISHED = {  # pairings with a published result
    ("retinanet", "pvt", "coco"): ("tiny", "small", "medium", "large"),
    ("mask_rcnn", "pvt", "coco"): ("tiny", "small", "medium", "large"),
    ("fpn", "pvt", "ade20k"): ("tiny", "small", "medium", "large"),
    ("retinanet", "pvt_v2", "coco"): ("b0", "b1", "b2", "b2_li", "b3", "b4", "b5"),
    ("mask_rcnn", "pvt_v2", "coco"): ("b0", "b1", "b2", "b2_li", "b3", "b4", "b5"),
    ("fpn", "pvt_v2", "ade20k"): ("b0", "b1", "b2", "b3"),
    ("retinanet", "van", "coco"): ("b0", "b1", "b2", "b3"),
    ("mask_rcnn", "van", "coco"): ("b0", "b1", "b2", "b3"),
    ("fpn", "van", "ade20k"): ("b0", "b1", "b2", "b3"),
    ("upernet", "van", "ade20k"): ("b0", "b1", "b2", "b3", "b4", "b5", "b6"),
    ("upernet", "volo", "ade20k"): ("d1", "d3", "d5"),
    ("fpn", "shunted", "ade20k"): ("small",),
}


@dataclass
class MakeOptions:
    """What `tools/make_config.py` was asked for; the same names as its options."""

    names: Sequence[str] = ()
    all: bool = False
    out: Path = Path("configs")
    force: bool = False


def make(options: MakeOptions) -> list[Path]:
    """Writes the leaves that were asked for, prints and returns their paths.

    Their bases are the folder `_base_` beside them; where there is none, those of the installed package.

    Raises:
        InputError: no name at all, a name with a wrong part, or a file that is there and differs.
    """
    if not options.names and not options.all:
        raise InputError("no config named. Give names such as upernet_van_b3_cityscapes, or --all for the committed ones")
    leaves = [parse(name) for name in options.names]
    if options.all:
        leaves += committed()
    bases = BASES if (options.out / BASES).is_dir() else f"mmvit::{BASES}"
    files = {options.out / f"{leaf.name}.py": text(leaf, bases) for leaf in leaves}
    differing = [path for path, content in files.items() if path.is_file() and path.read_text() != content]
    if differing and not options.force:
        raise InputError(
            f"{', '.join(map(str, differing))}: there already, with other content; nothing was written. "
            "--force overwrites, --out DIR writes elsewhere"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        path.write_text(content)
        print(path)
    return list(files)


def committed() -> list[Leaf]:
    """Every pairing with a published result, and each family's small arch with every head on every dataset."""
    leaves = {Leaf(head, family, arch, data) for (head, family, data), archs in PUBLISHED.items() for arch in archs}
    leaves |= {Leaf(head, name, family.small, data) for head, data in PAIRINGS for name, family in FAMILIES.items()}
    return sorted(leaves)


def parse(name: str) -> Leaf:
    """The parts of a leaf's name.

    Raises:
        InputError: a part that is not there, or a head on a dataset that is not its; the valid ones are named.
    """
    name = name.removesuffix(".py")
    head = next((head for head in HEADS if name.startswith(f"{head}_")), None)
    if head is None:
        raise _wrong(name, "head", name.partition("_")[0], HEADS)
    rest = name.removeprefix(f"{head}_")
    datasets = [data for paired, data in PAIRINGS if paired == head]
    dataset = next((data for data in datasets if rest.endswith(f"_{data}")), None)
    if dataset is None:
        raise _wrong(name, f"dataset of {head}", rest.rpartition("_")[2], datasets)
    rest = rest.removesuffix(f"_{dataset}")
    found = [family for family in FAMILIES if rest == family or rest.startswith(f"{family}_")]
    if not found:
        raise _wrong(name, "family", rest.partition("_")[0], FAMILIES)
    family = max(found, key=len)  # pvt_v2_b2 begins with pvt, too
    archs, arch = archs_of(_kind(family)), rest.removeprefix(family).removeprefix("_")
    if arch not in archs:
        raise _wrong(name, f"arch of {family}", arch, archs)
    return Leaf(head, family, arch, dataset)


def text(leaf: Leaf, bases: str = BASES) -> str:
    """Source of a leaf.

    Args:
        leaf: what to write.
        bases: the folder `_base_` as seen from where the leaf will lie, or `mmvit::_base_` for anywhere.
    """
    head, pairing = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset]
    recipe = next((recipe for recipe in RECIPES if recipe.covers(leaf)), None)
    images = recipe.images if recipe and recipe.images else pairing.images
    settings: dict[str, Any] = {
        BASES: [
            f"{bases}/heads/{leaf.head}.py",
            f"{bases}/datasets/{pairing.data}.py",
            f"{bases}/schedules/{pairing.schedule}.py",
            f"{bases}/{head.runtime}.py",
        ],
        "model": _model(leaf, recipe),
        "train_dataloader": dict(batch_size=images),
    }
    optimizer = {
        "lr": (recipe.lr if recipe else None) or pairing.lr,
        "weight_decay": recipe.weight_decay if recipe else None,
    }
    if any(optimizer.values()):
        values = {key: Code(value) for key, value in optimizer.items() if value}
        settings["optim_wrapper"] = dict(optimizer=values)
    settings["auto_scale_lr"] = dict(base_batch_size=GPUS * images)
    comments = [line for note in _notes(leaf, recipe) for line in textwrap.wrap(note, WIDTH - 2, break_on_hyphens=False)]
    lines = [f"# {line}" for line in comments]
    lines += [_render(f"{key} = ", value, 0) for key, value in settings.items()]
    return "\n".join(lines) + "\n"


def _model(leaf: Leaf, recipe: Recipe | None) -> dict[str, Any]:
    head, pairing = HEADS[leaf.head], PAIRINGS[leaf.head, leaf.dataset]
    kind = _kind(leaf.family)
    channels = channels_of(kind, leaf.arch)
    checkpoint = _checkpoint(leaf)
    parts: dict[str, Any] = {}
    if pairing.crop:
        parts["data_preprocessor"] = dict(size=pairing.crop)
    backbone = parts["backbone"] = dict(
        type=f"mmvit.{kind.__name__}",
        arch=leaf.arch,
        drop_path_rate=_drop_path(leaf, recipe).of(leaf.arch),
    )
    first = _first_level(leaf)
    if first:
        backbone["out_indices"] = tuple(range(first, len(channels)))
    backbone["init_cfg"] = dict(type="Pretrained", checkpoint=checkpoint) if checkpoint else None
    for part, level in head.inputs.items():
        parts[part] = dict(in_channels=channels if level is None else channels[level])
    if first:
        parts["neck"] = dict(in_channels=channels[first:], start_level=0)
    for part in head.classifiers:
        parts.setdefault(part, {})["num_classes"] = pairing.classes
    slide = (recipe.slide if recipe else None) or pairing.slide
    if slide:
        parts["test_cfg"] = dict(mode="slide", crop_size=pairing.crop, stride=slide)
    return parts


def channels_of(kind: type[Pyramid], arch: str) -> list[int]:
    """Channels of the four levels, read from the model itself: the table of archs is the only place that has them."""
    with torch.device("meta"):
        model = kind(arch)  # type: ignore[arg-type]  # every family takes arch first
    return list(model.out_channels)


def _kind(family: str) -> type[Pyramid]:
    return next(kind for kind in families() if kind.family == family)


def _checkpoint(leaf: Leaf) -> str | None:
    """Where the weights come from: the released file's URL, or the path of one that is fetched by hand."""
    row = released_of(_kind(leaf.family)).get(leaf.arch)
    if row is None:
        return None
    return row.url or f"checkpoints/{leaf.family}_{leaf.arch}.pth"


def _first_level(leaf: Leaf) -> int:
    """The first level that the backbone is asked for, if not all four are."""
    return HEADS[leaf.head].first if FAMILIES[leaf.family].tapped else 0


def _drop_path(leaf: Leaf, recipe: Recipe | None) -> Rates:
    return (recipe.drop_path if recipe else None) or FAMILIES[leaf.family].drop_path


def _notes(leaf: Leaf, recipe: Recipe | None) -> list[str]:
    """The comments of a leaf, one paragraph each."""
    notes = [recipe.source if recipe else f"No published recipe; ours: {PAIRINGS[leaf.head, leaf.dataset].ours}"]
    notes.append(f"Drop path: {_drop_path(leaf, recipe).origin}")
    if _first_level(leaf):
        notes.append("The map of stride 4 is left out, as the head does: its tap would get no gradient")
    row = released_of(_kind(leaf.family)).get(leaf.arch)
    if row is None:
        notes.append("Weights: the authors released none of this arch; it starts from random ones")
    elif row.url is None:
        notes.append(f"Weights: fetch them by hand from {row.folder} and put them where init_cfg says")
    return [f"{note}." for note in notes]


def _wrong(name: str, what: str, found: str, valid: Iterable[str]) -> InputError:
    nearest = get_close_matches(found, list(valid), n=len(list(valid)), cutoff=0.0)
    return InputError(
        f"{name}: {found!r} is no {what}; there are {', '.join(nearest)}. "
        "Expected HEAD_FAMILY_ARCH_DATASET, such as upernet_van_b3_cityscapes"
    )


def _render(prefix: str, value: Any, indent: int) -> str:
    """`prefix` and the value as ruff formats them: on one line where it fits, else one entry a line."""
    margin = " " * indent
    flat = f"{margin}{prefix}{_flat(value)}"
    room = WIDTH - bool(indent)  # for the comma behind an entry
    if (len(flat) <= room and not _is_block(value)) or not isinstance(value, dict | list):
        return flat
    if isinstance(value, dict):
        opening, closing = "dict(", ")"
        entries = [_render(f"{key}=", entry, indent + 4) for key, entry in value.items()]
    else:
        opening, closing = "[", "]"
        entries = [_render("", entry, indent + 4) for entry in value]
    return "\n".join([f"{margin}{prefix}{opening}", *(f"{entry}," for entry in entries), f"{margin}{closing}"])


def _is_block(value: Any) -> bool:
    """Whether a value reads better one entry a line: a backbone."""
    return isinstance(value, dict) and "arch" in value


def _flat(value: Any) -> str:
    match value:
        case Code():
            return str(value)
        case str():
            return f'"{value}"'
        case dict():
            return f"dict({', '.join(f'{key}={_flat(entry)}' for key, entry in value.items())})"
        case list():
            return f"[{', '.join(map(_flat, value))}]"
        case _:
            return repr(value)
