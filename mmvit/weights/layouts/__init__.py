"""The names of the networks' tensors in other toolkits: one `Layout` for each toolkit and family, exact both ways.

A new layout is one entry in a file of this folder and a row in `LAYOUTS`. Its names leave out the prefix that a file gives all
of its tensors, such as `backbone.` or `pvt_v2.encoder.`: the loader removes it.
"""

from .authors import AUTHORS, OURS
from .huggingface import HUGGINGFACE
from .layout import Layout
from .openmmlab import MMDET, MMPRETRAIN
from .timm import TIMM

LAYOUTS: tuple[Layout, ...] = (*OURS, *AUTHORS, *TIMM, *HUGGINGFACE, *MMDET, *MMPRETRAIN)


def foreign(family: str) -> list[Layout]:
    """Return the layouts of a family other than the authors' and ours, which every backbone translates itself."""
    return [layout for layout in LAYOUTS if layout.family == family and layout.toolkit not in ("authors", "mmvit")]


def layout_of(family: str, toolkit: str) -> Layout | None:
    """Return the layout of a toolkit's files for a family; None if there is none. Timm's VOLO uses the authors' names."""
    toolkit = "authors" if (family, toolkit) == ("volo", "timm") else toolkit
    return next((layout for layout in LAYOUTS if (layout.family, layout.toolkit) == (family, toolkit)), None)
