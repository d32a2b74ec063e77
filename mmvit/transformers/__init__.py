"""transformers' detectors and segmenters on a backbone of this package.

    from mmvit.transformers import detector
    model = detector("d_fine", "van_b2", num_classes=20, checkpoint="mmvit://van_b2")
    loss = model(images, labels=targets).loss

Everything but the backbone is transformers' own: config, heads, losses, image processors, Trainer. The backbone is its
`TimmBackbone`, so `from_pretrained` rebuilds what `save_pretrained` wrote as soon as this module or `mmvit.timm` is imported.
`use_pretrained_backbone=True` of transformers loads nothing; here, weights come from `checkpoint`, exactly or not at all.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from mmengine.logging import print_log
from transformers import PreTrainedModel, TimmBackboneConfig

from ..errors import CheckpointError, InputError, first_few, nearest
from ..pyramid import Pyramid
from ..timm import PREFIX
from ..zoo import create

# what depends on the backbone's channels, or on the classes
OTHER_SHAPES = re.compile(r"input_proj|adapter|lateral|class|score")
REFUSED = dict.fromkeys(
    ("rf_detr", "lw_detr"), "it builds its own windowed ViT whatever backbone_config says, and reads that one's stage_names"
) | dict.fromkeys(("depth_anything", "zoedepth", "prompt_depth_anything"), "its neck takes the tokens of a plain ViT, not maps")


class Head(NamedTuple):
    """What a model is made of: the start of its classes' names, what it is for, and the backbone's levels that it takes."""

    name: str
    task: str
    levels: tuple[int, ...]
    options: Mapping[str, Any] = {}


DETECTORS = {
    "detr": Head("Detr", "ForObjectDetection", (3,)),
    "conditional_detr": Head("ConditionalDetr", "ForObjectDetection", (3,)),
    "dab_detr": Head("DabDetr", "ForObjectDetection", (3,)),
    "deformable_detr": Head("DeformableDetr", "ForObjectDetection", (1, 2, 3)),
    "rt_detr": Head("RTDetr", "ForObjectDetection", (1, 2, 3)),
    "rt_detr_v2": Head("RTDetrV2", "ForObjectDetection", (1, 2, 3)),
    "d_fine": Head("DFine", "ForObjectDetection", (1, 2, 3)),
    "deimv2": Head("Deimv2", "ForObjectDetection", (1, 2, 3)),
}
SEGMENTERS = {
    "upernet": Head("UperNet", "ForSemanticSegmentation", (0, 1, 2, 3)),
    "maskformer": Head("MaskFormer", "ForInstanceSegmentation", (0, 1, 2, 3)),
    "mask2former": Head("Mask2Former", "ForUniversalSegmentation", (0, 1, 2, 3)),
    # a ViT on the map at stride 16, as on the authors' ResNet
    "dpt": Head("DPT", "ForSemanticSegmentation", (0, 1, 2), dict(is_hybrid=True, readout_type="project")),
}


def detector(head: str, name: str, num_classes: int, checkpoint: str | Path | None = None, **options: Any) -> PreTrainedModel:
    """Return a detector of transformers on a backbone.

    Args:
        head: detr, conditional_detr, dab_detr, deformable_detr, rt_detr, rt_detr_v2, d_fine or deimv2.
        name: one of `mmvit.list_archs()`.
        num_classes: without a background, as transformers counts: labels are 0 to num_classes - 1.
        checkpoint: weights of the backbone, as `mmvit.create` takes them, such as `mmvit://van_b2`.
        options: in_channels of the images; head_checkpoint, a model with the same head on another backbone, as a folder or a
            name on the Hugging Face Hub, whose head is taken over; all others go to transformers' config, such as num_queries,
            id2label, freeze_backbone_batch_norms.

    Raises:
        InputError: no such backbone, head or option.
        CheckpointError: weights are not available, or do not fit exactly.
    """
    return _build(DETECTORS, head, name, num_classes, checkpoint, **options)


def segmenter(head: str, name: str, num_classes: int, checkpoint: str | Path | None = None, **options: Any) -> PreTrainedModel:
    """Return a segmenter of transformers on a backbone: upernet, maskformer, mask2former or dpt; see `detector`."""
    return _build(SEGMENTERS, head, name, num_classes, checkpoint, **options)


def _build(
    heads: Mapping[str, Head],
    head: str,
    name: str,
    num_classes: int,
    checkpoint: str | Path | None,
    head_checkpoint: str | Path | None = None,
    in_channels: int = 3,
    **options: Any,
) -> PreTrainedModel:
    if head not in heads:
        raise InputError(f"{head!r} of transformers: {REFUSED.get(head) or nearest(head, list(heads))}")
    row = heads[head]
    config_class = getattr(transformers, f"{row.name}Config")
    known = config_class()
    if unknown := [name for name in options if not hasattr(known, name) and not hasattr(known, f"_{name}")]:
        raise InputError(
            f"{head} has no option {unknown[0]}, which transformers would pass over; "
            f"{nearest(unknown[0], vars(known), otherwise='see its ' + config_class.__name__)}"
        )
    body = create(name, checkpoint, out_indices=row.levels, in_channels=in_channels)
    if body.norm_eps is not None:
        raise CheckpointError(
            f"{checkpoint}: its layer norms have eps={body.norm_eps}, which the config of a saved model cannot keep; take the "
            "authors' file, such as mmvit://" + name
        )
    backbone = TimmBackboneConfig(backbone=PREFIX + name, out_indices=list(row.levels), num_channels=in_channels)
    own = {**_channels(body, config_class, options.get("image_size", 384)), "num_channels": in_channels}
    own = {key: value for key, value in own.items() if hasattr(config_class, key)}
    config = config_class(**{**own, **row.options, **options}, backbone_config=backbone, num_labels=num_classes)
    model_class = getattr(transformers, row.name + row.task)
    model = model_class(config) if head_checkpoint is None else _with_head(model_class, config, str(head_checkpoint))
    inside = next(module for module in model.modules() if isinstance(module, Pyramid))
    state, target = body.state_dict(), inside.state_dict()
    inside.load_state_dict({key: state[key] for key in target})  # a frozen batch norm counts no batches
    return model


def _channels(body: Pyramid, config_class: Any, image_size: int) -> dict[str, Any]:
    """Return the options of configs that say again what the backbone's maps are."""
    known: dict[str, Any] = dict(encoder_in_channels=list(body.out_channels), feat_strides=list(body.out_strides))
    if config_class is transformers.DPTConfig:
        grid, width = image_size // body.out_strides[-1], config_class.hidden_size
        known["neck_hidden_sizes"] = [*body.out_channels[:2], width, width]
        known["backbone_featmap_shape"] = [1, body.out_channels[-1], grid, grid]
    return known


def _with_head(model_class: type[PreTrainedModel], config: Any, source: str) -> PreTrainedModel:
    """Return the model with all tensors of another one of its kind but the backbone's, and log what was taken over.

    Raises:
        CheckpointError: a tensor is missing or left over, or its shape differs for another reason than channels or classes.
    """
    model, info = model_class.from_pretrained(
        source, config=config, ignore_mismatched_sizes=True, use_safetensors=True, output_loading_info=True
    )
    inside = next(key for key, module in model.named_modules() if isinstance(module, Pyramid))
    start = inside[: inside.index("_backbone") if "_backbone" in inside else inside.rindex(".")]
    other = {key: shapes for key, *shapes in info["mismatched_keys"] if not key.startswith(start)}
    wrong = [key for key in (*info["missing_keys"], *info["unexpected_keys"]) if not key.startswith(start)]
    if wrong := [*wrong, *(key for key in other if not OTHER_SHAPES.search(key))]:
        raise CheckpointError(
            f"{source} is no {model_class.__name__} of this config; missing, left over or of another shape: {first_few(wrong)}"
            ". Give the options of its config.json, such as encoder_hidden_dim"
        )
    print_log(
        f"{source}: head taken over; of other channels or classes, with initial values: {first_few(list(other))}", "current"
    )
    return model
