"""`tools/long_checks.py swapped`: the toolkits' own models with a backbone of ours in the place of their ResNet.

Of each folder of configs one is taken whose backbone is a ResNet. With the ResNet's channels the checks must not say that it
fits; with the right channels it trains a step and predicts. Images have 128 pixels a side: NAS-FCOS was seen with 10 GB at its
own scale of 1,333 x 800; one image took 1.1, 1.3 and 2.5 GB at 128, 320 and 1,024 pixels.
"""

import gc
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

from mmvit.checks.advice import describe
from mmvit.checks.channels import check_channels, misfits
from mmvit.checks.classes import our_backbone
from mmvit.checks.model import check_forward
from mmvit.checks.plan import Plan
from mmvit.config.parts import without_init

OURS = dict(type="mmvit.PVTv2", arch="b0")
RESNETS = ("ResNet", "ResNetV1c", "ResNetV1d")
SIDE, IMAGES = 128, 2
READ = 5  # configs of a folder
ROUNDS = 4  # of mending: a head's channels follow from its neck's


def swapped(files: Iterator[tuple[str, Path]], every: int) -> Iterator[str]:
    """Yield what does not go as it should, of every N-th folder.

    Args:
        files: scope and path of the toolkits' configs.
        every: N.
    """
    warnings.simplefilter("ignore")
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
    return cfg if backbone.get("type") in RESNETS else None


def _try(cfg: Config, scope: str) -> Iterator[str]:
    cfg.model.pop("pretrained", None)
    cfg.model.backbone = dict(OURS, out_indices=tuple(cfg.model.backbone.get("out_indices", (0, 1, 2, 3))))
    plan = Plan(cfg, ())
    if any(finding.verdict == "ok" for check in (check_channels, check_forward) for finding in check(plan)):
        yield "a ResNet's channels are said to fit"
    backbone = our_backbone(cfg.model)
    assert backbone is not None
    for _ in range(ROUNDS):
        for misfit in list(misfits(cfg.model, backbone.out_channels)):
            cfg.merge_from_dict({f"{misfit.key}.{name}": value for name, value in misfit.right.items()})
    net = None
    try:
        net = MODELS.build(without_init(cfg.model))
        _step(net, cfg, scope)
    except Exception as error:
        yield describe(error, net)


def _step(net: Any, cfg: Mapping[str, Any], scope: str) -> None:
    """Train a step and predict, on noise."""
    torch.manual_seed(0)
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
    from mmdet.testing import demo_mm_inputs

    return demo_mm_inputs(IMAGES, [(3, SIDE, SIDE)] * IMAGES, num_classes=2, with_mask=True, with_semantic=True)


def _of_mmseg(cfg: Mapping[str, Any]) -> dict[str, Any]:
    from mmseg.structures import SegDataSample

    shape = (SIDE, SIDE)
    samples = []
    for _ in range(IMAGES):
        sample = SegDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1.0, 1.0)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, *shape)))
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 255, (3, *shape), dtype=torch.uint8) for _ in samples], data_samples=samples)
