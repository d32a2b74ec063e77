"""Whose file it may be: the arch of the tables whose names and shapes fit best, computed on the meta device."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from ..errors import CheckpointError
from ..registry import MODELS
from . import released
from .contents import Contents
from .selection import Loadable, Target, equally_good

LEAST = 0.5  # share of all tensors of file and arch that must fit


def nearest_arch(contents: Contents) -> str | None:
    """Return a sentence that names the arch whose tensors the file has most of; None where it has few of any."""
    shapes = {name: torch.empty(value.shape, device="meta") for name, value in contents.tensors.items()}
    outline = replace(contents, tensors=shapes)
    best, told = LEAST, None
    for name, model in networks():
        state = {key: value for key, value in model.state_dict().items() if not model.is_fresh(key)}
        target = Target(state, model)
        try:
            taken = equally_good(outline, target)
        except CheckpointError:
            continue
        fitting, _ = target.score(taken[0]) if taken else (0, 0)
        strange = sum(not model.ignores(key) for key in taken[0].tensors) - fitting if taken else 0
        if (share := fitting / (len(state) + strange)) > best:
            best, told = share, f"its names and shapes fit {name} best: {fitting} of its {len(state)} tensors"
    return told


def networks() -> Iterator[tuple[str, Loadable]]:
    """Every arch of the tables, with its name."""
    MODELS.import_from_location()  # where families are defined
    for family, archs in released.ARCHS.items():
        for arch in archs:
            with torch.device("meta"):
                yield f"{family}_{arch}", released.BUILDERS[family](arch)
