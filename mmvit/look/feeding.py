"""The output of a config's pipeline: the images, objects and label maps that the model gets."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS, TASK_UTILS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import Tensor
from torchvision.ops import box_iou

from ..arguments import name_of
from ..config.datasets import metainfo_of
from ..config.parts import mappings
from ..data.reading import name_files
from ..data.tiff import visible
from ..errors import InputError, brief

NORMALISE = ("LoadBands", "Normalize")  # steps of pipelines


@dataclass(frozen=True)
class Fed:
    """A sample after the pipeline."""

    path: str  # file of the image
    original: tuple[int, int]  # height and width of the image in the file
    image: np.ndarray  # (H, W, 3) uint8, BGR
    batch: Tensor  # (C, H', W') float, the image after the preprocessor: normalised and padded
    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2 in pixels of `image`; empty for label maps
    labels: np.ndarray  # (N,) int64
    masks: np.ndarray | None  # (N, H, W) bool
    label_map: np.ndarray | None  # (H, W) uint8


class Feed:
    """The dataset of a split (`train`, `val` or `test`), built like in a run, with the model's preprocessor.

    Raises:
        InputError: no such split, or a dataset that cannot be built.
    """

    def __init__(self, cfg: Config, split: str) -> None:
        loader = cfg.get(f"{split}_dataloader")
        if not loader:
            raise InputError(f"{cfg.filename}: it has no {split}_dataloader. Choose another with --split")
        self.scope = cfg.get("default_scope")
        if self.scope not in ("mmdet", "mmseg"):
            raise InputError(f"{cfg.filename}: default_scope is {self.scope!r}. Expected mmdet or mmseg")
        self.training = split == "train"
        self.normalised = any(name_of(part.get("type")) in NORMALISE for part in mappings(loader.dataset))
        with DefaultScope.overwrite_default_scope(self.scope):
            import_modules_from_strings([f"{self.scope}.registry", f"{self.scope}.datasets", f"{self.scope}.models"])
            try:
                self.dataset = DATASETS.build(loader.dataset)
            except Exception as error:  # the checks before a run say what is wrong, in words of their own
                raise InputError(f"{split}_dataloader.dataset: {brief(error)}. See mmvit doctor {cfg.filename}") from error
            self.preprocessor = MODELS.build(cfg.model.data_preprocessor)
        name_files(self.dataset)
        metainfo = metainfo_of(self.dataset)
        self.classes: tuple[str, ...] = tuple(metainfo.get("classes") or ())
        self.palette = metainfo.get("palette")

    def __len__(self) -> int:
        return len(self.dataset)

    def samples(self, indices: Iterable[int]) -> Iterator[Fed]:
        """Yield samples by their place in the dataset."""
        with DefaultScope.overwrite_default_scope(self.scope):
            for index in indices:
                yield self._fed(self.dataset[index])

    def _fed(self, data: dict[str, Any]) -> Fed:
        inputs, sample = data["inputs"], data["data_samples"]
        image = visible(inputs.permute(1, 2, 0).numpy(), self.normalised)
        height, width = image.shape[:2]
        boxes, labels, masks, label_map = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), None, None
        if "gt_instances" in sample:
            objects = sample.gt_instances
            boxes = torch.as_tensor(getattr(objects.bboxes, "tensor", objects.bboxes)).float().numpy()
            labels = objects.labels.long().numpy()
            if "masks" in objects:
                masks = objects.masks.to_ndarray().astype(bool).reshape(-1, height, width)
        if "gt_sem_seg" in sample:
            label_map = sample.gt_sem_seg.data[0].numpy().astype(np.uint8)
        batch = self.preprocessor(dict(inputs=[inputs], data_samples=[sample]), self.training)["inputs"][0]
        return Fed(sample.img_path, sample.ori_shape, np.ascontiguousarray(image), batch, boxes, labels, masks, label_map)


def spread(total: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `total`, evenly spread."""
    return np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(int)).tolist()


@dataclass(frozen=True)
class Anchors:
    """The anchors of a detector."""

    generator: Any  # mmdet's anchor generator
    enough: float  # least IoU at which an anchor is assigned to an object
    least: float  # least IoU at which the best anchor of an object is assigned to it anyway

    @property
    def sizes(self) -> np.ndarray:
        """Return widths and heights of the anchors of all levels, (A, 2)."""
        corners = torch.cat(self.generator.base_anchors)
        return (corners[:, 2:] - corners[:, :2]).numpy()

    def best(self, fed: Fed) -> np.ndarray:
        """Return the IoU of each object with the anchor that overlaps it most, (N,)."""
        height, width = fed.batch.shape[-2:]
        grids = [(-(-height // step[1]), -(-width // step[0])) for step in self.generator.strides]
        boxes, most = torch.from_numpy(fed.boxes), torch.zeros(len(fed.boxes))
        for anchors in self.generator.grid_priors(grids, device="cpu"):
            most = torch.maximum(most, box_iou(boxes, anchors).amax(dim=1))
        return most.numpy()


def anchors_of(model: ConfigDict) -> Anchors | None:
    """Return the anchors of a detector's config, or None if it has none."""
    head, train = model.get("rpn_head") or model.get("bbox_head") or {}, model.get("train_cfg") or {}
    assigner = (train.get("rpn") or train).get("assigner") or {}
    generator = head.get("anchor_generator") or {}
    if "AnchorGenerator" not in str(generator.get("type")) or "pos_iou_thr" not in assigner:
        return None
    with DefaultScope.overwrite_default_scope("mmdet"):
        built = TASK_UTILS.build(generator)
    return Anchors(built, float(assigner["pos_iou_thr"]), float(assigner.get("min_pos_iou", 0.0)))
