"""A training step of the new family under the RetinaNet of its generated config."""

import tempfile
from pathlib import Path

import seventh  # noqa: F401  (brings the family)
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.registry import MODELS

from mmvit.config.files import load_config
from mmvit.engine.fsdp import blocks_of
from mmvit.recipes.configs import make, parse

DIMS = [8, 16, 24, 32]


def step() -> None:
    register_all_modules()
    with tempfile.TemporaryDirectory() as folder:
        (path,) = make([parse("retinanet_poolformer_s12_coco")], Path(folder))
        cfg = load_config(path)
    cfg.model.backbone.update(arch=dict(depths=[1, 1, 2, 1], dims=DIMS), init_cfg=None)
    cfg.model.neck.in_channels = DIMS
    model = MODELS.build(cfg.model).train()
    data = model.data_preprocessor(demo_mm_inputs(2, [(3, 96, 128)] * 2), True)
    losses = model(**data, mode="loss")
    sum(part.sum() for parts in losses.values() for part in (parts if isinstance(parts, list) else [parts])).backward()
    without = [name for name, parameter in model.backbone.named_parameters() if parameter.grad is None]
    print(f"no gradient: {without}, blocks: {len(blocks_of(model))}")
