"""Files that the authors released: what a row of a family's table holds, and `mmvit://NAME`, which stands for its address.

Families register their tables as they are defined (`Pyramid.__init_subclass__`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, nearest
from ..registry import MODELS

SCHEME = "mmvit://"


@dataclass(frozen=True)
class Released:
    """A file that the authors published: a row of a family's `RELEASED`.

    Attributes:
        arch: whose file it is.
        top1: ImageNet-1k accuracy in percent, as the authors give it.
        licence: of the repository that it comes from; None where there is none.
        url: its address; None where it lies in a `folder` that only a browser opens.
        img_size: side in pixels of the images that it was last trained on.
    """

    arch: str
    top1: float
    licence: str | None = None
    url: str | None = None
    folder: str | None = None
    img_size: int = 224


FILES: dict[str, Released | None] = {}  # by name, such as volo_d1_384; None for an arch without a file
BUILDERS: dict[str, Callable[[str], Any]] = {}  # by family; makes a backbone of an arch
ARCHS: dict[str, tuple[str, ...]] = {}  # by family


def register(family: str, archs: Iterable[str], files: Mapping[str, Released], build: Callable[[str], Any]) -> None:
    """Add a family's archs and released files, of which each is called by the family's name and its key."""
    BUILDERS[family], ARCHS[family] = build, tuple(archs)
    FILES.update({f"{family}_{arch}": None for arch in archs})
    FILES.update({f"{family}_{key}": row for key, row in files.items()})


def released_url(address: str) -> str:
    """Return the URL that `mmvit://NAME` stands for.

    Raises:
        CheckpointError: no such name, no released file, or one that only a browser can download.
    """
    MODELS.import_from_location()  # where families are defined
    name = address.removeprefix(SCHEME)
    if name not in FILES:
        files = [known for known, row in FILES.items() if row is not None]
        raise CheckpointError(f"{address}: there is no such file; {nearest(name, files)}, see python -m mmvit list")
    row = FILES[name]
    if row is None:
        raise CheckpointError(f"{address}: its authors released no file of this arch; name a path, or leave init_cfg out")
    if row.url is None:
        raise CheckpointError(
            f"{address}: the authors' file lies in a folder that only a browser opens, {row.folder}. "
            "Fetch it by hand and name its path instead"
        )
    return row.url


def stage_name(released: str) -> str:
    """Our name where the released one numbers its stages: `block3.0.mlp.dwconv.dwconv.weight` is
    `stages.2.blocks.0.mlp.dwconv.weight`. Names of ours stay as they are.
    """
    found = re.match(r"(patch_embed|pos_embed|block|norm)([1-4])(?![^.])(.*)", released)
    if not found:
        return released
    part, stage, rest = found.groups()
    name = f"stages.{int(stage) - 1}.{'blocks' if part == 'block' else part}{rest}"
    return name.replace(".dwconv.dwconv.", ".dwconv.")
