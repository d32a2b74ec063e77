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


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a family beside its network; `record` of its class.

    Attributes:
        name: first part of the names of released files and configs: `volo` of volo_d1.
        paper: its arXiv number.
        archs: names and sizes of the paper's models.
        released: the authors' files by arch, or by arch and image size.
        small: the arch that has a config for every head and dataset.
        our_name: gives our name of a tensor of the authors' files; our own names stay as they are.
        input_tensors: our names of the tensors whose size follows from in_channels.
        classifier: first parts of the names that only a classifier uses.
        as_classifier: options with which the network is the one of the authors' classifier.
        table_mode: how position tables (tensors named pos_embed) are interpolated, where there are any.
    """

    name: str
    paper: str
    archs: Mapping[str, Any]
    released: Mapping[str, Released]
    small: str
    our_name: Callable[[str], str] = stage_name
    input_tensors: tuple[str, ...]
    classifier: tuple[str, ...] = ("head",)
    table_mode: str = "bilinear"
    as_classifier: Mapping[str, Any] = field(default_factory=dict)


BACKBONES: dict[str, Any] = {}  # the class of each family by its name
FILES: dict[str, Released | None] = {}  # of all families by names such as volo_d1_384; None for an arch without a file


def register(backbone: Any) -> None:
    """Add the class of a family, whose `record` has its name and its files."""
    record: Record = backbone.record
    BACKBONES[record.name] = backbone
    rows = {**dict.fromkeys(record.archs), **record.released}
    FILES.update({f"{record.name}_{key}": row for key, row in rows.items()})
