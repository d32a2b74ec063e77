"""Every head with every family: it trains a step and predicts, with tiny backbones in the models of our configs."""

import numpy as np
import pytest
import torch
from makers import FEW
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from test_configs import BY_FAMILY, DATASETS, build, load
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmvit.recipes.tables import HEADS, Leaf

pytestmark = pytest.mark.stack
UNDECAYED = ("pos_embed", "layer_scale", "cls_token")
each_pairing = pytest.mark.parametrize("leaf", FEW, ids=lambda leaf: leaf.name)


def tiny(leaf: Leaf) -> Config:
    """The leaf with the family's smallest copy as its backbone, and weights at random."""
    cfg = load(leaf)
    cfg.model.backbone.update(init_cfg=None, arch=BY_FAMILY[leaf.family].tiny)
    cfg.merge_from_dict({f"model.{key}": value for key, value in HEADS[leaf.head].demo.items()})
    with torch.device("meta"):
        channels = list(MODELS.build(cfg.model.backbone).out_channels)
    for part, level in HEADS[leaf.head].inputs.items():
        cfg.model[part].in_channels = channels if level is None else channels[level]
    return cfg


def truth_of(leaf: Leaf, shape: tuple[int, int]) -> DetDataSample | SegDataSample:
    """The truth about an image, as the leaf's head takes it."""
    meta = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0))
    if leaf.dataset != "coco":
        labels = torch.randint(0, DATASETS[leaf.dataset][1], (1, *shape))
        return SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels))
    truth = InstanceData(bboxes=torch.tensor([[10.0, 10.0, 60.0, 70.0]]), labels=torch.tensor([3]))
    if "mask AP" in HEADS[leaf.head].metrics:  # RTMDet takes masks where there are any
        mask = np.zeros((1, *shape), np.uint8)
        mask[:, 10:70, 10:60] = 1
        truth.masks = BitmapMasks(mask, *shape)
    return DetDataSample(metainfo=meta, gt_instances=truth)


@each_pairing
def test_a_leaf_trains_and_predicts(leaf: Leaf) -> None:
    """One step's gradients for all parameters, none of a wrong decay; then a prediction at a size that 32 does not divide."""
    torch.manual_seed(0)
    cfg, segments = tiny(leaf), leaf.dataset != "coco"
    height, width = 120, 90
    if segments:
        cfg.model.data_preprocessor.size = (height, width)
    model = build(cfg)
    model.init_weights()
    for module in model.modules():  # one image has no batch statistics where a map is a single pixel
        if isinstance(module, _BatchNorm):
            module.train(False)
            module.train = lambda mode=True: None
    sample = truth_of(leaf, (height, width))
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    data = model.data_preprocessor(dict(inputs=[image], data_samples=[sample]), True)
    losses, _ = model.parse_losses(model(**data, mode="loss"))
    losses.backward()
    assert losses.isfinite()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    check_decay(model, cfg)
    data = model.eval().data_preprocessor(dict(inputs=[image], data_samples=[sample]), False)
    with torch.no_grad():
        (result,) = model(**data, mode="predict")
    if segments:
        assert result.pred_sem_seg.data.shape == (1, height, width)
    else:
        found = result.pred_instances
        assert found.bboxes.shape == (len(found.scores), 4)
        assert ("masks" in found) == ("mask AP" in HEADS[leaf.head].metrics)


def check_decay(model: nn.Module, cfg: Config) -> None:
    """Norms, position tables, layer scales and class tokens are not decayed, all else is; SegFormer's head learns faster."""
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    base = cfg.optim_wrapper.optimizer
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    undecayed = {part for part, own in keys.items() if own.get("decay_mult") == 0 and "." not in part}
    slow = {part for part, own in keys.items() if own.get("lr_mult") == 0.1}
    assert undecayed >= set(UNDECAYED)
    norms = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            slower = name.startswith("backbone.") and "backbone" in keys  # a key of its own, and so no rule on norms
            free = (isinstance(module, norms) and not slower) or any(part in name for part in undecayed)
            assert groups[id(parameter)]["weight_decay"] == (0.0 if free else base.weight_decay), name
            faster = "SegformerHead" in str(cfg.model.get("decode_head")) and cfg.train_cfg.max_iters == 160000  # its recipe's
            factor = 10 if faster and name.startswith("decode_head") else 0.1 if any(part in name for part in slow) else 1
            assert groups[id(parameter)]["lr"] == pytest.approx(factor * base.lr), name
