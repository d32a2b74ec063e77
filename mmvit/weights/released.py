"""Rows of the tables of published files, and the tables of all families.

A family registers its tables when its class is created (`Pyramid.__init_subclass__`).
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
        arch: the arch that it belongs to.
        top1: ImageNet-1k accuracy in percent, from the authors.
        licence: licence of its repository; None if there is none.
        url: its address; None if it is in a `folder` that only a browser opens.
        img_size: side in pixels of the images that it was last trained on.
        copies: more addresses, tried in order if the first fails, of the same tensors in the names of a toolkit.
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
        config: name of our config for the same model.
        figure: result of its source: box AP on COCO, or mean IoU on ADE20K, in percent.
        source: toolkit or repository that published it.
        licence, url, folder, copies: see `Released`.
        remark: difference from the config that changes the result.
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
BUILDERS: dict[str, Callable[[str], Any]] = {}  # by family; builds the backbone of an arch
ARCHS: dict[str, tuple[str, ...]] = {}  # by family


def register(family: str, archs: Iterable[str], files: Mapping[str, Released], build: Callable[[str], Any]) -> None:
    """Add a family's archs and released files, under the family's name and their keys."""
    BUILDERS[family], ARCHS[family] = build, tuple(archs)
    FILES.update({f"{family}_{arch}": None for arch in archs})
    FILES.update({f"{family}_{key}": row for key, row in files.items()})


def stage_name(released: str) -> str:
    """Return our name of a tensor of the authors' that numbers its stages; our own names are returned unchanged.

    `block3.0.mlp.dwconv.dwconv.weight` becomes `stages.2.blocks.0.mlp.dwconv.weight`.
    """
    found = re.match(r"(patch_embed|pos_embed|block|norm)([1-4])(?![^.])(.*)", released)
    if not found:
        return released
    part, stage, rest = found.groups()
    name = f"stages.{int(stage) - 1}.{'blocks' if part == 'block' else part}{rest}"
    return name.replace(".dwconv.dwconv.", ".dwconv.")
