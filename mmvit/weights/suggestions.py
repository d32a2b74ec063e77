"""Suggestion of the arch whose names and shapes fit a file best."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..registry import MODELS
from .contents import Contents
from .released import BACKBONES
from .selection import Loadable, Target, best_of, is_counter

LEAST = 0.5  # share of all tensors of file and arch that must fit
ALIKE = 0.5  # share of an arch's shapes that must be in the file; layouts change few shapes


def nearest_arch(contents: Contents) -> str | None:
    """Return a sentence that names the arch which the file fits best; None if it fits none well."""
    shapes = {name: torch.empty(value.shape, device="meta") for name, value in contents.tensors.items()}
    outline = replace(contents, tensors=shapes)
    there = _shapes(shapes)
    best, sentence = LEAST, None
    for name, model in networks():
        target = Target({key: value for key, value in model.state_dict().items() if not model.is_fresh(key)}, model)
        if (there & _shapes(target.state)).total() < ALIKE * len(target.state):
            continue
        try:
            good = best_of(outline, target, target.choices(outline))
        except CheckpointError:
            continue
        if not good:
            continue
        fitting, named = target.score(good[0])
        own = sum(not is_counter(key) for key in target.state)
        if (share := fitting / (own + named - fitting + target.strangers(good[0]))) > best:
            best = share
            sentence = f"its names and shapes fit {name} best: {fitting} of its {own} tensors"
    return sentence


def _shapes(state: Mapping[str, Tensor]) -> Counter[tuple[int, ...]]:
    """Count the tensors of each shape; a 1 x 1 convolution counts as a linear layer."""
    return Counter(tuple(value.shape[:2]) if value.shape[2:] == (1, 1) else tuple(value.shape) for value in state.values())


@cache
def networks() -> tuple[tuple[str, Loadable], ...]:
    """Return every arch of the tables with its name, on the meta device, where it takes no memory."""
    MODELS.import_from_location()  # imports the families, which register their tables
    with torch.device("meta"):
        return tuple((f"{name}_{arch}", build(arch)) for name, build in BACKBONES.items() for arch in build.record.archs)
