"""How the networks' tensors are called elsewhere: one `Layout` for each toolkit and family, exact both ways.

A new layout is one entry in a file of this folder and a row in `LAYOUTS`. Names are those below everything that the file puts
in front of all of them, such as `backbone.` or `pvt_v2.encoder.`, which the loader takes off by itself.
"""

from .authors import AUTHORS, OURS
from .huggingface import HUGGINGFACE
from .layout import Layout
from .openmmlab import MMDET, MMPRETRAIN
from .timm import TIMM

LAYOUTS: tuple[Layout, ...] = (*OURS, *AUTHORS, *TIMM, *HUGGINGFACE, *MMDET, *MMPRETRAIN)


def foreign(family: str) -> list[Layout]:
    """Return the layouts of a family besides the authors' and ours, whose names every backbone knows by itself."""
    return [layout for layout in LAYOUTS if layout.family == family and layout.toolkit not in ("authors", "mmvit")]


def find(family: str, toolkit: str) -> Layout | None:
    """Return the layout in which a toolkit's files are written; timm's VOLO has the authors' names."""
    toolkit = "authors" if (family, toolkit) == ("volo", "timm") else toolkit
    return next((layout for layout in LAYOUTS if (layout.family, layout.toolkit) == (family, toolkit)), None)
