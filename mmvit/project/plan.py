"""What a config says, decided from what the folder holds: model, sizes, batch, schedule, weights; each with its reason."""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Literal
from urllib.parse import urlparse

import torch
from mmengine.config import Config

from ..config.files import load_config, shipped
from ..errors import CheckpointError, InputError, counted, nearest
from ..recipes.configs import parse, text
from ..weights.downloads import locate, size_of
from .survey import SMALL, Facts

Task = Literal["boxes", "masks", "classes", "binary"]
PIXELS = ("classes", "binary")  # tasks that label pixels; the others find objects
HEADS: dict[str, tuple[str, ...]] = {  # the first is the default
    "boxes": ("retinanet", "atss", "gfl"),
    "masks": ("mask_rcnn",),
    "classes": ("fpn", "segformer", "upernet"),
    "binary": ("fpn", "segformer", "upernet"),
}
DATASETS = {"boxes": "coco", "masks": "coco", "classes": "ade20k", "binary": "ade20k"}  # of the recipe that is the base
LARGEST = {"boxes": (1333, 800), "masks": (1333, 800), "classes": (2048, 1024), "binary": (2048, 1024)}  # long, short side
CROP = 512  # of the recipes for label maps
BINARY_SIDE = 352  # of the school of binary segmentation on PVT v2
BINARY_RATE = (16, 1e-4)  # images of a batch, learning rate of AdamW; likewise
GIB_A_MEGAPIXEL = 3.3  # training, RetinaNet with PVT small at 800 x 1280; docs/performance.md
MOST_IMAGES = 16
ON_CPU = 4
ON_CPU_SIDE = 320  # longer side to which images shrink at most
LEAST_ITERATIONS = 400  # of a training on few pictures
WARM_UP = 500  # iterations of COCO's recipes
# AdamW's rate for random weights and batches of 4; the recipes' rates only have to adapt trained weights (docs/results.md).
# Mask R-CNN's fully connected layers have no norms, and get what the demo's heads do.
RANDOM_RATES = {"boxes": 5e-4, "masks": 1.4e-4, "classes": 5e-4, "binary": 5e-4}


@dataclass(frozen=True)
class Light:
    """What a head has less of where no GPU trains it, and no weights were trained for its width; options as source."""

    neck: str
    head: str
    time: str  # what a training step takes of the recipe's, with PVTv2 b0 on one core
    norms: bool = False  # whether neck and head get norms, which the recipe has not


DENSE = Light("out_channels=128", "in_channels=128, feat_channels=128, stacked_convs=2", "a third of its time", True)
LIGHT = {
    **dict.fromkeys(HEADS["boxes"], DENSE),
    "fpn": Light("out_channels=128", "in_channels=[128] * 4", "half of its time"),
    "segformer": Light("", "channels=128", "three fifths of its time"),
}
ANCHOR = 32  # side of the smallest anchors of RetinaNet and Mask R-CNN; at half of it, no anchor overlaps an object by half
HALF = {"retinanet": 2, "atss": 4, "gfl": 4}  # octave_base_scale of anchors half as large as the recipe's


@dataclass(frozen=True)
class Sizes:
    """Sizes of images in training: long and short side, the crop of label maps, why, and how much the scale varies."""

    scale: tuple[int, int]
    crop: tuple[int, int] | None
    reason: str
    ratio: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True)
class Plan:
    """All that a config says."""

    task: Task
    base: str  # name of the recipe, such as retinanet_van_b0_coco
    source: str | None  # its text, if mmvit ships no such config
    weights: str | None  # None if the recipe's file can be loaded, else what follows from its absence
    sizes: Sizes
    batch: int
    batch_reason: str
    epochs: int
    steps: int  # iterations of an epoch
    warm_up: int
    lr: str  # the learning rate as it is printed
    lr_reason: str
    fine: float | None  # if the recipe's anchors are too large, side of the smallest class's typical object in training
    light: Light | None  # what the head has less of than the recipe's, if anything
    one_rate: bool  # whether a rate of its own, which the recipe gives a part, goes
    bands: tuple[list[float], list[float]] | None  # mean and deviation of each band of TIFF files; None for other pictures

    @property
    def head(self) -> str:
        return parse(self.base).head

    @property
    def pixels(self) -> bool:
        return self.task in PIXELS

    @property
    def keep_ratio(self) -> bool:
        """Whether images keep their shape; those of binary segmentation are made square, as its school has it."""
        return self.task != "binary"

    @property
    def iterations(self) -> int:
        return self.epochs * self.steps


def plan(task: Task, arch: str, head: str | None, facts: Facts) -> Plan:
    """Return the plan of a task. Raise InputError if there is no such backbone, or the head does not do the task."""
    head = head or HEADS[task][0]
    if head not in HEADS[task]:
        others = ", ".join(f"{name} for {', '.join(heads)}" for name, heads in HEADS.items())
        raise InputError(f"--head {head}: {nearest(head, HEADS[task])} for --task {task}. Heads by task: {others}")
    base = f"{head}_{arch}_{DATASETS[task]}"
    leaf = parse(base)
    file = shipped("configs") / f"{base}.py"
    source = None if file.is_file() else text(leaf, "mmvit::_base_")
    recipe = load_config(file) if source is None else Config.fromstring(source, ".py")
    sizes = _sizes(task, facts)
    batch, reason = _batch(task, sizes, facts.pictures["train"])
    steps = ceil(facts.pictures["train"] / batch)
    epochs = max(_epochs(task, facts.pictures["train"]), ceil(LEAST_ITERATIONS / steps))
    absence = _absence(recipe)
    usual, lr = recipe.auto_scale_lr.base_batch_size, recipe.optim_wrapper.optimizer.lr
    if task == "binary":
        usual, lr = BINARY_RATE
    whose = f"the recipe's is for {usual} a batch"
    if absence:
        usual, lr, whose = ON_CPU, RANDOM_RATES[task], "for random weights"
    typical = facts.least * sizes.scale[0] / max(facts.size) if facts.least and task not in PIXELS else ANCHOR
    scaled = "" if batch == usual else f" x sqrt({batch} / {usual})"
    return Plan(
        task,
        base,
        source,
        absence,
        sizes,
        batch,
        reason,
        epochs,
        steps,
        max(1, min(WARM_UP, epochs * steps // 10)),
        f"{lr * sqrt(batch / usual):.2g}",
        f"{lr:g}{scaled}, {whose}",
        typical if typical < 0.75 * ANCHOR else None,
        LIGHT.get(head) if absence and not torch.cuda.is_available() else None,
        _has_rates(recipe) and (absence is not None or task == "binary"),
        facts.bands,
    )


def _has_rates(recipe: Config) -> bool:
    """Return whether parts of the model have rates of their own, as SegFormer's head has above a trained backbone."""
    rules = recipe.optim_wrapper.get("paramwise_cfg", {}).get("custom_keys", {})
    return any("lr_mult" in rule for rule in rules.values())


def _sizes(task: Task, facts: Facts) -> Sizes:
    long, short = max(facts.size), min(facts.size)
    most = LARGEST[task]
    shrink = min(1.0, most[0] / long, most[1] / short)
    factor, reason = shrink, "the pictures' own size" if facts.same_size else "the pictures' median size"
    if shrink < 1:
        reason = f"{long} x {short} made smaller, as in the recipe"
    elif facts.side is not None and facts.side < SMALL:
        factor = min(2.0, SMALL / facts.side, most[0] / long, most[1] / short)
        reason = f"larger than {long} x {short}: a tenth of the objects is below {facts.side:.0f} pixels"
    elif facts.least is not None and task not in PIXELS and not torch.cuda.is_available():
        factor = min(1.0, max(0.5, SMALL / facts.least, ON_CPU_SIDE / long))
    if factor < shrink:
        reason = f"less than {long} x {short} without a GPU; more is better and slower"
    scale = (max(32, round(long * factor)), max(32, round(short * factor)))
    if task == "binary":
        return Sizes((BINARY_SIDE, BINARY_SIDE), (BINARY_SIDE, BINARY_SIDE), "as Polyp-PVT and its like train", (0.75, 1.25))
    if task == "classes":
        side = max(64, min(CROP, scale[1] // 32 * 32))
        return Sizes(scale, (side, side), reason)
    return Sizes(scale, None, reason)


def _batch(task: Task, sizes: Sizes, pictures: int) -> tuple[int, str]:
    """Return the images of a batch: a power of two that fits into memory and leaves an epoch some iterations."""
    width, height = sizes.crop or sizes.scale
    need = GIB_A_MEGAPIXEL * width * height / 1e6 * (1.5 if task == "masks" else 1)
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        fits, reason = int(0.8 * memory / need), f"about {need:.1f} GiB an image, of {memory:.0f} GiB on this GPU"
    else:
        fits, reason = ON_CPU, "no GPU here; up to 16 on one"
    fits = max(1, min(fits, MOST_IMAGES))
    if pictures < 4 * fits:
        fits, reason = max(1, pictures // 4), f"{counted(pictures, 'picture')} to train"
    least = 2 if task in PIXELS else 1  # their batch norms need two images
    return max(least, 2 ** (fits.bit_length() - 1)), reason


def _epochs(task: Task, pictures: int) -> int:
    """Return how many epochs: few pictures are seen more often; 12 epochs suffice for COCO."""
    if task in PIXELS:
        return max(48, min(400, round(2400 / sqrt(pictures))))
    return max(12, min(100, round(600 / sqrt(pictures))))


def _absence(recipe: Config) -> str | None:
    """Return what follows if the recipe's file of weights is not here and its address does not answer; None if it is."""
    setting = recipe.model.backbone.get("init_cfg")
    if not setting:
        return "its authors released none"
    try:
        address, path = locate(setting.checkpoint)
    except CheckpointError:
        return "its authors' file needs a browser"
    if path.is_file():
        return None
    if not address:
        return f"there is no file {path}"
    try:
        size_of(address)
    except (OSError, ValueError):
        return f"the file on {urlparse(address).netloc} cannot be loaded from here"
    return None
