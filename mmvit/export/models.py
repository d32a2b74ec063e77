"""Programs to export, made from a config and a checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..compat.python import sha256_of
from ..data.bands import LoadBands
from ..data.colours import palette_of
from ..errors import InputError
from ..predict.models import Loaded, load
from ..predict.runner import require_score
from ..version import __version__
from ..weights.downloads import fetch
from ..zoo import create
from .boxes import iou_of
from .preprocessing import Preprocessing
from .segmentation import Backbone, Segmenter

STEPS = ("Resize", "PackDetInputs", "PackSegInputs")  # steps of a test pipeline that the runner supports
READ = dict(color_type="color", to_float32=False, imdecode_backend="cv2")  # how the runner reads a picture
RESIZED = dict(interpolation="bilinear", backend="cv2")  # and how it resizes one
NMS = dict(type="nms", class_agnostic=False, offset=0, max_num=-1, score_threshold=0)  # of a program; its threshold is free
TRIED = "tried: dense heads that are tested like RetinaNet's, Faster and Mask R-CNN, encoder-decoders"


@dataclass(frozen=True)
class Exportable:
    """A program, the model that it must agree with, and the metadata of its file."""

    program: Any  # takes the inputs that it names and gives the outputs that it names
    model: Any  # of mmdet or mmseg; the backbone itself for a backbone
    metadata: dict[str, Any]  # plain values for JSON
    config: Config | None = None  # that the model was built from; None for a backbone

    @property
    def kind(self) -> str:
        """`detector`, `segmenter` or `backbone`."""
        return str(self.metadata["kind"])

    @property
    def channels(self) -> int | None:
        """Number of bands; None if it takes pictures."""
        return len(self.metadata["bands"]["mean"]) if "bands" in self.metadata else None


def from_config(
    config: str | Path | None, checkpoint: str | Path, score: float | None = None, raw_masks: bool = False
) -> Exportable:
    """Return the program of a trained detector or segmenter.

    Args:
        config: a file, the name of one of our configs, or None for the one in the checkpoint, read as data.
        checkpoint: of the whole model.
        score: least score of a detection; None for the config's.
        raw_masks: give a mask head's probabilities within the boxes instead of masks of the picture.

    Raises:
        InputError: no such config, a head or a test pipeline that cannot be exported, or a score that is none or of no object.
        CheckpointError: the checkpoint is missing, unreadable, or does not fit the config's model.
    """
    if score is not None:
        require_score(score)
    loaded = load(config, checkpoint, torch.device("cpu"))
    source = str(config or checkpoint)
    test = getattr(loaded.model, "test_cfg", None) or {}
    second = test.get("rcnn") or test
    bands = bands_of(loaded)
    channels = len(bands["mean"]) if bands else 3
    preprocessing = Preprocessing(dict(loaded.config.model.get("data_preprocessor") or {}), channels)
    program: Any = program_of(loaded.model, preprocessing, source, raw_masks)
    if raw_masks and "masks" not in program.outputs:
        raise InputError(f"--raw-masks: {source} gives no masks; leave it out")
    if score is not None and "score_threshold" not in program.inputs:
        raise InputError(f"--score: {source} labels every pixel, and has no scores of objects; leave it out")
    metadata = dict(
        kind="segmenter" if isinstance(program, Segmenter) else "detector",
        config=Path(source).stem,
        mmvit=__version__,
        checkpoint_sha256=sha256_of(fetch(checkpoint)),
        classes=list(loaded.classes),
        palette=[list(colour) for colour in loaded.palette or palette_of(loaded.classes)],
        category_ids=list(loaded.category_ids or ()),
        **described(program),
        **({"bands": bands} if bands else {}),
        scale=scale_rule(loaded, source),
        score_threshold=float(second.get("score_thr", 0.0)) if score is None else score,
        nms_threshold=iou_of(nms) if (nms := second.get("nms")) else 0.0,
        mask_threshold=float(second.get("mask_thr_binary", 0.5)),
        raw_masks=raw_masks,
    )
    return Exportable(program.eval(), loaded.model, metadata, loaded.config)


def bands_of(loaded: Loaded) -> dict[str, list[float]] | None:
    """Return mean and deviation of the bands that a model reads; None of one that reads pictures."""
    if not isinstance(loaded.read, LoadBands):
        return None
    return dict(mean=loaded.read.scale.mean.tolist(), std=loaded.read.scale.std.tolist())


def described(program: Any) -> dict[str, Any]:
    """Return the metadata on a file's inputs and on the preprocessing inside it."""
    inside: Any = program.preprocessing
    return dict(
        inputs=list(program.inputs),
        outputs=list(program.outputs),
        color_order="BGR",
        model_color_order="RGB" if inside.swaps else "BGR",
        mean=inside.mean.flatten().tolist(),
        std=inside.std.flatten().tolist(),
        multiple=inside.multiple,
    )


def from_arch(name: str, checkpoint: str | None) -> Exportable:
    """Return the program of a backbone alone.

    Args:
        name: one of `mmvit list`.
        checkpoint: its weights, as `mmvit.create` takes them: a path, a URL or mmvit://NAME; None for random ones.

    Raises:
        InputError: no such arch.
        CheckpointError: its weights are not available.
    """
    backbone = create(name, checkpoint).eval()
    program = Backbone(backbone).eval()
    names = dict(inputs=list(program.inputs), outputs=list(program.outputs))
    metadata = dict(kind="backbone", config=name, mmvit=__version__, input="(B, 3, H, W) float32, RGB, normalised", **names)
    return Exportable(program, backbone, metadata)


def program_of(model: Any, preprocessing: Preprocessing, source: str, raw_masks: bool = False) -> nn.Module:
    """Return our program of a model; `raw_masks` is for Mask R-CNN.

    Raises:
        InputError: a model or head that none of the programs is for.
    """
    if hasattr(model, "decode_head"):
        return segmenter_of(model, preprocessing, source)
    from mmdet.models.dense_heads import GFLHead, RPNHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
    from mmdet.models.roi_heads import StandardRoIHead

    from .dense import DenseDetector, DistributionDetector
    from .two_stage import TwoStageDetector as TwoStageProgram

    heads = {name: type(head) for name, head in model.named_children() if name.endswith("_head")}
    if isinstance(model, TwoStageDetector) and heads == dict(rpn_head=RPNHead, roi_head=StandardRoIHead):
        _require_test(source, "model.test_cfg.rpn", model.test_cfg.rpn, ("nms_pre", "max_per_img"))
        _require_test(source, "model.test_cfg.rcnn", model.test_cfg.rcnn, ("max_per_img",))
        return TwoStageProgram(model, preprocessing, raw_masks)
    head = getattr(model, "bbox_head", None)
    own = type(head)._predict_by_feat_single if isinstance(head, BaseDenseHead) else None
    programs = {BaseDenseHead._predict_by_feat_single: DenseDetector, GFLHead._predict_by_feat_single: DistributionDetector}
    if isinstance(model, SingleStageDetector) and own in programs:
        _require_test(source, "model.test_cfg", model.test_cfg, ("nms_pre", "max_per_img"))
        if (least := model.test_cfg.get("min_bbox_size", -1)) > 0:
            raise InputError(
                f"{source}: model.test_cfg.min_bbox_size is {least}, in pixels of the original image, whose size the exported "
                "model is not given. Set it to 0, and leave small boxes out of the results"
            )
        return programs[own](model, preprocessing)
    names = ", ".join(kind.__name__ for kind in heads.values()) or "no head"
    raise InputError(f"{source}: {type(model).__name__} with {names} cannot be exported; {TRIED}")


def segmenter_of(model: Any, preprocessing: Preprocessing, source: str) -> Segmenter:
    """Return the program of an encoder-decoder.

    Raises:
        InputError: one that is tested in windows, has several heads, or another way from scores to labels.
    """
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead
    from mmseg.models.segmentors import EncoderDecoder

    if model.test_cfg.get("mode", "whole") != "whole":
        raise InputError(
            f"{source}: model.test_cfg.mode is {model.test_cfg.mode!r}, and only whole images can be exported; export a "
            "copy of the config with model.test_cfg=dict(mode='whole'), after testing the model that way"
        )
    head = model.decode_head
    own = getattr(type(head), "predict_by_feat", None)
    if type(model) is not EncoderDecoder or own is not BaseDecodeHead.predict_by_feat:
        heads = head if isinstance(head, nn.ModuleList) else [head]
        names = ", ".join(type(one).__name__ for one in heads)
        raise InputError(f"{source}: {type(model).__name__} with {names} cannot be exported; {TRIED}")
    return Segmenter(model, preprocessing)


def _require_test(source: str, key: str, settings: Any, numbers: Sequence[str]) -> None:
    """Raise InputError if a part of `test_cfg` selects boxes in a way that the programs do not."""
    for name in numbers:
        if not (number := settings.get(name)) or number < 1:
            raise InputError(f"{source}: {key}.{name} is {number}, and cannot be exported; expected a whole number from 1")
    nms = settings.get("nms")
    if not nms:
        raise InputError(f"{source}: {key}.nms is {nms}, and cannot be exported; expected dict(type='nms', iou_threshold=...)")
    for name, followed in NMS.items():
        if (value := nms.get(name, followed)) != followed:
            raise InputError(f"{source}: {key}.nms has {name}={value!r}, and cannot be exported; expected {name}={followed!r}")


def scale_rule(loaded: Loaded, source: str) -> dict[str, Any] | None:
    """Return how the test pipeline resizes an image; None if it does not.

    Raises:
        InputError: it has a step, or an option of one, that the runner does not follow.
    """
    _require_options(source, loaded.read, READ)
    steps: Iterable[Any] = loaded.prepare.transforms
    names = [type(step).__name__ for step in steps]
    if unknown := [name for name in names if name not in STEPS]:
        raise InputError(
            f"{source}: the test pipeline has {unknown[0]}, which the runner does not support; it supports {STEPS}"
        )
    resizes = [step for step, name in zip(steps, names, strict=True) if name == "Resize"]
    if not resizes:
        return None
    step = resizes[0]
    if len(resizes) > 1:
        raise InputError(f"{source}: the test pipeline resizes with {resizes}; expected one Resize")
    _require_options(source, step, RESIZED)
    to = dict(scale=list(step.scale)) if step.scale else dict(scale_factor=list(step.scale_factor))  # as Resize prefers
    return dict(to, keep_ratio=bool(step.keep_ratio))


def _require_options(source: str, step: Any, followed: Mapping[str, Any]) -> None:
    for option, value in followed.items():
        if (asked := getattr(step, option, None) or value) != value:  # None is mmcv's default, which is ours
            raise InputError(
                f"{source}: {type(step).__name__} of the test pipeline has {option}={asked!r}, which the runner does not "
                f"follow; expected {option}={value!r}, after testing the model that way"
            )
