"""Checkpoints of whole detectors and segmenters that others trained, for the same model built here.

Outside the backbone, mmdet, mmseg and the authors' code for mmcv 1.x use the same names. The backbone's names are translated
and its eps is adopted, as for a backbone alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from .contents import contents_of
from .loading import adopt_eps
from .released import Record
from .selection import Loadable, Target, select

NORM_EPS = "mmvit_norm_eps"  # key in the meta of our checkpoints: a backbone's eps, if it is not the config's
THRESHOLD = "mmvit_threshold"  # likewise: the probability beyond which a pixel is foreground, as a validation chose it
KEPT = ("epoch", "iter", "mmengine_version", NORM_EPS, THRESHOLD)  # what a copy keeps of the meta, besides config and classes


@dataclass(frozen=True)
class WholeModel:
    """A checkpoint in the names of a model."""

    state: Mapping[str, Tensor]  # its tensors
    meta: Mapping[str, Any]  # its metadata, such as the config and the classes
    layout: str  # the prefix in the file, and the toolkit whose names it uses
    translated: bool  # whether names were changed, so that mmengine's own loading would not find the tensors
    remarks: tuple[str, ...]  # notes on what else was chosen or set

    def __str__(self) -> str:
        return "\n  ".join([f"{len(self.state)} tensors, {self.layout}", *self.remarks])


def whole_of(content: Any, path: Path, source: str | Path, model: nn.Module) -> WholeModel:
    """Translate a checkpoint of a whole model to the names of `model`, and set the eps of its backbone.

    Nothing is loaded. `loading.require_match` checks whether it fits exactly.

    Args:
        content, path, source: see `contents_of`.
        model: a detector or segmenter with any backbone; it may be on the meta device.

    Raises:
        CheckpointError: the file is ambiguous.
    """
    contents = contents_of(content, path, source)
    inside, backbone = _backbone(model)
    target = Target(model.state_dict(), backbone, inside)
    taken = select(contents, target)
    state = {name: value for name, value in taken.tensors.items() if name in target.state or not target.ignores(name)}
    remarks = [*taken.remarks]
    if backbone is not None:
        remarks += adopt_eps(backbone, taken, str(source))
        noted = contents.meta.get(NORM_EPS)
        if isinstance(noted, float) and noted != backbone.norm_eps:
            backbone.set_norm_eps(noted)
            remarks.append(f"norm_eps={noted}: set in all layer norms of the backbone, as it was trained")
    translated = taken.choice.prefix not in ("", "state_dict.") or any(taken.origin[name] != name for name in state)
    return WholeModel(state, contents.meta, str(taken.choice), translated, tuple(remarks))


def use_threshold(model: nn.Module, meta: Any) -> None:
    """Give a segmenter with one channel, or the one inside a model, the threshold that its checkpoint's validation chose."""
    chosen = meta.get(THRESHOLD) if isinstance(meta, Mapping) else None
    for part in model.modules():
        head: Any = getattr(part, "decode_head", None)
        if isinstance(chosen, float) and 0 < chosen < 1 and getattr(head, "out_channels", None) == 1:
            head.threshold = chosen


def _backbone(model: nn.Module) -> tuple[str, Loadable | None]:
    """Return the prefix and the backbone of this package inside a model; None if there is none."""
    for name, module in model.named_modules():
        if isinstance(getattr(module, "record", None), Record):
            return f"{name}." if name else "", cast(Loadable, module)
    return "", None
