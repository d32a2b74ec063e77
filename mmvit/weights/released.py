"""The record of a family: its paper, its archs, the files that its authors released and how they name tensors.

A backbone holds its record, and is registered here when its class is created (`Pyramid.__init_subclass__`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .layouts.authors import STAGES
from .layouts.rules import renamer

stage_name = renamer(STAGES)  # where authors number the stages: block3.0.norm1.weight becomes stages.2.blocks.0.norm1.weight


@dataclass(frozen=True)
class Released:
    """A file that the authors published: a row of a family's `RELEASED`."""

    arch: str  # the arch that it belongs to
    top1: float  # ImageNet-1k accuracy in percent, from the authors
    licence: str | None = None  # licence of its repository; None if there is none
    url: str | None = None  # its address; None if it is in a `folder` that only a browser opens
    folder: str | None = None
    img_size: int = 224  # side in pixels of the images that it was last trained on
    copies: tuple[str, ...] = ()  # tried in order if the url fails: the same tensors in the names of a toolkit


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a family beside its network; `record` of its class."""

    name: str  # first part of the names of released files and configs: `volo` of volo_d1
    paper: str  # its arXiv number
    archs: Mapping[str, Any]  # names and sizes of the paper's models
    released: Mapping[str, Released]  # the authors' files by arch, or by arch and image size
    small: str  # the arch that has a config for every head and dataset
    our_name: Callable[[str], str] = stage_name  # gives our name for the authors' of a tensor; our own stay as they are
    input_tensors: tuple[str, ...]  # our names of the tensors whose size follows from in_channels
    classifier: tuple[str, ...] = ("head",)  # first parts of the names that only a classifier uses
    table_mode: str = "bilinear"  # how position tables (tensors named pos_embed) are interpolated, where there are any
    as_classifier: Mapping[str, Any] = field(default_factory=dict)  # options for the network of the authors' classifier


BACKBONES: dict[str, Any] = {}  # the class of each family by its name
FILES: dict[str, Released | None] = {}  # of all families by names such as volo_d1_384; None for an arch without a file


def register(backbone: Any) -> None:
    """Add the class of a family, whose `record` has its name and its files."""
    record: Record = backbone.record
    BACKBONES[record.name] = backbone
    rows = {**dict.fromkeys(record.archs), **record.released}
    FILES.update({f"{record.name}_{key}": row for key, row in rows.items()})
