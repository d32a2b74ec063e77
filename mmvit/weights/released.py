"""Files that were published: what a row of a family's table holds, and one of `published`'s.

Families register their tables as they are defined (`Pyramid.__init_subclass__`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

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
        copies: further addresses, tried in order where the first does not answer: the same tensors, in the names of a toolkit.
    """

    arch: str
    top1: float
    licence: str | None = None
    url: str | None = None
    folder: str | None = None
    img_size: int = 224
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class WholeModelFile:
    """A detector or segmenter that somebody published: a row of `published.WHOLE_MODELS`.

    Attributes:
        config: ours, by name, under which it computes the same.
        figure: what its source measured: box AP on COCO, or mean IoU on ADE20K, in percent.
        source: whose it is.
        licence, url, folder, copies: as in `Released`.
        remark: what differs from the config in what changes numbers.
    """

    config: str
    figure: str
    source: str
    licence: str | None = None
    url: str | None = None
    folder: str | None = None
    copies: tuple[str, ...] = ()
    remark: str = ""


FILES: dict[str, Released | None] = {}  # by name, such as volo_d1_384; None for an arch without a file
BUILDERS: dict[str, Callable[[str], Any]] = {}  # by family; makes a backbone of an arch
ARCHS: dict[str, tuple[str, ...]] = {}  # by family


def register(family: str, archs: Iterable[str], files: Mapping[str, Released], build: Callable[[str], Any]) -> None:
    """Add a family's archs and released files, of which each is called by the family's name and its key."""
    BUILDERS[family], ARCHS[family] = build, tuple(archs)
    FILES.update({f"{family}_{arch}": None for arch in archs})
    FILES.update({f"{family}_{key}": row for key, row in files.items()})


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
