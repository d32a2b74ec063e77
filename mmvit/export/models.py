"""From a config and a checkpoint to the program that is exported."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..errors import CheckpointError, InputError, some
from ..recipes.files import load_config
from ..version import __version__
from ..weights.archives import read_checkpoint, require_real
from ..zoo import create
from .preprocessing import Preprocessing
from .segmentation import Backbone, Segmenter


@dataclass(frozen=True)
class Exportable:
    """A program, the model that it must agree with, and what its file tells.

    Attributes:
        kind: `detector`, `segmenter` or `backbone`.
        program: takes the inputs that it names and gives the outputs that it names.
        model: of mmdet or mmseg; the backbone itself for a backbone.
        metadata: plain values for JSON.
    """

    kind: str
    program: Any
    model: Any
    metadata: dict[str, Any]


def from_config(file: Path, checkpoint: Path, score: float | None) -> Exportable:
    """Return the program of a trained detector or segmenter.

    Args:
        file: the config.
        checkpoint: of the whole model.
        score: least score of a detection; None for the config's.

    Raises:
        InputError: no such config, or a head that cannot be exported.
        CheckpointError: the checkpoint is missing, unreadable, or does not fit the config's model.
    """
    cfg = load_config(file)
    if "backbone" not in cfg.get("model", {}):
        raise InputError(f"{file}: model.backbone is missing; expected a config of a detector or segmenter")
    scope = cfg.get("default_scope") or "mmdet"
    init_default_scope(scope)
    model = MODELS.build(_without_pretrained(cfg.model)).eval()
    digest, meta = _load(model, checkpoint)
    program = program_of(model, Preprocessing(dict(cfg.model.data_preprocessor)), str(file))
    test = getattr(model, "test_cfg", None) or {}
    second = test.get("rcnn") or test
    classes, palette = _classes(cfg, meta, model)
    return Exportable(
        "segmenter" if isinstance(program, Segmenter) else "detector",
        program.eval(),
        model,
        dict(
            kind="segmenter" if isinstance(program, Segmenter) else "detector",
            config=file.stem,
            mmvit=__version__,
            checkpoint_sha256=digest,
            classes=classes,
            palette=palette,
            color_order="BGR",
            mean=program.preprocessing.mean.flatten().tolist(),
            std=program.preprocessing.std.flatten().tolist(),
            model_color_order="RGB" if program.preprocessing.swaps else "BGR",
            multiple=program.preprocessing.multiple,
            scale=scale_rule(cfg, file),
            score_threshold=float(second.get("score_thr", 0.0)) if score is None else score,
            nms_threshold=float((second.get("nms") or {}).get("iou_threshold", 0.0)),
            mask_threshold=float(second.get("mask_thr_binary", 0.5)),
        ),
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
    metadata = dict(kind="backbone", config=name, mmvit=__version__, input="(B, 3, H, W) float32, RGB, normalised")
    return Exportable("backbone", Backbone(backbone).eval(), backbone, metadata)


def program_of(model: Any, preprocessing: Preprocessing, source: str) -> nn.Module:
    """Return our program of a model.

    Raises:
        InputError: a model or head that none of the programs is for.
    """
    tried = "tried: dense heads, Faster and Mask R-CNN, encoder-decoders"
    if hasattr(model, "decode_head"):
        if model.test_cfg.get("mode", "whole") != "whole":
            raise InputError(
                f"{source}: model.test_cfg.mode is {model.test_cfg.mode!r}, and only whole images can be exported; export a "
                "copy of the config with model.test_cfg=dict(mode='whole'), after testing the model that way"
            )
        if isinstance(model.decode_head, nn.ModuleList):
            raise InputError(f"{source}: {type(model).__name__} chains several decode heads and cannot be exported; {tried}")
        return Segmenter(model, preprocessing)
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
    from mmdet.models.roi_heads import StandardRoIHead

    from .dense import DenseDetector
    from .two_stage import TwoStageDetector as TwoStageProgram

    if isinstance(model, TwoStageDetector):
        if type(model.rpn_head) is RPNHead and type(model.roi_head) is StandardRoIHead:
            _require_nms(source, model.test_cfg.rpn.nms, model.test_cfg.rcnn.nms)
            return TwoStageProgram(model, preprocessing)
        names = f"{type(model.rpn_head).__name__} and {type(model.roi_head).__name__}"
        raise InputError(f"{source}: a detector of {names} cannot be exported, only RPNHead with StandardRoIHead; {tried}")
    head = getattr(model, "bbox_head", None)
    own = type(head)._predict_by_feat_single if isinstance(head, BaseDenseHead) else None
    if isinstance(model, SingleStageDetector) and own is BaseDenseHead._predict_by_feat_single:
        _require_nms(source, model.test_cfg.nms)
        return DenseDetector(model, preprocessing)
    raise InputError(f"{source}: {type(model).__name__} with {type(head).__name__} cannot be exported; {tried}")


def _require_nms(source: str, *settings: Any) -> None:
    for nms in settings:
        if nms.get("type", "nms") != "nms" or nms.get("class_agnostic"):
            raise InputError(f"{source}: NMS {dict(nms)} cannot be exported, only class-wise dict(type='nms')")


def _without_pretrained(model: Any) -> Any:
    """Return a copy of the model's settings that fetches no weights: the checkpoint holds them all."""
    copied = Config(dict(model=model.to_dict())).model
    copied.backbone.pop("init_cfg", None)
    copied.pop("init_cfg", None)
    return copied


def _load(model: nn.Module, checkpoint: Path) -> tuple[str, dict[str, Any]]:
    """Load all tensors; return the file's sha256 and what the training wrote beside them."""
    if not checkpoint.is_file():
        raise CheckpointError(f"checkpoint {checkpoint}: no such file. Training writes them to work_dirs/CONFIG_NAME")
    content = read_checkpoint(checkpoint)
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    require_real(tensors, checkpoint, checkpoint)
    try:
        found = model.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint} does not fit the config's model: {error}") from error
    if found.missing_keys or found.unexpected_keys:
        raise CheckpointError(
            f"{checkpoint} does not fit the config's model: missing {some(found.missing_keys) or 'nothing'}; "
            f"not in the model: {some(found.unexpected_keys) or 'nothing'}. Give the config that it was trained with"
        )
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    meta = content.get("meta") if isinstance(content, dict) else None
    return digest, (meta if isinstance(meta, dict) else {})


def _classes(cfg: Any, meta: dict[str, Any], model: Any) -> tuple[list[str], list[list[int]]]:
    """Return names and colours: of the checkpoint, else of the config's dataset class, else numbers."""
    loader = cfg.get("test_dataloader") or {}
    dataset = loader.get("dataset") or {}
    told = dict(meta.get("dataset_meta") or {})
    told.update(dataset.get("metainfo") or {})
    if "classes" not in told and "type" in dataset:
        from mmengine.registry import DATASETS

        kind = DATASETS.get(dataset["type"])
        told = {**(getattr(kind, "METAINFO", None) or {}), **told}
    head = getattr(model, "decode_head", None) or getattr(model, "bbox_head", None) or model.roi_head.bbox_head
    number = head.num_classes
    classes = [str(name) for name in told.get("classes") or ()]
    if len(classes) != number:
        classes = [str(index) for index in range(number)]
    palette = told.get("palette")
    return classes, [list(map(int, color)) for color in palette] if isinstance(palette, list | tuple) else []


def scale_rule(cfg: Any, file: Path) -> dict[str, Any] | None:
    """Return how the test pipeline resizes a picture, None where it does not.

    Raises:
        InputError: it resizes in a way that the runner does not know.
    """
    pipeline = cfg.get("test_pipeline") or ()
    steps = [step for step in pipeline if "Resize" in str(step["type"])]
    if not steps:
        return None
    step = steps[0]
    if len(steps) > 1 or str(step["type"]).rpartition(".")[2] not in ("Resize", "FixScaleResize") or "scale" not in step:
        raise InputError(f"{file}: test_pipeline resizes with {step}; expected one step dict(type='Resize', scale=(W, H))")
    return dict(scale=list(step["scale"]), keep_ratio=bool(step.get("keep_ratio", False)))
