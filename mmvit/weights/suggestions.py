"""Whose file it may be: the arch of the tables whose names and shapes fit best, computed on the meta device."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..registry import MODELS
from . import released
from .contents import Contents
from .selection import Loadable, Target, equally_good

LEAST = 0.5  # share of all tensors of file and arch that must fit
ALIKE = 0.5  # share of an arch's shapes that must be in the file: layouts change those of few tensors


def nearest_arch(contents: Contents) -> str | None:
    """Return a sentence that names the arch whose tensors the file has most of; None where it has few of any."""
    shapes = {name: torch.empty(value.shape, device="meta") for name, value in contents.tensors.items()}
    outline = replace(contents, tensors=shapes)
    there = _shapes(shapes)
    best, told = LEAST, None
    for name, model in networks():
        target = Target({key: value for key, value in model.state_dict().items() if not model.is_fresh(key)}, model)
        if (there & _shapes(target.state)).total() < ALIKE * len(target.state):
            continue
        try:
            good = equally_good(outline, target)
        except CheckpointError:
            continue
        if not good:
            continue
        fitting, _ = target.score(good[0])
        strange = sum(not model.ignores(key) for key in good[0].tensors) - fitting
        if (share := fitting / (len(target.state) + strange)) > best:
            best, told = share, f"its names and shapes fit {name} best: {fitting} of its {len(target.state)} tensors"
    return told


def _shapes(state: Mapping[str, Tensor]) -> Counter[tuple[int, ...]]:
    """How many tensors of each shape there are; linear layers and 1 x 1 convolutions are alike."""
    return Counter(tuple(value.shape[:2]) if value.shape[2:] == (1, 1) else tuple(value.shape) for value in state.values())


@cache
def networks() -> tuple[tuple[str, Loadable], ...]:
    """Every arch of the tables with its name, on the meta device, where it costs no memory."""
    MODELS.import_from_location()  # where families are defined
    with torch.device("meta"):
        return tuple(
            (f"{family}_{arch}", released.BUILDERS[family](arch)) for family, archs in released.ARCHS.items() for arch in archs
        )
