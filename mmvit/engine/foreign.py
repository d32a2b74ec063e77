"""Whole models that others trained: given to mmengine's runner under the names that its model has.

mmengine loads what has equal names and goes on without the rest. Every checkpoint is therefore read here first: one that is to
be evaluated or resumed must fit exactly, and one whose tensors have other names, or whose address only this package knows, is
handed over in memory, so that all else (hooks, processes, precision) stays mmengine's.
"""

from copy import deepcopy
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader, Runner

from ..weights.loading import require_match
from ..weights.whole import WholeModel, read_whole
from .models import unwrapped

SCHEME = "mmvit-translated:"
_waiting: dict[str, WholeModel] = {}  # by address


def prepare(runner: Runner, checkpoint: str, exactly: bool) -> None:
    """Make a runner load a checkpoint under its model's names, and its backbone compute with the file's eps.

    Args:
        exactly: whether it must fit: not where training begins from another model's weights.

    Raises:
        CheckpointError: unreadable, or, where it must fit, of another model.
    """
    built = not isinstance(runner.model, dict)  # a FlexibleRunner builds its model as it begins
    if built:
        model = unwrapped(runner.model)
    else:
        with torch.device("meta"):
            model = MODELS.build(deepcopy(runner.model))
    whole = read_whole(checkpoint, model)
    if exactly:
        require_match(model, whole.state, checkpoint)
    eps = getattr(getattr(model, "backbone", None), "norm_eps", None)
    if not built and eps is not None:
        runner.model["backbone"]["norm_eps"] = eps
    if whole.translated or "://" in checkpoint:
        print_log(f"{checkpoint}: {whole}", logger="current")
        _waiting[SCHEME + checkpoint] = whole
        runner._load_from = SCHEME + checkpoint


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_mmvit(filename: str, map_location: Any) -> dict[str, Any]:
    """Give mmengine a checkpoint that waits for it; its messages call the loader `mmvit`."""
    whole = _waiting.pop(filename)
    return dict(meta=dict(whole.meta), state_dict={name: value.to(map_location) for name, value in whole.state.items()})
