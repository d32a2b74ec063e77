"""Whole models: checkpoints of detectors and segmenters that others trained, for the same model built here.

What lies outside of the backbone has the same names in mmdet, mmseg and the authors' code of mmcv 1.x; the backbone's names are
translated, and its eps adopted, as for a backbone alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from .archives import read_checkpoint
from .contents import contents_of
from .downloads import fetch
from .loading import adopt_eps
from .selection import Loadable, Target, select

NORM_EPS = "mmvit_norm_eps"  # in the meta of our checkpoints: a backbone's, where it is not the config's


@dataclass(frozen=True)
class WholeModel:
    """A checkpoint in the names of a model.

    Attributes:
        state: its tensors.
        meta: what stands beside them, such as the config and the classes.
        layout: whose names the file has, and what stands before them.
        translated: whether mmengine's own loading would not find the tensors.
        remarks: what was chosen or set besides.
    """

    state: Mapping[str, Tensor]
    meta: Mapping[str, Any]
    layout: str
    translated: bool
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        return "\n  ".join([f"{len(self.state)} tensors, {self.layout}", *self.remarks])


def read_whole(source: str | Path, model: nn.Module, prefix: str | None = None) -> WholeModel:
    """Read a checkpoint of a whole model in the names of `model`, whose backbone's eps is set where the file's is another.

    Nothing is loaded, and whether it fits exactly is for `loading.require_match` to say.

    Args:
        source: path or address.
        model: a detector or segmenter, of this package's backbones or of others; it may be on the meta device.
        prefix: as in `load_pretrained`.

    Raises:
        CheckpointError: unreadable, or ambiguous.
    """
    path = fetch(source)
    return whole_of(read_checkpoint(path, source), path, source, model, prefix)


def whole_of(content: Any, path: Path, source: str | Path, model: nn.Module, prefix: str | None = None) -> WholeModel:
    """As `read_whole`, of a checkpoint that was read.

    Args:
        content: what `read_checkpoint` returned.
        path: where the file lies.
        source, model, prefix: as there.
    """
    contents = contents_of(content, path, source)
    inside, backbone = _backbone(model)
    taken = select(contents, Target(model.state_dict(), backbone, inside), prefix)
    state = {name: value for name, value in taken.tensors.items() if backbone is None or not _dropped(name, inside, backbone)}
    remarks = [*taken.remarks]
    if backbone is not None:
        remarks += adopt_eps(backbone, taken, str(source))
        noted = contents.meta.get(NORM_EPS)
        if isinstance(noted, float) and noted != backbone.norm_eps:
            backbone.set_norm_eps(noted)
            remarks.append(f"norm_eps={noted}: set in all layer norms of the backbone, as it was trained")
    translated = taken.choice.prefix not in ("", "state_dict.") or any(taken.origin[name] != name for name in state)
    return WholeModel(state, contents.meta, str(taken.choice), translated, tuple(remarks))


def _backbone(model: nn.Module) -> tuple[str, Loadable | None]:
    """The backbone of this package inside a model, and what its names begin with."""
    for name, module in model.named_modules():
        if hasattr(module, "our_name"):
            return f"{name}." if name else "", cast(Loadable, module)
    return "", None


def _dropped(name: str, inside: str, backbone: Loadable) -> bool:
    """Whether a tensor belongs to a classifier of the backbone's, which the authors' files may have."""
    inner = name[len(inside) :]
    return name.startswith(inside) and backbone.ignores(inner) and name not in backbone.state_dict()
