"""Cost of the model of a config: of its backbone, and of all of it."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from ..complexity import Complexity, complexity, counted
from ..errors import InputError
from ..pyramid import SMALLEST
from .files import open_config


def costs_of_config(file: str | Path, height: int, width: int) -> dict[str, Complexity]:
    """Return the cost of `backbone` and `model` for one image of `height` x `width` pixels.

    The whole model is counted with what its heads predict, without what turns that into boxes. This
    happens on the meta device if possible; a two-stage detector computes on the CPU, because its cost depends on its
    proposals.

    Raises:
        InputError: the config cannot be read or has no such model, or the image is too small.
    """
    cfg = open_config(file)
    if "backbone" not in cfg.get("model", {}):
        raise InputError(f"{file}: model.backbone is missing; expected a config of a detector or segmenter")
    if min(height, width) < SMALLEST:
        raise InputError(f"--shape {height} {width}: images have at least {SMALLEST} pixels a side")
    scope = cfg.get("default_scope", "mmdet")
    init_default_scope(scope)
    model_cfg = Config(dict(model=cfg.model)).model
    with torch.device("meta"):
        backbone = MODELS.build(model_cfg.backbone)
    cost = complexity(backbone, height, width, model_cfg.backbone.get("in_channels", 3))
    return dict(backbone=cost, model=whole_model(model_cfg, scope, height, width))


def whole_model(model_cfg: Any, scope: str, height: int, width: int) -> Complexity:
    """Return the cost of a detector or segmenter, counted on the meta device if possible."""

    def cost() -> Complexity:
        model, channels = MODELS.build(model_cfg), model_cfg.backbone.get("in_channels", 3)
        return counted(model, lambda: pass_through(model, scope, torch.zeros(1, channels, height, width)))

    try:
        with torch.device("meta"):
            return cost()
    except (RuntimeError, NotImplementedError):  # values, which meta tensors do not have
        return cost()


@torch.no_grad()
def pass_through(model: nn.Module, scope: str, images: Tensor) -> None:
    """Let images pass through a detector or segmenter, up to the predictions of its heads."""
    shape = tuple(images.shape[2:])
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))
    if scope == "mmseg":  # whose tensors mode lacks the samples that Mask2Former's head needs
        model.encode_decode(images, [meta] * len(images))  # type: ignore[operator]
    else:
        from mmdet.structures import DetDataSample

        model._forward(images, [DetDataSample(metainfo=meta) for _ in images])  # type: ignore[operator]
