"""`tools/long_checks.py swapped`: the toolkits' own models with a backbone of ours in the place of their ResNet.

Of each folder of configs one is taken whose backbone is a ResNet. With the ResNet's channels the checks must not say that it
fits; with the right channels it trains a step and predicts. Images have 384 pixels a side, of which the coarsest maps still
have more pixels than kernels and queries: NAS-FCOS was seen with 10 GB at its own scale of 1,333 x 800. Heads have at most 80
classes: with the 1,203 of LVIS, the masks of a Cascade Mask R-CNN took 21 GB.
"""

import gc
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from mmvit.checks.advice import describe
from mmvit.checks.channels import check_channels, misfits
from mmvit.checks.classes import our_backbone
from mmvit.checks.model import check_forward
from mmvit.checks.plan import Plan
from mmvit.config.parts import mappings, without_init

OURS = dict(type="mmvit.PVTv2", arch="b0")
RESNETS = ("ResNet", "ResNetV1c", "ResNetV1d")
SIDE, IMAGES, PROPOSALS, CLASSES = 384, 2, 20, 80
READ = 5  # configs of a folder
# What brings models or stages of others, and QueryInst's head, which fails on the boxes of an untrained model.
OTHERS = ("language_model", "teacher_config", "teacher_backbone", "shared_head", "TrackDataPreprocessor", "DynamicMaskHead")
ROUNDS = 4  # of mending: a head's channels follow from its neck's


def swapped(files: Iterator[tuple[str, Path]], every: int) -> Iterator[str]:
    """Yield what does not go as it should, of every N-th folder.

    Args:
        files: scope and path of the toolkits' configs.
        every: N.
    """
    warnings.simplefilter("ignore")
    MMLogger.get_current_instance().setLevel("ERROR")  # not a line for each tensor that is initialised
    folders: dict[Path, list[tuple[str, Path]]] = {}
    for scope, file in files:
        if "_base_" not in file.parts:
            folders.setdefault(file.parent, []).append((scope, file))
    seen = 0
    for listed in list(folders.values())[::every]:
        found = ((scope, file, cfg) for scope, file in listed[:READ] if (cfg := _with_resnet(file)) is not None)
        scope, file, cfg = next(found, ("", Path(), None))
        if cfg is None:
            continue
        seen += 1
        with DefaultScope.overwrite_default_scope(scope):
            yield from (f"{file.parent.name}/{file.name}: {fault}" for fault in _try(cfg, scope))
        gc.collect()
    print(f"{seen} models", flush=True)


def _with_resnet(file: Path) -> Config | None:
    try:
        cfg = Config.fromfile(file)
        backbone = cfg.model.backbone
    except Exception:  # a base that needs another, packages that are not here, or a model around another
        return None
    untried = any(key in OTHERS for part in mappings(cfg.model) for key in (*part, part.get("type")))
    return cfg if backbone.get("type") in RESNETS and not untried else None


def _try(cfg: Config, scope: str) -> Iterator[str]:
    cfg.model.pop("pretrained", None)
    cfg.model.backbone = dict(OURS, out_indices=tuple(cfg.model.backbone.get("out_indices", (0, 1, 2, 3))))
    for part in mappings(cfg.model):
        if part.get("type") == "MMSyncBN":
            part["type"] = "BN"  # as the doctor advises for one process
        if isinstance(count := part.get("num_classes"), int):
            part["num_classes"] = min(count, CLASSES)
    plan = Plan(cfg, ())
    if any(finding.verdict == "ok" for check in (check_channels, check_forward) for finding in check(plan)):
        yield "a ResNet's channels are said to fit"
    backbone = our_backbone(cfg.model)
    assert backbone is not None
    for _ in range(ROUNDS):
        for misfit in list(misfits(cfg.model, backbone.out_channels)):
            cfg.merge_from_dict({f"{misfit.key}.{name}": value for name, value in misfit.right.items()})
    if any(finding.verdict == "wrong" for finding in check_forward(Plan(cfg, ()))):
        return  # an option of the head itself is a ResNet's still, or it needs contiguous maps; the doctor says so
    net = None
    try:
        net = MODELS.build(without_init(cfg.model))
        net = revert_sync_batchnorm(net)
        net.init_weights()  # some tables begin as whatever the memory held
        _step(net, cfg, scope)
    except Exception as error:
        yield describe(error, net)


def _step(net: Any, cfg: Mapping[str, Any], scope: str) -> None:
    """Train a step and predict, on noise."""
    torch.manual_seed(0)
    for clock in ("iter", "epoch"):
        MessageHub.get_current_instance().update_info(clock, 0)  # some losses warm up
    if hasattr(net, "set_epoch"):
        net.set_epoch(0)  # as a hook of mmdet does
    data = _of_mmdet(net) if scope == "mmdet" else _of_mmseg(cfg)
    batch = net.data_preprocessor(data, True)
    total, _ = net.parse_losses(net.train()(**batch, mode="loss"))
    total.backward()
    if not any(value.grad is not None and bool(value.grad.any()) for value in net.backbone.parameters()):
        raise RuntimeError("no gradient reaches the backbone")
    with torch.no_grad():
        results = net.eval()(**net.data_preprocessor(data, False), mode="predict")
    assert len(results) == IMAGES


def _of_mmdet(net: Any) -> dict[str, Any]:
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals

    shapes = [(3, SIDE, SIDE)] * IMAGES
    data = demo_mm_inputs(IMAGES, shapes, num_classes=2, with_mask=True, with_semantic=True)
    if not getattr(net, "with_rpn", True) and hasattr(net, "roi_head"):
        for sample, proposals in zip(data["data_samples"], demo_mm_proposals(shapes, PROPOSALS), strict=True):
            sample.proposals = proposals
    return data


def _of_mmseg(cfg: Mapping[str, Any]) -> dict[str, Any]:
    from mmseg.structures import SegDataSample

    shape = (SIDE, SIDE)
    samples = []
    for _ in range(IMAGES):
        sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, *shape)))
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 255, (3, *shape), dtype=torch.uint8) for _ in samples], data_samples=samples)
