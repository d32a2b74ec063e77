"""The windows in which mmseg tests segmenters."""

from collections.abc import Mapping
from typing import Any

from ..arguments import name_of

SEGMENTERS = ("EncoderDecoder", "CascadeEncoderDecoder")
MODES = ("whole", "slide")
EXAMPLE = "such as dict(mode='slide', crop_size=(512, 512), stride=(341, 341)) or dict(mode='whole')"


def windows_fault(model: Mapping[str, Any], key: str = "model") -> str | None:
    """Return why mmseg would stop at the first image that a segmenter of this config is tested on; None if it would not."""
    if name_of(model.get("type")) not in SEGMENTERS:  # another may have modes of its own
        return None
    test = model.get("test_cfg")
    mode = None if test is None else test.get("mode", "whole")
    if test is None or mode not in MODES:
        given = "missing" if test is None else f"mode={mode!r}"
        return f"{key}.test_cfg is {given}: expected mode='whole' or mode='slide', {EXAMPLE}"
    crop, stride = test.get("crop_size"), test.get("stride")
    if mode == "whole" or (_is_size(crop) and _is_size(stride) and all(map(int.__le__, stride, crop))):
        return None
    return (
        f"{key}.test_cfg has mode='slide' with crop_size={crop} and stride={stride}: expected two whole numbers each, height "
        f"and width, and no stride above its crop, because pixels between the windows would get no class; {EXAMPLE}"
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)
