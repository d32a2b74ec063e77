"""Backbones by name, as an encoder for any PyTorch code: no config needed.

    import mmvit
    mmvit.list_archs("volo*")                       # ['volo_d1', ...]
    encoder = mmvit.create("van_b2", checkpoint="mmvit://van_b2", out_indices=(1, 2, 3))

A name is the family's and the arch's: `pvt_v2` and `b2_li` make `pvt_v2_b2_li`. `mmvit://NAME` stands for the file that the
authors released, in `init_cfg` of a config as well.
"""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import backbones
from .downloads import SCHEME
from .errors import CheckpointError, InputError
from .pyramid import Pyramid
from .weights import Released


def families() -> list[type[Pyramid]]:
    """The backbone classes."""
    return [getattr(backbones, name) for name in sorted(backbones.__all__, key=str.lower)]


def archs_of(family: type[Pyramid]) -> Mapping[str, Any]:
    """A family's table of archs: name to sizes."""
    return sys.modules[family.__module__].ARCHS


def released_of(family: type[Pyramid]) -> Mapping[str, Released]:
    """A family's table of released files: arch, or arch and image size, to file."""
    return sys.modules[family.__module__].RELEASED


def list_archs(pattern: str = "*") -> list[str]:
    """Names that `create` takes, of those that match a shell pattern such as `volo*`."""
    names = [f"{family.family}_{arch}" for family in families() for arch in archs_of(family)]
    return [name for name in names if fnmatch(name, pattern)]


def find(name: str) -> tuple[type[Pyramid], str]:
    """Class and arch of a name.

    Raises:
        InputError: no such name; the nearest ones are suggested.
    """
    for family in families():
        arch = name.removeprefix(f"{family.family}_")
        if arch != name and arch in archs_of(family):
            return family, arch
    raise InputError(f"no backbone is called {name!r}; {_suggest(name, list_archs())}, see mmvit.list_archs()")


def create(name: str, checkpoint: str | Path | None = None, **options: Any) -> Pyramid:
    """A backbone with weights, ready to use: images (B, 3, H, W) to a tuple of maps.

    Args:
        name: one of `list_archs()`.
        checkpoint: the authors' file, one of ours, or a detector's: a path, a URL, or `mmvit://NAME` for the released file;
            None leaves random weights.
        options: of the backbone, such as out_indices, in_channels, frozen_stages, drop_path_rate.

    Raises:
        InputError: no such name.
        weights.CheckpointError: the file cannot be had, or does not fit exactly.
        ValueError, TypeError: options that the backbone refuses.
    """
    family, arch = find(name)
    init_cfg = None if checkpoint is None else dict(type="Pretrained", checkpoint=str(checkpoint))
    model = family(arch, init_cfg=init_cfg, **options)  # type: ignore[arg-type]  # every family takes arch first
    model.init_weights()
    return model


def released_url(address: str) -> str:
    """The URL that `mmvit://NAME` stands for.

    Raises:
        CheckpointError: no such name, no released file, or one that has to be fetched by hand.
    """
    name = address.removeprefix(SCHEME)
    files = {f"{family.family}_{key}": row for family in families() for key, row in released_of(family).items()}
    if name in files:
        row = files[name]
        if row.url:
            return row.url
        raise CheckpointError(
            f"{address}: the authors' file lies in a folder that only a browser opens, {row.folder}. "
            "Fetch it by hand and name its path instead"
        )
    if name in list_archs():
        raise CheckpointError(f"{address}: its authors released no file of this arch; name a path, or leave init_cfg out")
    raise CheckpointError(f"{address}: there is no such file; {_suggest(name, list(files))}, see python -m mmvit list")


def _suggest(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
