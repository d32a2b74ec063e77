"""What a model sees: maps of its levels, attention of a point, class activation, and receptive fields."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from ..errors import InputError
from ..layers.attention import AttentionBase, averaged, split_heads
from ..predict.models import Loaded
from ..predict.results import name_of
from ..pyramid import STRIDES, Pyramid

Size = tuple[int, int]  # height, width
DRAWS = 4  # number of sums with random signs, for a receptive field


def class_names(loaded: Loaded) -> tuple[str, ...]:
    """Return the name of each label that a model gives; a segmenter with one channel gives 0 and 1."""
    binary = loaded.scope == "mmseg" and getattr(loaded.model.decode_head, "out_channels", None) == 1
    return tuple(name_of(loaded.classes, label) for label in range(max(len(loaded.classes), 2 if binary else 0)))


@dataclass(frozen=True)
class Given:
    """An image as a model gets it."""

    path: str  # its file
    original: Size  # height and width of the image in the file
    batch: Tensor  # (1, C, H, W), normalised, padded at the bottom and right
    sample: Any  # its data sample
    inside: Size  # height and width of the image in the batch, without the padding

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Return the coordinates x, y in the batch of a point in the original image."""
        return point[0] * self.inside[1] / self.original[1], point[1] * self.inside[0] / self.original[0]

    def whole(self, values: np.ndarray) -> np.ndarray:
        """Resize a map (h, w[, 3]) from the batch to the image, without the padding."""
        height, width = (
            ceil(part * inside / side)
            for part, inside, side in zip(values.shape[:2], self.inside, self.batch.shape[-2:], strict=True)
        )
        return values[:height, :width]


def give(loaded: Loaded, path: str) -> Given:
    """Return an image as the model of a config gets it. Raise InputError if the file is not an image."""
    data: Any = loaded.read.transform(dict(img_path=path, img_id=0))
    original = data["ori_shape"]
    data = loaded.prepare(data)
    with DefaultScope.overwrite_default_scope(loaded.scope):
        data = loaded.model.data_preprocessor(dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]]), False)
    sample = data["data_samples"][0]
    return Given(path, original, data["inputs"], sample, tuple(sample.img_shape[:2]))


def backbone_of(loaded: Loaded) -> Pyramid:
    """Return the backbone of a model. Raise InputError if it is not one of this package."""
    backbone = loaded.model.backbone
    if not isinstance(backbone, Pyramid):
        raise InputError(f"backbone {type(backbone).__name__}: expected one of mmvit's. See mmvit list")
    return backbone


def colours(tokens: np.ndarray) -> np.ndarray:
    """Return a map (h, w, C) as colours (h, w, 3) from 0 to 1: its first three principal components."""
    flat = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    flat = flat - flat.mean(axis=0)
    _, axes = np.linalg.eigh(flat.T @ flat)
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1, 1)  # an axis has no sign
    values = flat @ axes
    low, high = np.percentile(values, 2, axis=0), np.percentile(values, 98, axis=0)
    scaled = np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)
    return scaled.reshape(*tokens.shape[:2], -1)


def maps(loaded: Loaded, given: Given) -> list[np.ndarray]:
    """Return the maps of the backbone's levels, (h, w, C) each, without the padding."""
    with torch.inference_mode():
        levels = backbone_of(loaded)(given.batch)
    return [given.whole(level[0].permute(1, 2, 0).float().cpu().numpy()) for level in levels]


@dataclass(frozen=True)
class Attended:
    """One call of attention to a map: queries (B, N, C) and keys (B, M, C) of `heads` heads, and the keys' grid."""

    name: str
    query: Tensor
    key: Tensor
    grid: Size
    heads: int
    scale: float | None

    def of(self, index: int) -> Tensor:
        """Return the attention of a query to each key, (h, w), averaged over the heads."""
        query, key = split_heads(self.query[:1, index : index + 1], self.heads), split_heads(self.key[:1], self.heads)
        scale = query.shape[-1] ** -0.5 if self.scale is None else self.scale
        weights = (query @ key.transpose(2, 3) * scale).softmax(dim=-1).mean(dim=1)[0, 0]
        return weights[-self.grid[0] * self.grid[1] :].unflatten(0, self.grid)


@contextmanager
def recorded(model: nn.Module) -> Iterator[list[Attended]]:
    """Record every call of attention to a whole map within the block."""
    calls: list[Attended] = []
    modules = {name: module for name, module in model.named_modules() if isinstance(module, AttentionBase)}
    for name, module in modules.items():
        module.attend = _recorder(name, module, calls)  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        for module in modules.values():
            del module.attend


def _recorder(name: str, module: AttentionBase, calls: list[Attended]) -> Any:
    attend = module.attend

    def record(query: Tensor, key: Tensor, value: Tensor, grid: Any, *, heads: int, scale: float | None = None) -> Tensor:
        if grid is not None:
            height, width = grid
            seen = key if module.max_keys is None else averaged(key, grid, module.max_keys)
            extra = key.shape[1] - height * width
            side = next(side for side in count(1) if ceil(height / side) * ceil(width / side) <= seen.shape[1] - extra)
            calls.append(Attended(name, query.detach(), seen.detach(), (ceil(height / side), ceil(width / side)), heads, scale))
        return attend(query, key, value, grid, heads=heads, scale=scale)

    return record


def attention(loaded: Loaded, given: Given, point: tuple[float, float]) -> dict[int, np.ndarray]:
    """Return the attention of a point of the image in the last block of each stride, (H, W) over the image, with sum 1.

    The point is x and y in pixels of the original image. Several calls in one block (heads of several sizes) are averaged.
    Families without global attention return none.
    """
    backbone = backbone_of(loaded)
    with torch.inference_mode(), recorded(backbone) as calls:
        backbone(given.batch)
    x, y = given.place(point)
    sides = [ceil(side / backbone.pad_to) * backbone.pad_to for side in given.batch.shape[-2:]]
    last: dict[int, tuple[str, list[Tensor]]] = {}
    for call in calls:
        for stride in STRIDES:
            height, width = (ceil(side / stride) for side in sides)
            extra = call.query.shape[1] - height * width
            if extra in (0, 1):  # 1: a class token comes first
                index = extra + min(int(y / stride), height - 1) * width + min(int(x / stride), width - 1)
                name, parts = last.get(stride, ("", []))
                last[stride] = (call.name, [*parts, call.of(index)] if name == call.name else [call.of(index)])
                break
    result = {}
    for stride, (_, parts) in sorted(last.items()):
        side = max(part.shape[0] for part in parts), max(part.shape[1] for part in parts)
        same = [F.interpolate(part[None, None].float(), side, mode="nearest")[0, 0] for part in parts]
        result[stride] = given.whole(torch.stack([part / part.sum() for part in same]).mean(dim=0).cpu().numpy())
    return result


def class_activation(loaded: Loaded, given: Given, label: int) -> list[np.ndarray]:
    """Return the class activation of each level, (h, w), at least 0: Grad-CAM (arXiv 1610.02391, equations 1 and 2).

    The gradient is that of a detector's highest score of the class, or of the sum of a segmenter's scores over the pixels that
    get this label (over all pixels if there are none).
    """
    backbone = backbone_of(loaded)
    levels: list[Tensor] = []

    def keep(module: nn.Module, arguments: Any, result: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        levels[:] = [level.detach().requires_grad_() for level in result]  # gradients flow only through the heads
        return tuple(levels)

    hook = backbone.register_forward_hook(keep)
    try:
        with DefaultScope.overwrite_default_scope(loaded.scope), torch.enable_grad():
            score = class_score(loaded, given, label)
            gradients = torch.autograd.grad(score, levels, allow_unused=True)
    finally:
        hook.remove()
    activations = []
    for level, gradient in zip(levels, gradients, strict=True):
        weights = torch.zeros_like(level) if gradient is None else gradient.mean(dim=(2, 3), keepdim=True)
        activations.append(given.whole((weights * level).sum(dim=1).relu()[0].detach().float().cpu().numpy()))
    return activations


def class_score(loaded: Loaded, given: Given, label: int) -> Tensor:
    """Return the score of a class, before softmax or sigmoid, for `class_activation`; proposals count as constants.

    Raises:
        InputError: the layout of the model's heads is not supported.
    """
    model = loaded.model
    if loaded.scope == "mmseg":
        logits = model.encode_decode(given.batch, [given.sample.metainfo])[0]
        labels = logits.argmax(dim=0)
        if len(logits) == 1:
            labels = (logits[0].sigmoid() > model.decode_head.threshold).long()
            logits = torch.cat([-logits, logits])
        chosen = labels == label
        return logits[label][chosen].sum() if chosen.any() else logits[label].sum()
    if not has_activation(loaded):
        raise InputError(
            f"detector {type(model).__name__}: class activation knows detectors with dense heads, and two-stage ones"
        )
    if hasattr(model, "roi_head"):
        features = model.extract_feat(given.batch)
        with torch.no_grad():
            proposals = model.rpn_head.predict(features, [given.sample], rescale=False)
        # mmdet wants the index of the image before each box: 0
        scores = model.roi_head._bbox_forward(features, F.pad(proposals[0].bboxes, (1, 0)))["cls_score"]
        return scores[:, label].max()
    scores, classes = model.bbox_head(model.extract_feat(given.batch))[0], model.bbox_head.cls_out_channels
    return torch.stack([level.unflatten(1, (-1, classes))[:, :, label].max() for level in scores]).max()


def has_activation(loaded: Loaded) -> bool:
    """Return whether `class_score` knows a model's heads: dense ones, those of two stages, and all of mmseg's."""
    if loaded.scope == "mmseg":
        return True
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.roi_heads import StandardRoIHead

    model = loaded.model
    if hasattr(model, "roi_head"):
        return isinstance(model.roi_head, StandardRoIHead) and isinstance(getattr(model, "rpn_head", None), RPNHead)
    head = getattr(model, "bbox_head", None)
    return isinstance(head, BaseDenseHead) and hasattr(head, "cls_out_channels")


def receptive_field(loaded: Loaded, given: Given, point: tuple[float, float]) -> list[np.ndarray]:
    """Return for each level how much each pixel (H, W) of the image influences its map at a point, with sum 1.

    The point is x and y in pixels of the original image. This is the effective receptive field of Luo et al. (arXiv 1701.04128)
    for one image, so it is noisy. The Frobenius norm of the Jacobian is estimated from the gradients of a few sums of channels
    with random signs: a plain sum of channels is constant after a layer norm.
    """
    backbone = backbone_of(loaded)
    x, y = given.place(point)
    fields, generator = [], torch.Generator().manual_seed(0)
    with torch.enable_grad():
        images = given.batch.detach().clone().requires_grad_()
        levels = backbone(images)
        for number, (level, stride) in enumerate(zip(levels, backbone.out_strides, strict=True)):
            row, column = (min(int(at / stride), side - 1) for at, side in zip((y, x), level.shape[-2:], strict=True))
            squares = torch.zeros_like(images[0, 0])
            for draw in range(DRAWS):
                signs = torch.randint(0, 2, (level.shape[1],), generator=generator).to(level) * 2 - 1
                more = number + 1 < len(levels) or draw + 1 < DRAWS
                (gradient,) = torch.autograd.grad((signs * level[0, :, row, column]).sum(), images, retain_graph=more)
                squares += gradient[0].square().sum(dim=0)
            field = given.whole(squares.sqrt().float().cpu().numpy())
            fields.append(field / max(float(field.sum()), 1e-12))
    return fields


def half_side(field: np.ndarray, point: tuple[float, float]) -> int:
    """Return the side in pixels of the smallest square around a point (x, y) that holds half of the field's sum."""
    rows, columns = np.indices(field.shape)
    distance = np.maximum(np.abs(rows - int(point[1])), np.abs(columns - int(point[0]))).ravel()
    sums = np.cumsum(np.bincount(distance, field.ravel()))
    return 2 * int(np.searchsorted(sums, sums[-1] / 2)) + 1
