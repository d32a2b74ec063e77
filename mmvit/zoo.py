"""Backbones by name, as encoders for any PyTorch code, without a config.

    import mmvit
    mmvit.list_archs("volo*")                       # ['volo_d1', ...]
    encoder = mmvit.create("van_b2", checkpoint="mmvit://van_b2", out_indices=(1, 2, 3))

A name is the family's and the arch's: `pvt_v2` and `b2_li` make `pvt_v2_b2_li`. `mmvit://NAME` stands for the file that the
authors released, also in `init_cfg` of a config.
"""

from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import InputError, nearest
from .pyramid import FAMILIES, Pyramid


def families() -> list[type[Pyramid]]:
    """Return the backbone classes."""
    import_module("mmvit.backbones")  # where they register themselves
    return list(FAMILIES.values())


def list_archs(pattern: str = "*") -> list[str]:
    """Return the names that `create` takes and that match a shell pattern such as `volo*`."""
    names = [f"{family.family}_{arch}" for family in families() for arch in family.archs]
    return [name for name in names if fnmatch(name, pattern)]


def find(name: str) -> tuple[type[Pyramid], str]:
    """Return the class and arch of a name.

    Raises:
        InputError: there is no such name; the message suggests the nearest.
    """
    for family in families():
        arch = name.removeprefix(f"{family.family}_")
        if arch != name and arch in family.archs:
            return family, arch
    raise InputError(f"no backbone is called {name!r}; {nearest(name, list_archs())}, see mmvit.list_archs()")


def create(name: str, checkpoint: str | Path | None = None, **options: Any) -> Pyramid:
    """Return a backbone with weights, ready to use: images (B, 3, H, W) to a tuple of maps.

    Args:
        name: one of `list_archs()`.
        checkpoint: the authors' file, one of ours, or a detector's: a path, a URL, or `mmvit://NAME` for the released file.
            None leaves random weights.
        options: options of the backbone, such as out_indices, in_channels, frozen_stages, drop_path_rate.

    Raises:
        InputError: no such name.
        CheckpointError: the file is not available, or does not fit exactly.
        ValueError, TypeError: options that the backbone refuses.
    """
    family, arch = find(name)
    init_cfg = None if checkpoint is None else dict(type="Pretrained", checkpoint=str(checkpoint))
    model = family(arch, init_cfg=init_cfg, **options)  # type: ignore[arg-type]  # every family takes arch first
    model.init_weights()
    return model
